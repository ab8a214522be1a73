"""KiTS21: kidneys, kidney tumors and cysts; three annotations per case, of which the majority is taken."""

from dataclasses import replace

from ..conversion.declaration import FoundCase, SourceDataset
from ..conversion.download import Download
from ..conversion.layout import pair_files
from ._kits import WITH_CYSTS


def find(download: Download) -> list[FoundCase]:
    return [replace(case, case=case.case.zfill(5)) for case in pair_files(download)]


DATASET = SourceDataset(
    name="KITS21",
    title="Kidney and Kidney Tumor Segmentation Challenge 2021",
    link="https://github.com/neheller/kits21",
    size="28 GB",
    num_cases=300,
    layout="""
kits21/data/case_00000/imaging.nii.gz
kits21/data/case_00000/aggregated_MAJ_seg.nii.gz
    images also as images/case_00000.nii.gz, of huggingface.co/datasets/neheller/KiTS-Challenge-Imaging
""",
    labels=("case_{case}/aggregated_MAJ_seg.nii.gz", "05_KiTS/label/label{case}.nii.gz"),
    unlabelled_images=True,  # the images on huggingface.co are those of KITS23
    find=find,
    overlaps=("KITS19 and KITS23 (the same images, other labels)", "AbdomenCT1K", "AbdomenAtlas1_1Mini"),
    unchecked=("that the assembly PAOT holds these labels: they have their three values",),
    # Its numbers have four digits.
    **{**WITH_CYSTS, "images": (*WITH_CYSTS["images"], "05_KiTS/img/img{case}.nii.gz"), "case": r"\d{4,5}"},
)
