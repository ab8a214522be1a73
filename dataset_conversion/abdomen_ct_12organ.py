"""AbdomenCT-12organ: an older extension of AbdomenCT-1K. Not FLARE22, whose values mean other organs."""

from ..conversion.declaration import CC_BY_NC_SA_4, SourceDataset
from ._abdomen import KIDNEY

DATASET = SourceDataset(
    name="AbdomenCT12organ",
    title="AbdomenCT-1K, 12-organ subset",
    region="abdomen",
    license=CC_BY_NC_SA_4,
    link="superseded; its former link now delivers FLARE22, which has other values (use `FLARE22` for those files)",
    reference="Ma et al., AbdomenCT-1K, IEEE TPAMI 2022, doi:10.1109/TPAMI.2021.3100536",
    size="about 1.6 GB",
    num_cases=50,
    layout="""
13_AbdomenCT-12organ/img/Organ12_0001_0000.nii.gz
13_AbdomenCT-12organ/label/Organ12_0001.nii.gz
""",
    images=("Organ12_{case}_0000.nii.gz",),
    labels=("Organ12_{case}.nii.gz",),
    case=r"\d{4}",
    values={
        1: "liver",
        2: "kidney",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "postcava",
        7: "stomach",
        8: "gallbladder",
        9: "esophagus",
        10: "right_adrenal_gland",
        11: "left_adrenal_gland",
        12: "celiac_trunk",
    },
    merged_labels=KIDNEY,
    overlaps=("FLARE22 (very likely the same scans)",),
)
