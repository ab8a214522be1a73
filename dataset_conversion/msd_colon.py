"""MSD task 10, Colon: colon cancer primaries; the colon itself is not labelled."""

from ..conversion.declaration import SourceDataset
from ._msd import task

DATASET = SourceDataset(
    **task(10, "Colon", r"\d{3}", "colon_001.nii.gz"),
    region="abdomen",
    size="6 GB",
    num_cases=126,
    values={1: "colon_tumor"},
    overlaps=("AbdomenAtlas1_1Mini",),
)
