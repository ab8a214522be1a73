"""MSD task 6, Lung: lung tumors; the lungs themselves are not labelled."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(6, "Lung", r"\d{3}", "lung_001.nii.gz"),
    region="chest",
    size="9 GB",
    num_cases=63,
    values={1: "lung_tumor"},
)
