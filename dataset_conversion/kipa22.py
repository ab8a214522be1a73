"""KiPA22: renal vein, kidney, renal artery and kidney tumor in crops around one kidney with a tumor.

The images hold values of 0 and more without a word on their unit. Fat and soft tissue lie at about 921 and 1074 in ten of them,
and many stop at 0, as HU + 1024 would; so 1024 is subtracted, and an image that holds values below 0 is refused.
"""

from ..conversion.declaration import SourceDataset
from ._abdomen import KIDNEY

DATASET = SourceDataset(
    name="KiPA22",
    title="Kidney PArsing Challenge 2022 (training set)",
    region="kidney",
    license="CC BY-NC 4.0 (as a redistribution says; the challenge asks for registration)",
    license_names=("CC BY-NC 4.0",),
    link="https://kipa22.grand-challenge.org",
    reference="He et al., Meta grayscale adaptive network for 3D integrated renal structures segmentation, "
    "Medical Image Analysis 2021, doi:10.1016/j.media.2021.102055",
    size="size not checked",
    num_cases=70,
    layout="""
train/image/1.nii.gz
train/label/1.nii.gz
""",
    images=("train/image/{case}.nii.gz",),
    labels=("train/label/{case}.nii.gz",),
    case=r"\d+",
    values={1: "renal_vein", 2: "kidney", 3: "renal_artery", 4: "kidney_tumor"},
    nested={"kidney_tumor": "kidney"},
    merged_labels=KIDNEY,
    hu_offset=-1024,
    unchecked=(
        "that the images are HU + 1024: seen in ten of them, written nowhere",
        "its license at the source",
        "whether cysts belong to the kidney or to the tumor",
    ),
)
