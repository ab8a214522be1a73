"""What the releases of the TotalSegmentator dataset share, and which masks each of them has.

Masks are named by file: values of multi-label files differ from release to release. The tables are the class maps `total_v1` and
`total` of totalsegmentator/map_to_binary.py (github.com/wasserth/TotalSegmentator); release 3 has vertebrae_L6 in place of
vertebrae_S1 (its resources/improvements_in_v3.md).
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..conversion.declaration import CC_BY_4, Erratum, FoundCase
from ..conversion.download import Download
from ..conversion.layout import pair_files
from ..errors import listed

_ORGANS = """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right
esophagus trachea
"""
_BOWEL = "small_bowel duodenum colon urinary_bladder"
_SPINE = """
vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1
vertebrae_T12 vertebrae_T11 vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7
vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3 vertebrae_T2 vertebrae_T1
vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2 vertebrae_C1
"""
_VEINS = "inferior_vena_cava portal_vein_and_splenic_vein"
_ILIAC = "iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right"
_SHOULDER = "humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right"
_LEG = "femur_left femur_right hip_left hip_right"
_MUSCLES = """
gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left gluteus_minimus_right
autochthon_left autochthon_right iliopsoas_left iliopsoas_right
"""
_RIBS = " ".join(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13))


def _from_release_2(vertebra: str) -> tuple[str, ...]:
    """In the order of the official index."""
    parts = (
        _ORGANS,
        "thyroid_gland",
        _BOWEL,
        "prostate kidney_cyst_left kidney_cyst_right sacrum",
        vertebra,
        _SPINE,
        "heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left",
        "common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right",
        "atrial_appendage_left superior_vena_cava",
        _VEINS,
        _ILIAC,
        _SHOULDER,
        _LEG,
        "spinal_cord",
        _MUSCLES,
        "brain skull",
        _RIBS,
        "sternum costal_cartilages",
    )
    return tuple(" ".join(parts).split())


_HEART_1 = "heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right pulmonary_artery"
_RELEASE_1 = (
    _ORGANS,
    _BOWEL,
    "aorta",
    _VEINS,
    _ILIAC,
    "sacrum",
    _SPINE,
    _HEART_1,
    "brain face",
    _SHOULDER,
    _LEG,
    _MUSCLES,
    _RIBS,
)
MASKS: Mapping[int, tuple[str, ...]] = {
    1: tuple(" ".join(_RELEASE_1).split()),
    2: _from_release_2("vertebrae_S1"),
    3: _from_release_2("vertebrae_L6"),
}
MARKS = {1: "face", 2: "vertebrae_S1", 3: "vertebrae_L6"}  # of these three, a release has one
RELEASE_NAMES = {1: "TotalSegmentator_v1", 2: "TotalSegmentator", 3: "TotalSegmentator_v3"}
_OUR_NAMES = {
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "small_bowel": "intestine",
    "urinary_bladder": "bladder",
    "kidney_cyst_left": "left_kidney_cyst",
    "kidney_cyst_right": "right_kidney_cyst",
    "inferior_vena_cava": "postcava",
    "femur_left": "left_femur",
    "femur_right": "right_femur",
}
_UNIONS = {
    "right_lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "left_lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
}
_CYSTS = {"kidney_cyst": ("left_kidney_cyst", "right_kidney_cyst")}
_ISSUES = "https://github.com/wasserth/TotalSegmentator/issues/"
# Seen in release 2.0.1. Issue 268 lists more cases whose vertebrae are wrong; only its two examples could be read.
MISLABELLED = (
    Erratum(("s0092",), "its right upper lobe of the lung is mislabelled", skip=True, source=f"{_ISSUES}245"),
    Erratum(("s0605",), "its left lower lobe of the lung is mislabelled", skip=True, source=f"{_ISSUES}245"),
    Erratum(("s0513",), "its humerus and vertebrae are mislabelled", skip=True, source=f"{_ISSUES}245, {_ISSUES}394"),
    Erratum(("s0143", "s0201", "s1196"), "its heart is mislabelled", skip=True, source=f"{_ISSUES}299"),
    Erratum(
        ("s0071", "s0128", "s0350", "s0603", "s0676", "s0941"),
        "its vertebrae are mixed up",
        skip=True,
        source=f"{_ISSUES}394",
    ),
    Erratum(("s0016",), "its vertebrae are too wrong to learn from", skip=True, source=f"{_ISSUES}268"),
    Erratum(("s0070",), "its vertebrae have small errors", source=f"{_ISSUES}268"),
)


def release(number: int) -> dict[str, Any]:
    """The facts of a release that follow from its masks."""
    names = MASKS[number]
    values = {name: _OUR_NAMES.get(name, name) for name in names}
    has_prostate = "prostate" in names
    unions = {**_UNIONS, **(_CYSTS if has_prostate else {})}
    annotated = (*values.values(), *unions)
    men, others = RELEASE_NAMES[number], f"{RELEASE_NAMES[number]}_without_prostate"
    return {
        "name": RELEASE_NAMES[number],
        "region": "whole body",
        "license": CC_BY_4,
        "reference": "Wasserthal et al., TotalSegmentator, Radiology: Artificial Intelligence 2023, doi:10.1148/ryai.230024",
        "images": ("{case}/ct.nii.gz",),
        "labels": ("{case}/segmentations/{structure}.nii.gz",),
        "masks": True,
        "values": values,
        "unions": unions,
        "sources": {men: annotated, others: tuple(name for name in annotated if name != "prostate")} if has_prostate else {},
        "find": find,
    }


def find(download: Download) -> list[FoundCase]:
    """Cases with the source that says whether the prostate is annotated: an empty mask of a woman does not deny a uterus."""
    dataset = download.dataset
    cases = pair_files(download)
    _check_release(download)
    without_prostate = {case.case for case in cases} - _men(download) if dataset.sources else ()
    found = []
    for case in cases:
        missing = [name for name in dataset.values if name not in case.masks]
        note = f"no file for {listed(missing, 3)}, taken as not in view" if missing else None
        source = f"{dataset.name}_without_prostate" if case.case in without_prostate else dataset.name
        found.append(replace(case, source=source, note=note))
    return found


def _check_release(download: Download) -> None:
    """Raise UserError where the masks on disk are those of another release, or of none that is known."""
    there = {said["structure"] for said, _ in download.matches(download.dataset.labels[0])}
    fitting = [number for number, names in MASKS.items() if MARKS[number] in there and there <= set(names)]
    if not fitting:
        unknown = sorted(there - set().union(*MASKS.values())) or sorted(there & set(MARKS.values())) or sorted(there)
        raise download.error(
            f"segmentations/ holds the masks of no release that is known ({listed(unknown, 5)}); "
            "move masks of your own elsewhere, declare a newer release in a YAML (docs/conversion.md)"
        )
    if (fits := RELEASE_NAMES[fitting[0]]) != download.dataset.name:
        raise download.error(f"its masks are those of release {fitting[0]}; `cdpd convert {fits}` converts it")
    if missing := [f"segmentations/{name}.nii.gz" for name in MASKS[fitting[0]] if name not in there]:
        raise download.error(
            f"no case has {listed(missing, 1)}, which would be taught as never there; download the dataset again, or declare "
            "your selection in a YAML (docs/conversion.md)"
        )


def _men(download: Download) -> set[str]:
    table = download.needed_file("meta.csv", "men from women")
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter=";")
        if missing := {"image_id", "gender"} - set(rows.fieldnames or ()):
            raise download.error(f"{table} has no column {' and '.join(sorted(missing))}")
        return {row["image_id"] for row in rows if (row["gender"] or "").strip().lower() == "m"}
