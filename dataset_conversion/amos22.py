"""AMOS22, CT part: 15 abdominal and pelvic organs."""

from ..conversion.declaration import FoundCase, SourceDataset
from ..conversion.download import Download
from ..conversion.layout import pair_files

LAST_CT = 500  # 507 to 600 are MR
_PAOT = "09_AMOS/{}/amos_{{case}}.nii.gz"  # an assembly of eleven collections


def find(download: Download) -> list[FoundCase]:
    return [case for case in pair_files(download) if int(case.case) <= LAST_CT]


DATASET = SourceDataset(
    name="AMOS22",
    title="Multi-Modality Abdominal Multi-Organ Segmentation Challenge 2022, CT of the training and validation set",
    region="abdomen and pelvis",
    license="unsettled: CC BY 4.0 (catalogue of amid) or CC BY-NC-SA (AbdomenAtlas' paper); ask the organisers before other use "
    "than research",
    license_names=("CC BY 4.0", "CC BY-NC-SA"),
    link="https://zenodo.org/records/7262581 (amos22.zip)",
    reference="Ji et al., AMOS, NeurIPS 2022, arXiv 2206.08023",
    size="24 GB",
    num_cases=300,
    layout="""
amos22/imagesTr/amos_0001.nii.gz    and labelsTr
amos22/imagesVa/amos_0008.nii.gz    and labelsVa
""",
    images=("imagesTr/amos_{case}.nii.gz", "imagesVa/amos_{case}.nii.gz", _PAOT.format("img")),
    labels=("labelsTr/amos_{case}.nii.gz", "labelsVa/amos_{case}.nii.gz", _PAOT.format("label")),
    case=r"\d{4}",
    values={
        1: "spleen",
        2: "right_kidney",
        3: "left_kidney",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "postcava",
        10: "pancreas",
        11: "right_adrenal_gland",
        12: "left_adrenal_gland",
        13: "duodenum",
        14: "bladder",
        15: "prostate",
    },
    find=find,
    definitions={"prostate": "prostate of men, uterus of women"},
    unchecked=("its license: two catalogues differ; `licence` in its dataset.json is a third place to look",),
    overlaps=("AbdomenAtlas1_1Mini (200)",),
)
