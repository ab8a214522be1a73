"""Replicas of the three releases of the TotalSegmentator dataset; their masks are written down here once more."""

import numpy as np

from builders.replica import Replica
from builders.replica_files import SHAPE, make_truth, write_nifti

VERTEBRAE = [f"vertebrae_{part}{n}" for part, count in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, count + 1)]
RIBS = [f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)]
IN_BOTH = """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left lung_upper_lobe_left
lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right esophagus trachea small_bowel duodenum
colon urinary_bladder sacrum aorta inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right
iliac_vena_left iliac_vena_right humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left
femur_right hip_left hip_right gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right
gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain
""".split()
ONLY_1 = """
heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right pulmonary_artery face
""".split()
SINCE_2 = """
thyroid_gland prostate kidney_cyst_left kidney_cyst_right heart pulmonary_vein brachiocephalic_trunk subclavian_artery_right
subclavian_artery_left common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left
brachiocephalic_vein_right atrial_appendage_left superior_vena_cava spinal_cord skull sternum costal_cartilages
""".split()
RELEASE_1 = [*IN_BOTH, *VERTEBRAE, *RIBS, *ONLY_1]
RELEASE_2 = [*IN_BOTH, *VERTEBRAE, *RIBS, *SINCE_2, "vertebrae_S1"]
RELEASE_3 = [*IN_BOTH, *VERTEBRAE, *RIBS, *SINCE_2, "vertebrae_L6"]
RENAMED = {
    "kidney_right": "right_kidney", "kidney_left": "left_kidney", "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland", "small_bowel": "intestine", "urinary_bladder": "bladder",
    "kidney_cyst_left": "left_kidney_cyst", "kidney_cyst_right": "right_kidney_cyst", "inferior_vena_cava": "postcava",
    "femur_left": "left_femur", "femur_right": "right_femur",
}  # fmt: skip
LUNGS = {
    "right_lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "left_lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
}
CYSTS = {"left_kidney_cyst": "left_kidney", "right_kidney_cyst": "right_kidney"}


def totalsegmentator(folder):
    replica = Replica(
        "TotalSegmentator",
        folder,
        skipped={"TotalSegmentator_s0092"},
        nested={**CYSTS, "vertebrae_S1": "sacrum"},
        unions={**LUNGS, "kidney_cyst": tuple(CYSTS)},
    )
    _cases(replica, "Totalsegmentator_dataset_v201", RELEASE_2, {"s0000": [], "s0011": ["prostate", "heart"], "s0092": []})
    _genders(folder / "Totalsegmentator_dataset_v201", replica)
    return replica


def totalsegmentator_v1(folder):
    replica = Replica("TotalSegmentator_v1", folder, unions=LUNGS)
    _cases(replica, "Totalsegmentator_dataset", RELEASE_1, {"s0000": [], "s0011": ["face"]}, seed=20)
    return replica


def totalsegmentator_v3(folder):
    replica = Replica("TotalSegmentator_v3", folder, nested=CYSTS, unions={**LUNGS, "kidney_cyst": tuple(CYSTS)})
    _cases(replica, "Totalsegmentator_dataset_v300", RELEASE_3, {"s0000": [], "s0011": ["prostate"]}, seed=40)
    _genders(folder / "Totalsegmentator_dataset_v300", replica)
    return replica


def _cases(replica, root, masks, without, seed=0):
    """Every structure in the first case; in the others some masks are empty (the prostate) or missing."""
    for case, absent in without.items():
        truth = make_truth([RENAMED.get(name, name) for name in masks], int(case[1:]) + seed)
        write_nifti(replica.folder / root / case / "ct.nii.gz", truth.image)
        for name in masks:
            path = replica.folder / root / case / f"segmentations/{name}.nii.gz"
            mask = truth.masks[RENAMED.get(name, name)].astype(np.uint8)
            if name in absent:
                del truth.masks[RENAMED.get(name, name)]
                mask = np.zeros(SHAPE, np.uint8) if name == "prostate" else None
            if mask is not None:
                write_nifti(path, mask)
        if f"{replica.name}_{case}" not in replica.skipped:
            replica.cases[f"{replica.name}_{case}"] = truth


def _genders(root, replica):
    rows = ["image_id;age;gender;institute;study_type;split", "s0000;62;m;A;ct abdomen;train", "s0011;40;f;B;ct neck;val"]
    (root / "meta.csv").write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    for case, truth in replica.cases.items():
        truth.source = replica.name if case.endswith("s0000") else f"{replica.name}_without_prostate"
