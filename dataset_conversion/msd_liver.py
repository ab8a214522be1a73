"""MSD task 3, Liver: the liver and its tumors, the cases of LiTS."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    name="MSD_Liver",
    title="Medical Segmentation Decathlon, task 3 Liver",
    region="abdomen",
    size="27 GB",
    num_cases=131,
    values={1: "liver", 2: "liver_tumor"},
    nested={"liver_tumor": "liver"},
    overlaps=("LiTS (the same 131 cases; use one of the two)", "CTORG", "AbdomenCT1K", "AbdomenAtlas1_1Mini"),
    **task(3, "Liver", r"\d+", "liver_0.nii.gz"),
)
