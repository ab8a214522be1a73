"""CT-ORG: liver, lungs, kidneys, bladder (and bones and brain, which are not used)."""

from ..conversion.declaration import CC_BY_3, Erratum, SourceDataset
from ._abdomen import KIDNEY, LUNG

_PAOT = "12_CT-ORG/{}-{{case}}.nii.gz"  # an assembly of eleven collections
_VOLUMES = ("fixed_affine/volume-{case}.nii.gz", "OrganSegmentations/volume-{case}.nii.gz", _PAOT.format("img/volume"))
# For LiTS, whose images have the same names and which may lie beside
OWN_VOLUMES = (*_VOLUMES, "CT-ORG/**/volume-{case}.nii.gz")

DATASET = SourceDataset(
    name="CTORG",
    title="CT-ORG: CT volumes with multiple organ segmentations",
    region="body",
    license=CC_BY_3,
    link="https://www.cancerimagingarchive.net/collection/ct-org/",
    reference="Rister et al., CT-ORG, Scientific Data 2020, doi:10.1038/s41597-020-00715-8",
    size="about 30 GB",
    num_cases=140,
    layout="""
OrganSegmentations/volume-0.nii.gz
OrganSegmentations/labels-0.nii.gz
""",
    images=(*_VOLUMES, "volumes/volume-{case}.nii.gz"),
    labels=(
        "fixed_affine/labels-{case}.nii.gz",
        "OrganSegmentations/labels-{case}.nii.gz",
        "labels/labels-{case}.nii.gz",
        _PAOT.format("label/labels"),
    ),
    case=r"\d+",
    # Bones and lungs of most cases were segmented by thresholds; bones lie over structures of other datasets, so not used.
    values={1: "liver", 2: "bladder", 3: "lung", 4: "kidney", 5: None, 6: None},
    merged_labels={**KIDNEY, **LUNG},
    errata=(
        Erratum(
            ("19", "70", "74", "76"),
            "left out by others as faulty",
            skip=True,
            source="data lists of VISTA3D, Project-MONAI/VISTA",
        ),
    ),
    definitions={"liver": "lesions belong to it", "lung": "by thresholds and morphology in cases 21 to 139"},
    overlaps=("LiTS (131)", "AbdomenAtlas1_1Mini"),
)
