"""Made-up datasets in public layouts and in one's own: what the commands convert, merge, audit and predict."""

import json

import nibabel
import numpy as np
import SimpleITK as sitk
from made_up_bodies import SPACING, STRUCTURES, affine_of, label_of, make_body, write_dicom, write_nifti

CLINIC_YAML = """
name: CLINIC
images: scans/{case}.nii.gz
labels: segmentations/{case}_v*.nii.gz
values: {1: liver, 2: liver_tumor, 3: stomach, 4: spleen, 5: pancreas, 6: colon, 9: null}
nested: {liver_tumor: liver}
annotates: [liver, stomach, spleen, pancreas, colon]
license: internal
reference: our clinic
leave_out: {p9: wrong patient}
"""
HOSPITAL_YAML = """
name: HOSPITAL
images: dicom/{case}
dicom: true
labels: labels/{case}.nii.gz
values: {1: right_kidney, 2: left_kidney, 3: pancreas, 4: spleen, 5: artifact}
license: internal
reference: another clinic
"""
BROKEN_YAML = """
name: BROKEN
images: scans/{case}.nii.gz
labels: labels/{case}.nii.gz
values: {1: liver}
license: internal
reference: nobody
"""
MERGE_YAML = """
datasets:
  301:
    name: LITS
    task_prompt: A CT image with annotations of the liver and its tumors.
  302: {labels: {kidney_cyst: null}}
  303: {license: CC BY 4.0}
  304: {labels: {artifact: ignore}}
nested:
  kidney_tumor: [right_kidney, left_kidney]
  liver_tumor: liver
merged_labels:
  kidney: [right_kidney, left_kidney]
compatible:
  - [stomach, colon]
scoped:
  pancreas: CLINIC
"""


def write_lits(folder):
    for index, (case, axes) in enumerate({"0": "LPS", "5": "RAS", "28": "IPL", "100": "ASR"}.items()):
        image, masks = make_body(10 + index)
        batch = folder / f"Training Batch {1 + (index > 1)}"
        write_nifti(batch / f"volume-{case}.nii", image if index else image.astype(np.float32), axes)
        write_nifti(batch / f"segmentation-{case}.nii", label_of(masks, {1: "liver", 2: "liver_tumor"}, np.float64), axes)


def write_kits(folder):
    for index, case in enumerate(("00000", "00001", "00002", "00003")):
        image, masks = make_body(20 + index)
        if index == 3:  # kidneys that grew together stay one label
            masks["left_kidney"] = masks["left_kidney"].copy()
            masks["left_kidney"][12:30, 9:12, 10:12] = True
        label = label_of(masks, {1: ("right_kidney", "left_kidney"), 2: "kidney_tumor", 3: "kidney_cyst"})
        write_nifti(folder / f"kits23/dataset/case_{case}/imaging.nii.gz", image, "IPL")
        write_nifti(folder / f"kits23/dataset/case_{case}/segmentation.nii.gz", label, "IPL")


def write_totalsegmentator(folder):
    names = {"spleen": "spleen", "kidney_right": "right_kidney", "kidney_left": "left_kidney", "liver": "liver",
             "kidney_cyst_right": "kidney_cyst", "lung_upper_lobe_left": "left_lung", "stomach": "stomach",
             "prostate": "colon"}  # fmt: skip
    for index, case in enumerate(("s0003", "s0011", "s0092")):
        image, masks = make_body(30 + index)
        write_nifti(folder / f"Totalsegmentator_dataset_v201/{case}/ct.nii.gz", image, "LAS")
        for name, structure in names.items():
            path = folder / f"Totalsegmentator_dataset_v201/{case}/segmentations/{name}.nii.gz"
            write_nifti(path, masks[structure].astype(np.uint8), "LAS")
    (folder / "Totalsegmentator_dataset_v201/meta.csv").write_text("image_id;age;gender\ns0003;60;m\ns0011;50;f\ns0092;40;m\n")


def write_chaos(folder):
    from PIL import Image

    for index, (case, names) in enumerate({"1": "i{:04d},0000b.dcm", "22": "IMG-0003-{:05d}.dcm"}.items()):
        image, masks = make_body(40 + index)
        write_dicom(folder / f"Train_Sets/CT/{case}/DICOM_anon", image, names=names, slope=2, intercept=-1000)
        ground = folder / f"Train_Sets/CT/{case}/Ground"
        ground.mkdir(parents=True)
        for z in range(image.shape[2]):
            picture = np.flip(masks["liver"][:, :, z], (0, 1)).T
            Image.fromarray(picture.astype(np.uint8) * 255).convert("1").save(
                ground / f"liver_GT_{image.shape[2] - 1 - z:03d}.png"
            )


def write_clinic(folder):
    values = {1: "liver", 2: "liver_tumor", 3: "stomach", 4: "spleen", 5: "pancreas", 6: "colon", 9: "left_lung"}
    for index, (case, axes) in enumerate({"p1": "LPS", "p2": "SRA", "p3": "RAS", "p4": "PIR", "p9": "RAS"}.items()):
        # p3 shows the scan of a LiTS case, cropped and noisy, so that a merge makes folds
        image, masks = make_body(12 if case == "p3" else 50 + index)
        if case == "p3":
            image = (image + np.random.default_rng(1).normal(0, 15, image.shape)).astype(np.int16)[1:, :-1]
            masks = {name: mask[1:, :-1] for name, mask in masks.items()}
        turned = 4.0 if case == "p4" else 0.0
        write_nifti(folder / f"scans/{case}.nii.gz", image, axes, turned)
        write_nifti(folder / f"segmentations/{case}_v2.nii.gz", label_of(masks, values), axes, turned)


def write_hospital(folder):
    values = {1: "right_kidney", 2: "left_kidney", 3: "pancreas", 4: "spleen", 5: "colon"}
    for index, case in enumerate(("h1", "h2", "h3", "h4")):
        image, masks = make_body(60 + index)
        write_dicom(folder / "dicom" / case, image, slope=1 + index % 2)
        write_nifti(folder / f"labels/{case}.nii.gz", label_of(masks, values), "LPS" if index % 2 else "RAS")


def write_broken(folder):
    """Cases that are refused, each for another reason, and one that is fine."""
    image, masks = make_body(70)
    label = label_of(masks, {1: "liver"})
    for case in ("a_fine", "b_value", "c_grid", "d_size", "e_torn", "f_fraction", "g_sheared"):
        write_nifti(folder / f"scans/{case}.nii.gz", image)
        write_nifti(folder / f"labels/{case}.nii.gz", label)
    write_nifti(folder / "labels/b_value.nii.gz", label * 3)
    moved = affine_of()
    moved[:3, 3] += (9.0, 0, 4.0)
    write_nifti(folder / "labels/c_grid.nii.gz", label, affine=moved)
    write_nifti(folder / "labels/d_size.nii.gz", label[:, :-2])
    torn = folder / "scans/e_torn.nii.gz"
    torn.write_bytes(torn.read_bytes()[:3000])
    write_nifti(folder / "labels/f_fraction.nii.gz", label * np.float32(0.5))
    sheared = affine_of()
    sheared[0, 2] = 2.5
    write_sheared(folder / "scans/g_sheared.nii.gz", image, sheared)


def write_sheared(path, array, affine):
    image = nibabel.Nifti1Image(array, affine)  # the qform cannot say it
    image.set_sform(affine, 2)
    nibabel.save(image, path)


def write_suspect(folder):
    """A raw dataset, by SimpleITK, in which most is wrong, for the audit."""
    labels = {"background": 0, "liver": 1, "right_kidney": 2, "left_kidney": 3, "spleen": 4}
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for index, case in enumerate(("sides", "offset", "empty", "unit", "torn", "value")):
        image, masks = make_body(80 + index)
        sides = ("left_kidney", "right_kidney") if case == "sides" else ("right_kidney", "left_kidney")
        label = label_of(masks, {1: "liver", 2: sides[0], 3: sides[1], 4: "spleen"})
        image = image + 1024 if case == "offset" else image
        label = label * 0 if case == "empty" else label * 2 if case == "value" else label
        for kind, array, end in (("imagesTr", image, "_0000"), ("labelsTr", label, "")):
            picture = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
            picture.SetSpacing((1, 1, 1) if case == "unit" else [float(value) for value in SPACING])
            picture.SetOrigin((100.0, 90.0, -140.0))
            picture.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS
            sitk.WriteImage(picture, str(folder / kind / f"{case}{end}.nii.gz"))
    torn = folder / "imagesTr/torn_0000.nii.gz"
    torn.write_bytes(torn.read_bytes()[:2000])
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def write_unseen(folder):
    """Images in no dataset, whose axes are turned and flipped, with labels of all structures."""
    values = dict(enumerate(STRUCTURES, start=1))
    directions = ((0, 1, 0, -1, 0, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 0, 0, 0, 0, 1, 0, 1, 0))
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index, direction in enumerate(directions):
        image, masks = make_body(90 + index)
        label = label_of(masks, values)
        for kind, array, end in (("images", image, "_0000"), ("labels", label, "")):
            picture = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
            picture.SetSpacing([float(value) for value in SPACING])
            picture.SetOrigin((12.5, -30.0, 7.0))
            picture.SetDirection(direction)
            sitk.WriteImage(picture, str(folder / kind / f"unseen_{index}{end}.nii.gz"))
    inverse = {name: value for value, name in values.items()}
    nested = {"liver": [inverse["liver"], inverse["liver_tumor"]]}
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **inverse, **nested},
        "regions_class_order": list(values),
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    (folder / "labels/dataset.json").write_text(json.dumps(description))


def write_dicom_export(folder):
    """Series as a scanner exports them: two in a folder, a tilted one, one with a gap, a report in between."""
    image, _ = make_body(95)
    write_dicom(folder / "patient_a/study", image, number=2)
    write_dicom(folder / "patient_a/study", image[:, :, ::2], number=3, names="thick-{:03d}.dcm", slope=2)
    write_dicom(folder / "patient_a/study", image[:, :, :1], number=9, names="report-{}.dcm", Modality="SR")
    write_dicom(folder / "patient_b", make_body(96)[0], tilt=1.2)
    write_dicom(folder / "patient_c", make_body(97)[0], leave_out=(9, 10))
    (folder / "patient_c/notes.txt").write_text("no image")


def write_inputs(folder):
    for name, text in {"clinic": CLINIC_YAML, "hospital": HOSPITAL_YAML, "broken": BROKEN_YAML, "merge": MERGE_YAML}.items():
        (folder / f"{name}.yaml").write_text(text)
    write_lits(folder / "lits")
    write_kits(folder / "kits")
    write_totalsegmentator(folder / "totalsegmentator")
    write_chaos(folder / "chaos")
    write_clinic(folder / "clinic")
    write_hospital(folder / "hospital")
    write_broken(folder / "broken")
    write_unseen(folder / "unseen")
    write_dicom_export(folder / "export")
