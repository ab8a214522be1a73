"""BTCV, "Beyond the Cranial Vault": 13 abdominal organs and vessels."""

from ..conversion.declaration import CC_BY_4, SourceDataset
from ._abdomen import BTCV_VALUES

# The assembly of eleven collections that many call PAOT (dataset_list/PAOT.txt of ljwztc/CLIP-Driven-Universal-Model).
PAOT_IMAGES = "01_Multi-Atlas_Labeling/img/img{case}.nii.gz"
PAOT_LABELS = "01_Multi-Atlas_Labeling/label/label{case}.nii.gz"

DATASET = SourceDataset(
    name="BTCV",
    title="Multi-Atlas Labeling Beyond the Cranial Vault, abdomen (training set)",
    region="abdomen",
    license=f"{CC_BY_4} (registration required)",
    license_names=(CC_BY_4,),
    link="https://www.synapse.org/#!Synapse:syn3193805 (Abdomen/RawData.zip)",
    reference="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015, doi:10.7303/syn3193805",
    size="about 2 GB",
    num_cases=30,
    layout="""
RawData/Training/img/img0001.nii.gz
RawData/Training/label/label0001.nii.gz
    or imagesTr/img0001.nii.gz and labelsTr/label0001.nii.gz
""",
    images=("Training/img/img{case}.nii.gz", "imagesTr/img{case}.nii.gz", PAOT_IMAGES),
    labels=("Training/label/label{case}.nii.gz", "labelsTr/label{case}.nii.gz", PAOT_LABELS),
    case=r"\d{4}",
    values=BTCV_VALUES,
    overlaps=("BTCV_MultiOrgan (the same images)", "AbdomenAtlas1_1Mini"),
)
