"""TotalSegmentator v2: 117 structures of the whole body, one mask file each."""

import csv
from dataclasses import replace

from ..conversion.declaration import CC_BY_4, Erratum, FoundCase, SourceDataset
from ..conversion.download import Download
from ..conversion.layout import pair_files

# By file name, in the order of the official index; values of multi-label files differ from release to release.
MASKS = """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right
esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left kidney_cyst_right
sacrum vertebrae_S1 vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1
vertebrae_T12 vertebrae_T11 vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7
vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3 vertebrae_T2 vertebrae_T1
vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2 vertebrae_C1
heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left
common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right
atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein
iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right
humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right
femur_left femur_right hip_left hip_right spinal_cord
gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left gluteus_minimus_right
autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain skull
rib_left_1 rib_left_2 rib_left_3 rib_left_4 rib_left_5 rib_left_6
rib_left_7 rib_left_8 rib_left_9 rib_left_10 rib_left_11 rib_left_12
rib_right_1 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6
rib_right_7 rib_right_8 rib_right_9 rib_right_10 rib_right_11 rib_right_12
sternum costal_cartilages
""".split()
OUR_NAMES = {
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
NOT_IN_V1 = "prostate"
MEN, OTHERS = "TotalSegmentator", "TotalSegmentator_without_prostate"
_VALUES = {name: OUR_NAMES.get(name, name) for name in MASKS}
_UNIONS = {
    "right_lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "left_lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "kidney_cyst": ("left_kidney_cyst", "right_kidney_cyst"),
}
_ALL = (*_VALUES.values(), *_UNIONS)


def find(download: Download) -> list[FoundCase]:
    """Cases with the source that says whether the prostate is annotated: an empty mask of a woman does not deny a uterus."""
    cases = pair_files(download)
    if not any(NOT_IN_V1 in case.masks for case in cases):
        raise download.error(f"no segmentations/{NOT_IN_V1}.nii.gz anywhere; this is release 1, version 2 is needed")
    table = download.needed_file("meta.csv", "men from women")
    with table.open(newline="", encoding="utf-8-sig") as file:
        gender = {row["image_id"]: row["gender"].strip().lower() for row in csv.DictReader(file, delimiter=";")}
    found = []
    for case in cases:
        missing = [name for name in MASKS if name not in case.masks]
        note = f"no file for {', '.join(missing[:3])}{' ...' * (len(missing) > 3)}, taken as not in view" if missing else None
        found.append(replace(case, source=MEN if gender.get(case.case) == "m" else OTHERS, note=note))
    return found


DATASET = SourceDataset(
    name="TotalSegmentator",
    title="TotalSegmentator dataset, version 2",
    region="whole body",
    license=CC_BY_4,
    link="https://zenodo.org/records/10047292 (v2.0.1)",
    reference="Wasserthal et al., TotalSegmentator, Radiology: Artificial Intelligence 2023, doi:10.1148/ryai.230024",
    size="23 GB",
    num_cases=1228,
    layout="""
Totalsegmentator_dataset_v201/meta.csv
Totalsegmentator_dataset_v201/s0000/ct.nii.gz
Totalsegmentator_dataset_v201/s0000/segmentations/spleen.nii.gz    and 116 more
""",
    images=("{case}/ct.nii.gz",),
    labels=("{case}/segmentations/{structure}.nii.gz",),
    case=r"s\d{4}",
    masks=True,
    values=_VALUES,
    unions=_UNIONS,
    nested={"left_kidney_cyst": "left_kidney", "right_kidney_cyst": "right_kidney"},
    sources={MEN: _ALL, OTHERS: tuple(name for name in _ALL if name != "prostate")},
    find=find,
    errata=(
        Erratum(("s0092",), "its right upper lobe of the lung is mislabelled (v2.0.1)", skip=True),
        Erratum(("s0605",), "its left lower lobe of the lung is mislabelled (v2.0.1)", skip=True),
        Erratum(("s0513",), "its humerus is mislabelled (v2.0.1)", skip=True),
        Erratum(("s0143", "s0201", "s1196"), "its heart is mislabelled (v2.0.1)", skip=True),
        Erratum(("s0184", "s0224", "s0830", "s0864", "s0992"), "has wrong intensities in v2.0.0; use v2.0.1 or later"),
    ),
    definitions={
        "colon": "runs to the anus; WORD labels the rectum separately",
        "prostate": "prostate only; AMOS22 labels the uterus of women with it",
        "left_femur": "the whole femur in view; WORD's head of femur lies in it",
        "left_kidney": "includes its cysts",
        "right_lung": "the lobes of that side",
    },
    overlaps=("FLARE23",),
)
