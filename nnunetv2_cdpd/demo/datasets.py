"""The demo's datasets: three sources that label different structures of phantoms, and a fully labelled test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.annotation import CDPD_VERSION
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.demo.phantom import ORGANS, Patient, Scanner, make_patient
from nnunetv2_cdpd.jobs import write_json, written_beside
from nnunetv2_cdpd.volumes.reading import write_sitk


@dataclass(frozen=True)
class DemoSource:
    """A partially labelled source.

    labels: Label name -> structures that the label covers; several structures are one merged label.
    """

    dataset_id: int
    name: str
    scanner: Scanner
    labels: Mapping[str, Sequence[str]]

    @property
    def folder_name(self) -> str:
        return f"Dataset{self.dataset_id}_{self.name}"


DEMO_SOURCES = (
    DemoSource(
        951,
        "LiverCentre",
        Scanner(contrast=(0.95, 1.05), blur_mm=2.0, noise_hu=14, spacing_mm=((4.1, 5.0), (5.4, 6.6))),
        {"liver": ["liver"], "liver_tumor": ["liver_tumor"], "spleen": ["spleen"], "stomach": ["stomach"]},
    ),
    DemoSource(
        952,
        "KidneyCentre",
        Scanner(contrast=(0.9, 1.1), blur_mm=3.0, noise_hu=9, spacing_mm=((4.5, 5.5), (6.0, 7.5))),
        {"kidney": ["right_kidney", "left_kidney"], "kidney_tumor": ["kidney_tumor"], "bladder": ["bladder"]},
    ),
    DemoSource(
        953,
        "VesselCentre",
        Scanner(contrast=(0.9, 1.0), blur_mm=1.5, noise_hu=16, spacing_mm=((3.7, 4.5), (4.8, 6.0))),
        {name: [name] for name in ("right_kidney", "left_kidney", "liver", "aorta", "bladder")},
    ),
)
MERGED_ID, MERGED_NAME = 960, "Demo"
MERGE_SPEC = """\
# what the sources' label names do not say by themselves
merged_labels:
  kidney: [right_kidney, left_kidney]
nested:
  liver_tumor: liver
  kidney_tumor: [right_kidney, left_kidney]
"""
PATIENTS_SEED = 0  # of all patients; beside it each has the id of its dataset and its number there
TEST_SET = 0  # stands for the dataset id


def write_raw_dataset(source: DemoSource, raw: Path, num_cases: int) -> None:
    """Write one source as an nnU-Net raw dataset; what it does not label is 0 in its label maps."""
    folder = raw / source.folder_name
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    (folder / "labelsTr").mkdir(exist_ok=True)
    values = {structure: value for value, its in enumerate(source.labels.values(), start=1) for structure in its}
    for index in range(num_cases):
        seed = (PATIENTS_SEED, source.dataset_id, index)
        patient = make_patient(source.scanner, seed, tumor_probability=1.0, tumor_place=index)  # few cases: none without
        _write_case(patient, values, f"{source.name}_{index:03d}", folder / "imagesTr", folder / "labelsTr")
    labels = {"background": 0, **{name: value for value, name in enumerate(source.labels, start=1)}}
    _write_dataset_json(folder, labels, numTraining=num_cases)


def write_test_set(folder: Path, cases_per_scanner: int) -> None:
    """Write fully labelled phantoms that no source holds, in the look of every source.

    Its dataset.json names the source whose scanner made a case as the case's source, with every class annotated, so that
    scores per source tell how each look is segmented.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    values = {organ.name: value for value, organ in enumerate(ORGANS, start=1)}
    looks = {}
    for index in range(cases_per_scanner * len(DEMO_SOURCES)):
        source = DEMO_SOURCES[index % len(DEMO_SOURCES)]
        patient = make_patient(source.scanner, seed=(PATIENTS_SEED, TEST_SET, index), tumor_probability=1.0, tumor_place=index)
        case = f"unseen_{index:02d}"
        looks[case] = source.name
        _write_case(patient, values, case, folder / "images", folder / "labels")
    kidneys = ["right_kidney", "left_kidney"]
    regions = {"background": 0, **values, "liver": [values["liver"], values["liver_tumor"]]}
    block = {
        "version": CDPD_VERSION,
        "sources": {source.name: {"annotated_classes": list(values)} for source in DEMO_SOURCES},
        "possible_parents": {"kidney_tumor": kidneys},
        "case_source": looks,
    }
    _write_dataset_json(folder / "labels", regions, numTraining=0, regions_class_order=list(values.values()), cdpd=block)


def _write_case(patient: Patient, values: Mapping[str, int], case: str, images: Path, labels: Path) -> None:
    """Write image and label map; values: Structure -> stored value, of two that overlap the later one's."""
    label = np.zeros(patient.hu.shape, np.uint8)
    for structure, value in values.items():
        if structure in patient.masks:
            label[patient.masks[structure]] = value
    for path, array in ((images / f"{case}_0000.nii.gz", patient.hu), (labels / f"{case}.nii.gz", label)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(patient.spacing)
        image.SetOrigin(patient.origin)
        image.SetDirection(patient.direction)
        with written_beside(path) as beside:
            write_sitk(image, beside)


def _write_dataset_json(folder: Path, labels: dict, **more: object) -> None:
    document = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", **more}
    write_json(folder / FILE_NAME, document)
