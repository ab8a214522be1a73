"""MSD task 7, Pancreas: the pancreas and its masses."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(7, "Pancreas", r"\d{3}", "pancreas_001.nii.gz"),
    region="abdomen",
    size="12 GB",
    num_cases=281,
    values={1: "pancreas", 2: "pancreas_tumor"},
    nested={"pancreas_tumor": "pancreas"},
    definitions={"pancreas_tumor": "any mass: cysts and neuroendocrine tumors too"},
    overlaps=("AbdomenCT1K (420, with the test set)", "FLARE22 and AbdomenCT12organ (probably)", "AbdomenAtlas1_1Mini"),
)
