"""MSD task 8, HepaticVessel: vessels in the liver, and liver tumors as a class of its own."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(8, "HepaticVessel", r"\d{3}", "hepaticvessel_001.nii.gz"),
    region="abdomen",
    size="9 GB",
    num_cases=303,
    values={1: "hepatic_vessel", 2: "hepatic_vessel_tumor"},
    definitions={"hepatic_vessel_tumor": "a liver tumor; not called liver_tumor, because the liver itself is not labelled"},
    overlaps=("AbdomenAtlas1_1Mini",),
)
