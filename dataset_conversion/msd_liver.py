"""MSD task 3, Liver: the liver and its tumors, the cases of LiTS."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(3, "Liver", r"\d+", "liver_0.nii.gz"),
    region="abdomen",
    size="27 GB",
    num_cases=131,
    values={1: "liver", 2: "liver_tumor"},
    nested={"liver_tumor": "liver"},
    overlaps=("LiTS (the same 131 cases; use one of the two)", "CTORG", "AbdomenCT1K", "AbdomenAtlas1_1Mini"),
)
