"""VerSe 2019 and 2020: every vertebra on its own, with a 13th thoracic and a 6th lumbar one where there is one.

The restructured release (BIDS names, dataset-verse19training and the like) is meant, whose values its README gives; the files
of the MICCAI challenges have other names.
"""

from ..conversion.declaration import CC_BY_SA_4, SourceDataset

_SPINE = [(1, 7, "C"), (8, 19, "T"), (20, 25, "L")]  # first and last value

DATASET = SourceDataset(
    name="VerSe",
    title="Large Scale Vertebrae Segmentation Challenge (VerSe'19 and VerSe'20, restructured)",
    region="spine",
    license=CC_BY_SA_4,
    link="https://github.com/anjany/verse",
    reference="Sekuboyina et al., VerSe, Medical Image Analysis 2021, doi:10.1016/j.media.2021.102166",
    size="size not checked",
    num_cases=374,
    layout="""
dataset-verse19training/rawdata/sub-verse004/sub-verse004_ct.nii.gz
dataset-verse19training/derivatives/sub-verse004/sub-verse004_seg-vert_msk.nii.gz
dataset-verse20training/rawdata/sub-verse500/sub-verse500_dir-ax_ct.nii.gz    and so on; validation and test too
""",
    images=("rawdata/*/sub-{case}_ct.nii.gz",),
    labels=("derivatives/*/sub-{case}_seg-vert_msk.nii.gz",),
    values={
        **{value: f"vertebrae_{part}{value - first + 1}" for first, last, part in _SPINE for value in range(first, last + 1)},
        28: "vertebrae_T13",
    },
    definitions={
        "vertebrae_L5": "numbers follow the anatomy, with T13 and L6; TotalSegmentator counts upwards from the sacrum",
        "vertebrae_C1": "vertebrae cut off by the border of the scan may not be labelled",
    },
    unchecked=(
        "which scans VerSe'19 and VerSe'20 share; a scan of the same name in both is refused, give one folder at a time then",
        "whether vertebrae cut off by the border are labelled",
    ),
)
