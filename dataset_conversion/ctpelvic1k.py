"""CTPelvic1K, the scans that come with it (datasets 6 and 7, CLINIC and CLINIC-metal): sacrum, hip bones, lumbar vertebrae.

Its other labels are of scans of other collections (BTCV, CT Colonography, MSD Colon, KiTS19, BTCV Cervix) and are passed over.
The authors' converter calls value 2 the right and 3 the left hip bone; those who looked at the files find 2 on the left of
every patient (torch_em, SAT). So both become `hip`, which is right or left; --split-sides goes by where they lie.
"""

from ..conversion.declaration import SourceDataset

DATASET = SourceDataset(
    name="CTPelvic1K",
    title="CTPelvic1K, CLINIC and CLINIC-metal",
    region="pelvis",
    license="not checked; see its Zenodo record",
    link="https://zenodo.org/records/4588403 (dataset6_data, dataset6_Anonymized_mask, dataset7_data, dataset7_mask)",
    reference="Liu et al., Deep learning to segment pelvic bones, IJCARS 2021, doi:10.1007/s11548-021-02363-8",
    size="size not checked",
    num_cases=117,
    layout="""
CTPelvic1K_dataset6_data/dataset6_CLINIC_0001_data.nii.gz
CTPelvic1K_dataset6_Anonymized_mask/dataset6_CLINIC_0001_mask_4label.nii.gz
CTPelvic1K_dataset7_data/dataset7_CLINIC_metal_0000_data.nii.gz
CTPelvic1K_dataset7_mask/CLINIC_metal_0000_mask_4label.nii.gz
""",
    images=("dataset*_{case}_data.nii.gz",),
    labels=("dataset*_{case}_mask_4label.nii.gz", "{case}_mask_4label.nii.gz"),
    case=r"CLINIC(?:_metal)?_\d{4}",
    values={1: "sacrum", 2: "hip", 3: "hip", 4: "lumbar_vertebrae"},
    merged_labels={"hip": ("hip_right", "hip_left")},  # as TotalSegmentator calls them
    unlabelled_images=True,  # 14 of the 75 scans of dataset 7 are labelled
    imageless_labels=True,
    definitions={"lumbar_vertebrae": "all of them as one; TotalSegmentator and VerSe label each on its own"},
    unchecked=("its license", "which of values 2 and 3 is which side: sources contradict each other"),
)
