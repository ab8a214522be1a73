"""LiTS, the Liver Tumor Segmentation benchmark."""

from ..conversion.declaration import Erratum, SourceDataset
from .ct_org import OWN_VOLUMES as CT_ORG_VOLUMES

# Compared by eye: https://github.com/assassint2017/MICCAI-LITS2017/issues/33; older notes say 28 to 47.
IRCAD = "3D-IRCADb-01 (28 to 44 and 46 to 48 are its patients 1 to 20)"

DATASET = SourceDataset(
    name="LiTS",
    title="Liver Tumor Segmentation Benchmark (training set)",
    region="abdomen",
    license="CC BY-NC-ND 4.0 or CC BY-SA 4.0 (sources differ)",
    license_names=("CC BY-NC-ND 4.0", "CC BY-SA 4.0"),
    link="https://competitions.codalab.org/competitions/17094",
    reference="Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), Medical Image Analysis 2023, "
    "doi:10.1016/j.media.2022.102680",
    size="about 50 GB unpacked",
    num_cases=131,
    layout="""
Training Batch 1/volume-0.nii
Training Batch 1/segmentation-0.nii
Training Batch 2/volume-28.nii
Training Batch 2/segmentation-28.nii
""",
    images=(
        "**/volume-{case}.nii",
        "**/volume-{case}.nii.gz",
        "04_LiTS/img/liver_{case}.nii.gz",
    ),  # the last: of the assembly PAOT
    labels=("**/segmentation-{case}.nii", "**/segmentation-{case}.nii.gz", "04_LiTS/label/liver_{case}.nii.gz"),
    foreign=CT_ORG_VOLUMES,
    case=r"\d+",
    values={1: "liver", 2: "liver_tumor"},
    nested={"liver_tumor": "liver"},
    errata=(
        Erratum(
            tuple(map(str, range(28, 48))),
            "LiTS 28 to 47 come without geometry (identity, 1 mm); MSD_Liver has the same scans with their true spacing, use it",
            source="https://github.com/PatrickChrist/LITS-CHALLENGE/issues/14",
        ),
    ),
    overlaps=("MSD_Liver (the same 131 cases)", "CTORG (131)", "AbdomenCT1K", "AbdomenAtlas1_1Mini", IRCAD),
    unchecked=("that MSD_Liver's numbers are those of LiTS, which all assume",),
)
