"""TotalSegmentator, release 3: 117 structures of the whole body in more patients; vertebrae_L6 in place of vertebrae_S1."""

from dataclasses import replace

from ..conversion.declaration import SourceDataset
from ._totalsegmentator import MISLABELLED, release

_IN_2 = "not checked whether this release mends it: in release 2"

DATASET = SourceDataset(
    title="TotalSegmentator dataset, release 3",
    link="https://zenodo.org/records/22688904",
    size="size not checked",
    num_cases=1939,
    layout="""
Totalsegmentator_dataset_v300/meta.csv    the folder may have another name
Totalsegmentator_dataset_v300/s0000/ct.nii.gz
Totalsegmentator_dataset_v300/s0000/segmentations/spleen.nii.gz    and 116 more, among them vertebrae_L6
""",
    case=r"s\d{4,5}",
    nested={"left_kidney_cyst": "left_kidney", "right_kidney_cyst": "right_kidney"},
    errata=tuple(replace(erratum, reason=f"{_IN_2} {erratum.reason}", skip=False) for erratum in MISLABELLED),
    definitions={
        "colon": "runs to the anus; WORD labels the rectum separately",
        "prostate": "prostate only; AMOS22 labels the uterus of women with it",
        "left_femur": "the whole femur in view; WORD's head of femur lies in it",
        "left_kidney": "includes its cysts",
        "right_lung": "the lobes of that side",
        "sacrum": "S1 has no mask of its own any more and is taken as part of it",
    },
    overlaps=("TotalSegmentator and TotalSegmentator_v1 (earlier releases, most of the same patients: use one)", "FLARE23"),
    unchecked=(
        "the names of its folders and the columns of its meta.csv, taken to be those of release 2",
        "which errors of release 2 it has mended",
        "whether its sacrum holds S1",
    ),
    **release(3),
)
