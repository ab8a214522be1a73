"""Replicas of large or recent collections, some of whose cases are annotated in part.

Values are written down here once more, from the datasets' own descriptions, so that a slip in a declaration shows.
"""

import shutil

import numpy as np

from builders.replica import Replica, files, numbered
from builders.replica_files import SHAPE, label_of, make_truth, write_nifti

ATLAS_NINE = "aorta gallbladder left_kidney right_kidney liver pancreas postcava spleen stomach".split()
ATLAS_SIXTEEN = (
    "left_adrenal_gland right_adrenal_gland bladder celiac_trunk colon duodenum esophagus left_femur right_femur hepatic_vessel "
    "intestine left_lung right_lung portal_vein_and_splenic_vein prostate rectum"
).split()
ATLAS_FILES = {
    "gallbladder": "gall_bladder", "left_kidney": "kidney_left", "right_kidney": "kidney_right",
    "left_adrenal_gland": "adrenal_gland_left", "right_adrenal_gland": "adrenal_gland_right", "left_femur": "femur_left",
    "right_femur": "femur_right", "left_lung": "lung_left", "right_lung": "lung_right",
}  # fmt: skip
FLARE = (
    "liver right_kidney spleen pancreas aorta postcava right_adrenal_gland left_adrenal_gland gallbladder esophagus stomach "
    "duodenum left_kidney"
).split()


def write_masks(folder, masks, files_of):
    for name, mask in masks.items():
        write_nifti(folder / f"segmentations/{files_of.get(name, name)}.nii.gz", mask.astype(np.uint8))


def abdomen_atlas_1_0_mini(folder):
    """One case by its combined label, one by its masks."""
    root = "AbdomenAtlas1.0Mini/BDMAP_{}/"
    replica = files("AbdomenAtlas1_0Mini", folder, ["00000001", "00000002"], ATLAS_NINE,
                    root + "ct.nii.gz", root + "combined_labels.nii.gz", axes="LPS")  # fmt: skip
    second = folder / root.format("00000002")
    (second / "combined_labels.nii.gz").unlink()
    write_masks(second, replica.cases["AbdomenAtlas1_0Mini_00000002"].masks, ATLAS_FILES)
    return replica


def abdomen_atlas_1_1_mini(folder):
    """The third case holds the nine structures of 1.0 only, of the last the image is elsewhere."""
    structures = [*ATLAS_NINE, *ATLAS_SIXTEEN]
    root = "AbdomenAtlas1.1Mini_BDMAP_00000001_00000500/BDMAP_{}/"
    names = root + "ct.nii.gz", root + "combined_labels.nii.gz"
    replica = files(
        "AbdomenAtlas1_1Mini", folder, ["00000001", "00000002"], structures, *names, nested={"hepatic_vessel": "liver"}
    )
    second = folder / root.format("00000002")
    (second / "combined_labels.nii.gz").unlink()
    write_masks(second, replica.cases["AbdomenAtlas1_1Mini_00000002"].masks, ATLAS_FILES)
    few = files("AbdomenAtlas1_1Mini", folder, ["00000003", "00005196"], ATLAS_NINE, *names, offset=30)
    (folder / root.format("00005196") / "ct.nii.gz").unlink()
    for truth in replica.cases.values():
        truth.source = "AbdomenAtlas1_1Mini"
    few.cases["AbdomenAtlas1_1Mini_00000003"].source = "AbdomenAtlas1_1Mini_9"
    replica.cases["AbdomenAtlas1_1Mini_00000003"] = few.cases["AbdomenAtlas1_1Mini_00000003"]
    return replica


PANTS = (
    "left_adrenal_gland right_adrenal_gland aorta bladder celiac_trunk colon common_bile_duct duodenum left_femur right_femur "
    "gallbladder left_kidney right_kidney liver left_lung right_lung pancreas pancreas_body pancreas_head pancreas_tail "
    "pancreatic_duct postcava prostate spleen stomach superior_mesenteric_artery veins pancreas_tumor"
).split()
PANTS_FILES = {**ATLAS_FILES, "celiac_trunk": "celiac_artery", "pancreas_tumor": "pancreatic_lesion"}
IN_PANCREAS = ["pancreas_body", "pancreas_head", "pancreas_tail", "pancreatic_duct", "pancreas_tumor"]


def pants(folder):
    """Masks overlap: the pancreas holds its parts, the head a lesion; one mask is stored scaled."""
    replica = Replica("PanTS", folder, nested=dict.fromkeys(IN_PANCREAS, "pancreas"))
    for case, subset in {"00000001": "Tr", "00009901": "Te"}.items():
        truth = make_truth(PANTS, int(case) % 100)
        write_nifti(folder / f"Image{subset}/PanTS_{case}/ct.nii.gz", truth.image, "LAS")
        masks = dict(truth.masks)
        masks["pancreas_head"] = masks["pancreas_head"] | masks["pancreas_tumor"]
        masks["pancreas"] = np.any([masks[name] for name in ["pancreas", *IN_PANCREAS]], axis=0)
        for name, mask in masks.items():
            scaled = mask * 1.0000000591 if name == "liver" else mask.astype(np.uint8)
            path = folder / f"Label{subset}/PanTS_{case}/segmentations/{PANTS_FILES.get(name, name)}.nii.gz"
            write_nifti(path, scaled, "LAS")
        write_nifti(folder / f"Label{subset}/PanTS_{case}/combined_labels.nii.gz", np.full(SHAPE, 99, np.uint8), "LAS")
        replica.cases[f"PanTS_{case}"] = truth
    write_nifti(folder / "LabelTr/PanTS_00000002/segmentations/liver.nii.gz", truth.masks["liver"].astype(np.uint8))
    return replica


def flare23(folder):
    """13 organs; four organs, of which the kidneys are gone; lesions only; lesions in each."""
    replica = Replica("FLARE23", folder, skipped={"FLARE23_0003"})
    four = ["liver", "spleen", "pancreas"]
    for case, organs in {"0001": FLARE, "0002": four, "0003": []}.items():
        truth = make_truth([*organs, "lesion"], int(case), "FLARE23" if organs == FLARE else "FLARE23_4_organs")
        names = {**{value: name for value, name in numbered(FLARE).items() if name in organs}, 14: "lesion"}
        write_nifti(folder / f"imagesTr2200/FLARE23_{case}_0000.nii.gz", truth.image, "LAS")
        write_nifti(folder / f"labelsTr2200/FLARE23_{case}.nii.gz", label_of(truth, names), "LAS")
        truth.ignored = truth.masks.pop("lesion")
        if organs:
            replica.cases[f"FLARE23_{case}"] = truth
    write_nifti(folder / "unlabeledTr1800/FLARE23_2201_0000.nii.gz", truth.image)
    return replica


def segthor(folder):
    case = "train/Patient_{0}/"
    replica = files("SegTHOR", folder, ["01", "40"], ["esophagus", "heart", "trachea", "aorta"],
                    case + "Patient_{0}.nii.gz", case + "GT.nii.gz", axes="LPS")  # fmt: skip
    write_nifti(folder / "test/Patient_41.nii.gz", replica.cases["SegTHOR_40"].image)
    return replica


def verse(folder):
    """BIDS: C1 to C7, T1 to T12, L1 to L6 and T13, in that order but for T13, whose value is 28."""
    spine = [f"vertebrae_{part}{n}" for part, count in (("C", 7), ("T", 12), ("L", 6)) for n in range(1, count + 1)]
    names = {**numbered(spine), 28: "vertebrae_T13"}
    replica = Replica("VerSe", folder)
    for root, case in (("dataset-verse19training", "verse004"), ("dataset-verse20test", "gl003_dir-ax")):
        subject = "sub-" + case.partition("_")[0]
        more = files("VerSe", folder, [case], names, f"{root}/rawdata/{subject}/sub-{{}}_ct.nii.gz",
                     f"{root}/derivatives/{subject}/sub-{{}}_seg-vert_msk.nii.gz", axes="PIR", offset=len(case))  # fmt: skip
        replica.cases |= more.cases
    return replica


def ctpelvic1k(folder):
    """Values 2 and 3 are hip bones, sources do not agree which; labels of dataset 3 are of another collection's scans."""
    replica = Replica("CTPelvic1K", folder)
    for number, case, prefix in ((6, "CLINIC_0001", "dataset6_"), (7, "CLINIC_metal_0000", "")):
        truth = make_truth(["sacrum", "hip_left", "hip_right", "lumbar_vertebrae"], number)
        label = label_of(truth, numbered(["sacrum", "hip_left", "hip_right", "lumbar_vertebrae"]))
        folder_of_masks = {6: "CTPelvic1K_dataset6_Anonymized_mask", 7: "CTPelvic1K_dataset7_mask"}[number]
        write_nifti(folder / f"CTPelvic1K_dataset{number}_data/dataset{number}_{case}_data.nii.gz", truth.image, "LPS")
        write_nifti(folder / folder_of_masks / f"{prefix}{case}_mask_4label.nii.gz", label, "LPS")
        truth.masks["hip"] = truth.masks.pop("hip_left") | truth.masks.pop("hip_right")
        replica.cases[f"CTPelvic1K_{case}"] = truth
    write_nifti(folder / "CTPelvic1K_dataset7_data/dataset7_CLINIC_metal_0001_data.nii.gz", truth.image)
    write_nifti(folder / "CTPelvic1K_dataset3_mask_mappingback/dataset3_colon_001_mask_4label.nii.gz", label)
    return replica


def btcv_cervix(folder):
    """One case of the first issue without small bowel, one of which there is a re-issue."""
    names = numbered(["bladder", "uterus", "rectum", "intestine"])
    replica = Replica("BTCV_Cervix", folder)
    for case, structures in {"0507688": list(names.values())[:3], "9570942": list(names.values())}.items():
        truth = make_truth(structures, int(case), "BTCV_Cervix" if len(structures) == 4 else "BTCV_Cervix_3")
        label = label_of(truth, {value: name for value, name in names.items() if name in structures})
        write_nifti(folder / f"RawData/Training/img/{case}-Image.nii.gz", truth.image, "LAS")
        write_nifti(folder / f"RawData/Training/label/{case}-Mask.nii.gz", label, "LAS")
        replica.cases[f"BTCV_Cervix_{case}"] = truth
    for kind, name in (("FixedData/Training/img", "Image"), ("FixedDataV2/Training/label", "Mask")):
        (folder / kind).mkdir(parents=True)
        shutil.copy(folder / f"RawData/Training/{kind.rpartition('/')[2]}/9570942-{name}.nii.gz", folder / kind)
    return replica


def saros(folder):
    """Every fifth slice is labelled, the others are 255."""
    regions = (
        "subcutaneous_tissue muscle abdominal_cavity thoracic_cavity bone parotid_gland pericardium breast_implant mediastinum "
        "brain spinal_cord thyroid_gland submandibular_gland"
    ).split()
    replica = files("SAROS", folder, ["000", "899"], regions, "data/case_{}/image.nii.gz", "data/case_{}/body-regions.nii.gz")
    nobody_saw = np.ones(SHAPE, bool)
    nobody_saw[:, :, ::5] = False
    for case, truth in replica.cases.items():
        label = np.where(nobody_saw, 255, label_of(truth, numbered(regions))).astype(np.uint8)
        truth.masks = {name: mask & ~nobody_saw for name, mask in truth.masks.items() if (mask & ~nobody_saw).any()}
        truth.ignored = nobody_saw
        path = folder / f"data/case_{case.partition('_')[2]}/body-regions.nii.gz"
        write_nifti(path, label)
        write_nifti(path.with_name("body-parts.nii.gz"), label)
    write_nifti(folder / "data/case_900/body-regions.nii.gz", label)  # of a collection that needs a signed agreement
    return replica


def kipa22(folder):
    """Images are stored as HU + 1024."""
    structures = ["renal_vein", "kidney", "renal_artery", "kidney_tumor"]
    replica = files("KiPA22", folder, ["1", "70"], structures, "train/image/{}.nii.gz", "train/label/{}.nii.gz",
                    nested={"kidney_tumor": "kidney"}, axes="LAS")  # fmt: skip
    for case, truth in replica.cases.items():
        stored = (truth.image.astype(int) + 1024).astype(np.uint16)
        write_nifti(folder / f"train/image/{case.partition('_')[2]}.nii.gz", stored, "LAS")
    write_nifti(folder / "open_test_data/image/1.nii.gz", stored)
    return replica


def mm_whs_ct(folder):
    names = {
        205: "heart_myocardium", 420: "heart_atrium_left", 500: "heart_ventricle_left", 550: "heart_atrium_right",
        600: "heart_ventricle_right", 820: "ascending_aorta", 850: "pulmonary_artery",
    }  # fmt: skip
    replica = files("MMWHS_CT", folder, ["1001", "1020"], names, "ct_train/ct_train_{}_image.nii.gz",
                    "ct_train/ct_train_{}_label.nii.gz", axes="ASR", dtype=np.int16)  # fmt: skip
    write_nifti(folder / "ct_test/ct_test_2001_image.nii.gz", replica.cases["MMWHS_CT_1001"].image)
    return replica


REPLICAS = (
    abdomen_atlas_1_0_mini, abdomen_atlas_1_1_mini, pants, flare23, segthor, verse, ctpelvic1k, btcv_cervix, saros, kipa22,
    mm_whs_ct,
)  # fmt: skip
