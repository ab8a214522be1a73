"""BTCV Cervix: bladder, uterus, rectum and small bowel in radiotherapy planning CT of women, most of them prone.

"For a few scans contours of other organs are missing" (challenge page): two of 30 labels hold no small bowel. There it is taken
as not annotated, not as absent. Re-issued files (FixedData, FixedDataV2) are taken where they are there; what was wrong with
the first is not said, probably their headers, which are compared with those of the images as always.
"""

from ..conversion.declaration import SourceDataset

THREE = ("bladder", "uterus", "rectum")

DATASET = SourceDataset(
    name="BTCV_Cervix",
    title="Multi-Atlas Labeling Beyond the Cranial Vault, cervix (training set)",
    region="pelvis",
    license="see https://www.synapse.org/#!Synapse:syn3193805 (registration required)",
    link="https://www.synapse.org/#!Synapse:syn3378972 (CervixRawData.zip)",
    reference="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015, doi:10.7303/syn3193805",
    size="size not checked",
    num_cases=30,
    layout="""
RawData/Training/img/0507688-Image.nii.gz
RawData/Training/label/0507688-Mask.nii.gz
    or, of the re-issue, FixedData/Training/img and FixedDataV2/Training/label
""",
    images=("FixedData/Training/img/{case}-Image.nii.gz", "Training/img/{case}-Image.nii.gz"),
    labels=("FixedDataV2/Training/label/{case}-Mask.nii.gz", "Training/label/{case}-Mask.nii.gz"),
    case=r"\d{7}",
    values={1: "bladder", 2: "uterus", 3: "rectum", 4: "intestine"},
    sources={"BTCV_Cervix": (*THREE, "intestine"), "BTCV_Cervix_3": THREE},
    sources_by_content=True,
    definitions={
        "uterus": "AMOS22 has it under the label of the prostate",
        "intestine": "small bowel; may be outlined as a region rather than loop by loop",
    },
    unchecked=("its license", "how small bowel is outlined", "what the re-issued files mend"),
)
