"""TotalSegmentator, release 1: 104 structures of the whole body; the heart in parts, no prostate, no kidney cysts."""

from ..conversion.declaration import SourceDataset
from ._totalsegmentator import release

DATASET = SourceDataset(
    title="TotalSegmentator dataset, release 1",
    link="https://zenodo.org/records/6802614 (v1.0)",
    size="size not checked",
    num_cases=1204,
    layout="""
Totalsegmentator_dataset/s0000/ct.nii.gz
Totalsegmentator_dataset/s0000/segmentations/spleen.nii.gz    and 103 more, among them face
""",
    case=r"s\d{4}",
    definitions={
        "colon": "runs to the anus; WORD labels the rectum separately",
        "left_femur": "the whole femur in view; WORD's head of femur lies in it",
        "right_lung": "the lobes of that side",
        "vertebrae_L5": "counted upwards from the sacrum, transitional vertebrae are not labelled (issue 88)",
    },
    overlaps=("TotalSegmentator and TotalSegmentator_v3 (later releases, most of the same patients: use one)", "FLARE23"),
    unchecked=("which of the errors of release 2 are in this one too; later releases mended some of its labels",),
    **release(1),
)
