"""KiTS21: kidneys, kidney tumors and cysts; three annotations per case, of which the majority is taken."""

from ..conversion.declaration import SourceDataset
from ._kits import WITH_CYSTS

DATASET = SourceDataset(
    name="KITS21",
    title="Kidney and Kidney Tumor Segmentation Challenge 2021",
    link="https://github.com/neheller/kits21",
    size="28 GB",
    num_cases=300,
    layout="""
kits21/data/case_00000/imaging.nii.gz
kits21/data/case_00000/aggregated_MAJ_seg.nii.gz
""",
    labels=("case_{case}/aggregated_MAJ_seg.nii.gz",),
    overlaps=("KITS19 and KITS23 (the same images, other labels)", "AbdomenCT1K", "AbdomenAtlas"),
    **WITH_CYSTS,
)
