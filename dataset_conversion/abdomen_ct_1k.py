"""AbdomenCT-1K: liver, kidneys, spleen and pancreas in 1000 scans of other public datasets."""

from ..conversion.declaration import CC_BY_NC_SA_4, Erratum, SourceDataset
from ._abdomen import KIDNEY

LOST_SPACING = (78, *range(273, 279), *range(280, 287), 462, *range(574, 579))  # come from LiTS 28 to 47

DATASET = SourceDataset(
    name="AbdomenCT1K",
    title="AbdomenCT-1K",
    region="abdomen",
    license=CC_BY_NC_SA_4,
    link="https://github.com/JunMa11/AbdomenCT-1K",
    reference="Ma et al., AbdomenCT-1K, IEEE TPAMI 2022, doi:10.1109/TPAMI.2021.3100536",
    size="about 100 GB",
    num_cases=1000,
    layout="""
AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz    and ImagePart2, ImagePart3
Mask/Case_00001.nii.gz
""",
    images=("Case_{case}_0000.nii.gz",),
    labels=(
        "Mask/Case_{case}.nii.gz",
        "Masks/Case_{case}.nii.gz",
        "labels/Case_{case}.nii.gz",
        "labelsTr/Case_{case}.nii.gz",
        "08_AbdomenCT-1K/label/Case_{case}.nii.gz",  # of the assembly PAOT
    ),
    case=r"\d{5}",
    values={1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas"},
    merged_labels=KIDNEY,
    unlabelled_images=True,  # 62 of the numbered cases have no public label
    errata=(
        Erratum(
            tuple(f"{case:05d}" for case in LOST_SPACING),
            "comes without geometry (identity, 1 mm), as in LiTS; its true spacing is not known",
        ),
    ),
    overlaps=(
        "LiTS (201, with its test set)",
        "KITS19 (300)",
        "MSD_Pancreas (420)",
        "MSD_Spleen (61)",
        "PancreasCT (80)",
        "FLARE22",
    ),
)
