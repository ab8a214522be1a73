"""AbdomenAtlas 1.1 Mini: 25 abdominal structures, mostly labelled by models, in scans of other public datasets.

The images of cases 5196 to 9262 are not part of it (they are those of the RSNA 2023 Abdominal Trauma Detection challenge); such
cases are passed over unless their ct.nii.gz is put there. combined_labels does not tell the releases apart: a case that holds
none of the 16 structures that came with 1.1 is taken to annotate the nine of 1.0 only.
"""

from ..conversion.declaration import SourceDataset
from ._abdomen_atlas import ATLAS, ATLAS_FROM, ATLAS_NAMES, ATLAS_UNCHECKED, NINE, SIXTEEN_MORE, values_of

_VALUES = values_of([*NINE, *SIXTEEN_MORE])

DATASET = SourceDataset(
    name=ATLAS_NAMES["1.1"],
    title="AbdomenAtlas 1.1 Mini",
    link="https://huggingface.co/datasets/AbdomenAtlas/_AbdomenAtlas1.1Mini",
    size="about 300 GB",
    num_cases=5195,
    layout="""
BDMAP_00000001/ct.nii.gz
BDMAP_00000001/combined_labels.nii.gz    or segmentations/aorta.nii.gz and 24 more
""",
    values=_VALUES,
    sources={
        ATLAS_NAMES["1.1"]: tuple(dict.fromkeys(_VALUES.values())),
        f"{ATLAS_NAMES['1.1']}_9": tuple(dict.fromkeys(values_of(NINE).values())),
    },
    nested={"hepatic_vessel": "liver"},
    sources_by_content=True,
    definitions={
        "prostate": "as models trained on AMOS22 see it, where women's uterus has the same label",
        "left_femur": "the whole femur in view",
        "right_femur": "the whole femur in view",
    },
    overlaps=(*ATLAS_FROM, "AbdomenAtlas1_0Mini (the same cases)"),
    unchecked=ATLAS_UNCHECKED,
    **ATLAS,
)
