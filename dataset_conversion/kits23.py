"""KiTS23: kidneys, kidney tumors and cysts of 489 patients."""

from ..conversion.declaration import SourceDataset
from ._kits import WITH_CYSTS

DATASET = SourceDataset(
    name="KITS23",
    title="Kidney and Kidney Tumor Segmentation Challenge 2023 (training set)",
    link="https://github.com/neheller/kits23",
    size="about 45 GB",
    num_cases=489,
    layout="""
kits23/dataset/case_00000/imaging.nii.gz
kits23/dataset/case_00000/segmentation.nii.gz
    images also as images/case_00000.nii.gz, of huggingface.co/datasets/neheller/KiTS-Challenge-Imaging
""",
    labels=("case_{case}/segmentation.nii.gz",),
    overlaps=("KITS19 and KITS21 (00000 to 00299 are their images)", "AbdomenCT1K", "AbdomenAtlas1_1Mini", "FLARE23"),
    **WITH_CYSTS,
)
