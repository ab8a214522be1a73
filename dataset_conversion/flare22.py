"""FLARE22, the 50 labelled cases: 13 abdominal organs."""

from ..conversion.declaration import CC_BY_NC_SA_4, SourceDataset

DATASET = SourceDataset(
    name="FLARE22",
    title="Fast and Low-resource semi-supervised Abdominal oRgan sEgmentation 2022 (labelled training set)",
    region="abdomen",
    license=f"{CC_BY_NC_SA_4} (on a mirror; the challenge page gives rules only)",
    license_names=(CC_BY_NC_SA_4,),
    link="https://zenodo.org/records/7860267",
    reference="Ma et al., Unleashing the strengths of unlabelled data in deep learning-assisted pan-cancer abdominal organ "
    "quantification, Lancet Digital Health 2024, doi:10.1016/S2589-7500(24)00154-7",
    size="1.6 GB (labelled part)",
    num_cases=50,
    layout="""
Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001_0000.nii.gz
Training/FLARE22_LabeledCase50/labels/FLARE22_Tr_0001.nii.gz
""",
    images=("FLARE22_Tr_{case}_0000.nii.gz",),
    labels=("FLARE22_Tr_{case}.nii.gz",),
    case=r"\d{4}",
    values={
        1: "liver",
        2: "right_kidney",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "postcava",
        7: "right_adrenal_gland",
        8: "left_adrenal_gland",
        9: "gallbladder",
        10: "esophagus",
        11: "stomach",
        12: "duodenum",
        13: "left_kidney",
    },
    overlaps=("AbdomenCT12organ (very likely the same scans)", "MSD_Pancreas (probably)", "FLARE23"),
)
