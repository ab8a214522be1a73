"""MM-WHS, CT part: the chambers of the heart, its muscle, ascending aorta and pulmonary artery, in contrast CT.

Names are those of TotalSegmentator's first release, which labels the same parts. (421 in place of 420 is known of an MR label
only.)
"""

from ..conversion.declaration import SourceDataset

DATASET = SourceDataset(
    name="MMWHS_CT",
    title="Multi-Modality Whole Heart Segmentation 2017, CT training set",
    region="heart",
    license="on registration, for research (terms of the challenge)",
    license_names=("research only",),
    link="https://zmiclab.github.io/zxh/0/mmwhs/",
    reference="Zhuang and Shen, Multi-scale patch and multi-modality atlases for whole heart segmentation of MRI, Medical Image "
    "Analysis 2016, doi:10.1016/j.media.2016.02.006",
    size="size not checked",
    num_cases=20,
    layout="""
ct_train/ct_train_1001_image.nii.gz
ct_train/ct_train_1001_label.nii.gz
""",
    images=("ct_train_{case}_image.nii.gz",),
    labels=("ct_train_{case}_label.nii.gz",),
    case=r"\d{4}",
    values={
        205: "heart_myocardium",
        420: "heart_atrium_left",
        500: "heart_ventricle_left",
        550: "heart_atrium_right",
        600: "heart_ventricle_right",
        820: "ascending_aorta",
        850: "pulmonary_artery",
    },
    definitions={
        "heart_myocardium": "of the left ventricle",
        "ascending_aorta": "its trunk at the heart only; lies in the aorta of others",
    },
    unchecked=("the text of its terms", "how far from the heart the vessels are labelled"),
)
