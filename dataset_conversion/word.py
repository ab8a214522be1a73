"""WORD: 16 abdominal and pelvic organs in radiotherapy planning CT."""

from ..conversion.declaration import SourceDataset
from ._abdomen import ADRENAL_GLAND

_PAOT = "07_WORD/{}/word_{{case}}.nii.gz"  # an assembly of eleven collections

DATASET = SourceDataset(
    name="WORD",
    title="Whole abdominal ORgan Dataset (training, validation and test set)",
    region="abdomen and pelvis",
    license="GPL-3.0, academic research only",
    license_names=("GPL-3.0-only", "research only"),
    link="https://github.com/HiLab-git/WORD (password in its README; labels of the test set are in the repository)",
    reference="Luo et al., WORD, Medical Image Analysis 2022, doi:10.1016/j.media.2022.102642",
    size="about 12 GB",
    num_cases=150,
    layout="""
WORD-V0.1.0/imagesTr/word_0002.nii.gz     and labelsTr
WORD-V0.1.0/imagesVal/word_0001.nii.gz    and labelsVal
WORD-V0.1.0/imagesTs/word_0014.nii.gz     and labelsTs, if wanted
""",
    images=("imagesTr/word_{case}.nii.gz", "imagesVal/word_{case}.nii.gz", "imagesTs/word_{case}.nii.gz", _PAOT.format("img")),
    labels=("labelsTr/word_{case}.nii.gz", "labelsVal/word_{case}.nii.gz", "labelsTs/word_{case}.nii.gz", _PAOT.format("label")),
    case=r"\d{4}",
    values={
        1: "liver",
        2: "spleen",
        3: "left_kidney",  # left comes first here
        4: "right_kidney",
        5: "stomach",
        6: "gallbladder",
        7: "esophagus",
        8: "pancreas",
        9: "duodenum",
        10: "colon",
        11: "intestine",
        12: "adrenal_gland",
        13: "rectum",
        14: "bladder",
        15: "left_head_of_femur",
        16: "right_head_of_femur",
    },
    merged_labels=ADRENAL_GLAND,
    unlabelled_images=True,  # imagesTs without the separate labels
    definitions={
        "intestine": "small bowel without duodenum",
        "left_head_of_femur": "the upper 85 mm of the femur (median)",
        "right_head_of_femur": "the upper 85 mm of the femur (median)",
    },
    overlaps=("AbdomenAtlas1_1Mini (120)",),
)
