"""MSD task 9, Spleen: the spleen."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(9, "Spleen", r"\d+", "spleen_2.nii.gz"),
    region="abdomen",
    size="1.6 GB",
    num_cases=41,
    values={1: "spleen"},
    overlaps=("AbdomenCT1K (61, with the test set)", "AbdomenAtlas1_1Mini"),
)
