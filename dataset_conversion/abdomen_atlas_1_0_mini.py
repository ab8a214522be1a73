"""AbdomenAtlas 1.0 Mini: nine abdominal structures, mostly labelled by models, in 5195 scans of other public datasets."""

from ..conversion.declaration import SourceDataset
from ._abdomen_atlas import ATLAS, ATLAS_FROM, ATLAS_NAMES, ATLAS_UNCHECKED, NINE, values_of

DATASET = SourceDataset(
    name=ATLAS_NAMES["1.0"],
    title="AbdomenAtlas 1.0 Mini",
    link="https://huggingface.co/datasets/AbdomenAtlas/AbdomenAtlas1.0Mini",
    size="about 300 GB",
    num_cases=5195,
    layout="""
BDMAP_00000001/ct.nii.gz
BDMAP_00000001/combined_labels.nii.gz    or segmentations/aorta.nii.gz and 8 more
""",
    values=values_of(NINE),
    overlaps=ATLAS_FROM,
    unchecked=ATLAS_UNCHECKED,
    **ATLAS,
)
