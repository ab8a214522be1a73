"""KiTS19: kidneys and kidney tumors; cysts are part of the kidney label."""

from ..conversion.declaration import Erratum, FoundCase, SourceDataset
from ..conversion.download import Download
from ..conversion.layout import pair_files
from ._kits import COMMON

LAST_TRAINING_CASE = 209


def find(download: Download) -> list[FoundCase]:
    cases = pair_files(download)
    if later := [case.case for case in cases if int(case.case) > LAST_TRAINING_CASE]:
        raise download.error(f"case {later[0]} has a label; use KITS21 or KITS23, their labels mean other things")
    return cases


DATASET = SourceDataset(
    name="KITS19",
    title="Kidney Tumor Segmentation Challenge 2019 (training set)",
    link="https://github.com/neheller/kits19",
    reference="Heller et al., The state of the art in kidney and kidney tumor segmentation, Medical Image Analysis 2021, "
    "doi:10.1016/j.media.2020.101821",
    size="28 GB",
    num_cases=210,
    layout="""
data/case_00000/imaging.nii.gz
data/case_00000/segmentation.nii.gz
    or images/case_00000.nii.gz, of huggingface.co/datasets/neheller/KiTS-Challenge-Imaging
""",
    labels=("case_{case}/segmentation.nii.gz",),
    values={1: "kidney", 2: "kidney_tumor"},
    nested={"kidney_tumor": "kidney"},
    unlabelled_images=True,  # 210 to 299
    find=find,
    errata=(
        Erratum(
            ("00015", "00023", "00037", "00125"),
            "its label changed in December 2019; check that the download is of 2020 or later",
            source="changelog of https://github.com/neheller/kits19",
        ),
    ),
    definitions={"kidney": "cysts belong to it, KITS21 and KITS23 label them separately"},
    overlaps=("KITS21 and KITS23 (the same images, other labels)", "AbdomenCT1K", "AbdomenAtlas1_1Mini"),
    **COMMON,
)
