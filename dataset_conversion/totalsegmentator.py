"""TotalSegmentator, release 2: 117 structures of the whole body, one mask file each."""

from ..conversion.declaration import Erratum, SourceDataset
from ._totalsegmentator import MISLABELLED, release

DATASET = SourceDataset(
    title="TotalSegmentator dataset, release 2",
    link="https://zenodo.org/records/10047292 (v2.0.1)",
    size="23 GB",
    num_cases=1228,
    layout="""
Totalsegmentator_dataset_v201/meta.csv
Totalsegmentator_dataset_v201/s0000/ct.nii.gz
Totalsegmentator_dataset_v201/s0000/segmentations/spleen.nii.gz    and 116 more, among them vertebrae_S1
""",
    case=r"s\d{4}",
    # In this release the sacrum leaves S1 out (issue 249 of TotalSegmentator), in others not.
    nested={"left_kidney_cyst": "left_kidney", "right_kidney_cyst": "right_kidney", "vertebrae_S1": "sacrum"},
    errata=(
        *MISLABELLED,
        Erratum(
            ("s0184", "s0224", "s0830", "s0864", "s0992"),
            "has wrong intensities in v2.0.0; use v2.0.1 or later",
            source="https://github.com/wasserth/TotalSegmentator/issues/193",
        ),
    ),
    definitions={
        "colon": "runs to the anus; WORD labels the rectum separately",
        "prostate": "prostate only; AMOS22 labels the uterus of women with it",
        "left_femur": "the whole femur in view; WORD's head of femur lies in it",
        "left_kidney": "includes its cysts",
        "right_lung": "the lobes of that side",
        "vertebrae_L5": "counted upwards from the sacrum, transitional vertebrae are not labelled (issue 88)",
    },
    overlaps=("TotalSegmentator_v1 and TotalSegmentator_v3 (most of the same patients)", "FLARE23"),
    unchecked=("the cases with wrong vertebrae are more than those left out here; issue 268 of TotalSegmentator lists them",),
    **release(2),
)
