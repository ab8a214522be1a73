"""CHAOS, CT part: the liver of 20 healthy donors; DICOM images, labels as PNG slices."""

from ..conversion.declaration import CC_BY_NC_SA_4, IntensityCheck, SourceDataset

DATASET = SourceDataset(
    name="CHAOS",
    title="Combined (CT-MR) Healthy Abdominal Organ Segmentation, CT training set",
    region="abdomen",
    license=f"{CC_BY_NC_SA_4} (rules of the challenge, https://chaos.grand-challenge.org)",
    license_names=(CC_BY_NC_SA_4,),
    link="https://zenodo.org/records/3431873 (CHAOS_Train_Sets.zip)",
    reference="Kavur et al., CHAOS Challenge, Medical Image Analysis 2021, doi:10.1016/j.media.2020.101950",
    size="0.9 GB",
    num_cases=20,
    layout="""
Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm
Train_Sets/CT/1/Ground/liver_GT_000.png
""",
    images=("CT/{case}/DICOM_anon", "03_CHAOS/ct/img/{case}_image.nii.gz"),  # the second: of the assembly PAOT
    labels=("CT/{case}/Ground", "03_CHAOS/ct/liver_label/{case}_segmentation.nii.gz"),
    case=r"\d+",
    dicom=True,
    slices=True,
    values={1: "liver"},
    # The n-th PNG is that of the n-th DICOM file by name; a wrong pairing shows in the HU below the label.
    placement=IntensityCheck(window=(0, 250), least_share=0.75),
    overlaps=("AbdomenAtlas1_1Mini",),
)
