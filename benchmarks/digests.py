"""Digests: every command on tiny made-up data, and a digest of all it writes, to show that two versions do the same.

    PYTHONPATH=OLD_CLONE python digests.py before.json --work WORK_FOLDER
    PYTHONPATH=NEW_CLONE python digests.py after.json --work WORK_FOLDER
    python digests.py --compare before.json after.json     # what differs; exit code 1 if anything does

Takes a few minutes of one core. Both runs must be made on one machine in one environment: tensors and voxels are compared to
the last bit. Run it from a folder that is no clone, or Python may import that one. Nothing of nnunetv2_cdpd is imported here;
the commands run in processes of their own with the flags of their help texts. The work folder is emptied first and kept.

Digested is content: voxels with their geometry, arrays, tensors, parsed JSON, text; not times, sizes of compressed files, paths
of the work folder, or the modules in which our classes lie. A page of HTML has separate entries for its texts, tags, pictures,
script and style, so that whoever makes it in another way sees in what it differs.
"""

import argparse
import base64
import csv
import difflib
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

KEPT_TEXT = 12000  # characters of an entry that are kept, so that the comparison can show what differs
SHOWN_LINES = 30  # of what differs in an entry
MARK = ".cdpd_digests"  # lies in a work folder of ours; no other folder is emptied
TRAINER, PLANS = "nnUNetTrainerCDPDSmall_1epoch", "nnUNetCDPDSmallPlans"
TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2}}
MODEL = ("-d", "400", "-tr", TRAINER, "-p", PLANS, "-c", "3d_fullres")

# ---- made-up bodies --------------------------------------------------------------------------------------------------

SPACING = np.array([5.0, 5.7, 7.5])  # mm, RAS: organs are then as far apart as in a body, in few voxels
STRUCTURES = {  # name -> centre and radii as shares of the volume, towards right, front and head; HU
    "liver": ((0.68, 0.56, 0.70), (0.20, 0.22, 0.17), 110),
    "liver_tumor": ((0.72, 0.58, 0.70), (0.06, 0.07, 0.06), 60),
    "right_kidney": ((0.69, 0.30, 0.40), (0.08, 0.09, 0.13), 170),
    "left_kidney": ((0.31, 0.31, 0.42), (0.08, 0.09, 0.13), 165),
    "kidney_tumor": ((0.31, 0.34, 0.36), (0.05, 0.05, 0.06), 80),
    "kidney_cyst": ((0.70, 0.28, 0.46), (0.04, 0.04, 0.05), 5),
    "spleen": ((0.24, 0.42, 0.70), (0.09, 0.11, 0.13), 130),
    "stomach": ((0.38, 0.68, 0.62), (0.10, 0.09, 0.10), 30),
    "pancreas": ((0.50, 0.50, 0.52), (0.10, 0.06, 0.06), 95),
    "colon": ((0.50, 0.74, 0.25), (0.18, 0.06, 0.07), -40),
    "portal_vein_and_splenic_vein": ((0.53, 0.44, 0.56), (0.03, 0.04, 0.16), 190),
    "left_lung": ((0.28, 0.55, 0.92), (0.10, 0.16, 0.07), -750),
    "right_lung": ((0.72, 0.55, 0.92), (0.10, 0.16, 0.07), -750),
}


def make_body(seed):
    """A volume in HU and the mask of each structure, RAS; sizes differ from case to case, and organs move a little."""
    generator = np.random.default_rng(seed)
    shape = (40 + seed % 3, 33 + seed % 4, 26 + seed % 2)
    grid = [(np.arange(size) + 0.5).reshape([-1 if axis == i else 1 for i in range(3)]) / size for axis, size in enumerate(shape)]

    def ellipsoid(centre, radii):
        return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii)) <= 1

    texture = generator.normal(0, 1, shape)
    for axis in range(3):  # structures of a few voxels, by which copies of a scan are known
        texture = (texture + np.roll(texture, 1, axis) + np.roll(texture, -1, axis)) / 3
    image = np.where(ellipsoid((0.5, 0.5, 0.5), (0.47, 0.44, 9.0)), 20 + 60 * texture / texture.std(), -1000.0)
    masks = {}
    for name, (centre, radii, hu) in STRUCTURES.items():
        masks[name] = ellipsoid(np.add(centre, generator.uniform(-0.015, 0.015, 3)), radii)
        image[masks[name]] = hu
    image += generator.normal(0, 12, shape)
    return np.rint(image).astype(np.int16), masks


def label_of(masks, values, dtype=np.uint8):
    """Value -> names that it covers, one or several; later ones lie over earlier ones."""
    label = np.zeros(next(iter(masks.values())).shape, dtype)
    for value, names in values.items():
        for name in [names] if isinstance(names, str) else names:
            label[masks[name]] = value
    return label


def affine_of(turned=0.0):
    """RAS to mm, with an origin; turned: degrees about the body's axis."""
    angle = np.deg2rad(turned)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    affine[:3, 3] = (-101.5, -87.25, -140.0)
    return affine


def write_nifti(path, array, axes="RAS", turned=0.0, affine=None):
    """Write an array given in RAS, stored in another order and direction of axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = affine_of(turned) if affine is None else affine
    image = nibabel.Nifti1Image(array, affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes))))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 2)
    nibabel.save(image, path)


def write_dicom(folder, array, *, slope=1.0, intercept=-1024, names="1-{:03d}.dcm", tilt=0.0, leave_out=(), number=1, **tags):
    """Write a RAS volume as a CT series, its files in no order; tilt: mm that each slice lies further to the front.

    UIDs come from the folder's name, since new ones would differ from run to run.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    affine = affine_of()
    lps = nibabel.Nifti1Image(array, affine).as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple("LPS"))))
    voxels, matrix = np.asarray(lps.dataobj), np.diag([-1, -1, 1, 1]) @ lps.affine

    def uid_of(*parts):
        return generate_uid(entropy_srcs=["/".join(folder.parts[-2:]), *map(str, (number, *parts))])

    for z in sorted(set(range(voxels.shape[2])) - set(leave_out)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid_of("slice", z)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / names.format(voxels.shape[2] - z)
        file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.PatientID, file.Modality, file.SeriesNumber = "anonymous", "CT", number
        file.SeriesInstanceUID, file.StudyInstanceUID = uid_of("series"), uid_of("study")
        file.InstanceNumber = voxels.shape[2] - z
        position = matrix[:3, 3] + z * matrix[:3, 2] + [0, -tilt * z, 0]
        file.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        file.ImagePositionPatient = [f"{value:.6f}" for value in position]
        file.PixelSpacing, file.SliceThickness = [f"{SPACING[1]:.6g}", f"{SPACING[0]:.6g}"], f"{SPACING[2]:.6g}"
        file.Rows, file.Columns = voxels.shape[1], voxels.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = slope, intercept
        stored = np.rint((voxels[:, :, z].T.astype(float) - intercept) / slope).astype(np.int16)
        file.PixelData = np.ascontiguousarray(stored).tobytes()
        for tag, value in tags.items():
            setattr(file, tag, value)
        file.save_as(path, enforce_file_format=True)


# ---- made-up datasets ------------------------------------------------------------------------------------------------

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


# ---- commands --------------------------------------------------------------------------------------------------------

# Training as nnU-Net does it, but seeded once the trainer exists: imports before it may differ from version to version
SEEDED_TRAINING = """
import random, sys
import numpy, torch
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

def run_training(self, original=nnUNetTrainer.run_training):
    self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = EPOCHS, 5, 2
    original(self)

def initialize(self, original=nnUNetTrainer.initialize):
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(0)
    original(self)

torch.use_deterministic_algorithms(True, warn_only=True)
torch.set_num_threads(1)
nnUNetTrainer.run_training, nnUNetTrainer.initialize = run_training, initialize
sys.argv = ["nnUNetv2_train", *sys.argv[1:]]
if __name__ == "__main__":
    run_training_entry()
"""


class Commands:
    """Runs commands one after the other, in an environment of its own, and digests what they print."""

    def __init__(self, work):
        self.work = work
        self.entries = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CDPD_", "nnUNet_"))}
        self.environment = {
            **kept,
            **{name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "nnUNet_def_n_proc"), "1"),
            "CDPD_VISION_WEIGHTS": "random",
            "CDPD_TEXT_WEIGHTS": "learned",
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": "f",
            "PYTHONHASHSEED": "0",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "120",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(work / "matplotlib"),
        }
        self.code = self._package_folder()
        self.environment["nnUNet_extTrainer"] = self.cdpd("link --path", "link", "--path").strip()

    def _package_folder(self):
        command = [sys.executable, "-c", "import nnunetv2_cdpd; print(nnunetv2_cdpd.__path__[0])"]
        result = subprocess.run(command, env=self.environment, cwd=self.work, capture_output=True, text=True, check=True)
        print(f"code: {result.stdout.strip()}", flush=True)
        return Path(result.stdout.strip()).parent

    def cdpd(self, name, *arguments, expect=0, **environment):
        """A command of ours; its name in the digests, its arguments."""
        command = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", *map(str, arguments)]
        result = self._run(name, command, expect, environment)
        self.entries[f"stdout: cdpd {name}"] = text_entry(self.plain(result.stdout))
        self.entries[f"stderr: cdpd {name}"] = text_entry(self.plain(without_warnings(result.stderr)))
        return result.stdout

    def nnunet(self, name, module, function, *arguments, expect=0, **environment):
        """A command of nnU-Net's, by its entry point; what it prints is nnU-Net's."""
        code = f"import sys; from {module} import {function}; sys.argv[0] = {name!r}\nif __name__ == '__main__': {function}()"
        self._run(name, [sys.executable, "-c", code, *map(str, arguments)], expect, environment)

    def train(self, name, *arguments, epochs=1, **environment):
        code = SEEDED_TRAINING.replace("EPOCHS", str(epochs))
        self._run(name, [sys.executable, "-c", code, *map(str, arguments)], 0, environment)

    def _run(self, name, command, expect, environment):
        start = time.perf_counter()
        environment = {**self.environment, **environment}
        result = subprocess.run(command, env=environment, cwd=self.work, capture_output=True, text=True, timeout=900, check=False)
        print(f"{time.perf_counter() - start:6.1f} s  {name}", flush=True)
        if result.returncode != expect:
            sys.exit(f"{name}: exit code {result.returncode}, not {expect}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}")
        return result

    def plain(self, text):
        return plain_text(text, {str(self.work): "WORK", str(self.code): "CODE"})


def convert(commands, inputs):
    """Public layouts, masks, DICOM, one's own by YAML, broken cases and what helps with them."""
    one = ("-np", "1")
    commands.cdpd("sources", "sources")
    commands.cdpd("sources KITS23", "sources", "KITS23")
    commands.cdpd("convert LiTS", "convert", "LiTS", inputs / "lits", "-d", "301", *one)
    commands.cdpd("convert KITS23", "convert", "KITS23", inputs / "kits", "-d", "302", "--split-sides", *one)
    commands.cdpd("convert CLINIC", "convert", "--spec", inputs / "clinic.yaml", inputs / "clinic", "-d", "303", "--copy", *one)
    commands.cdpd("convert HOSPITAL", "convert", "--spec", inputs / "hospital.yaml", inputs / "hospital", "-d", "304", *one)
    commands.cdpd("convert TotalSegmentator", "convert", "TotalSegmentator", inputs / "totalsegmentator", "-d", "305", *one)
    for part in (0, 1):
        parts = ("--part-id", part, "--num-parts", 2)
        commands.cdpd(f"convert CHAOS, part {part}", "convert", "CHAOS", inputs / "chaos", "-d", "306", *parts, *one)
    broken = ("convert", "--spec", inputs / "broken.yaml", inputs / "broken", "-d", "308", *one)
    commands.cdpd("convert BROKEN", *broken, expect=1)
    commands.cdpd("convert BROKEN, labels resampled", *broken, "--resample-labels", expect=1)
    wrong = ("b_value", "d_size", "e_torn", "f_fraction", "g_sheared")
    commands.cdpd("convert BROKEN, wrong ones left out", *broken, "--resample-labels", "--leave-out", *wrong)
    commands.cdpd("convert KITS23 again", "convert", "KITS23", inputs / "kits", "--split-sides", *one)
    commands.cdpd("convert, no such dataset", "convert", "LITSS", inputs / "lits", *one, expect=1)
    commands.cdpd("convert, another layout", "convert", "KITS23", inputs / "lits", "-d", "309", *one, expect=1)


def merge_and_look(commands, inputs, out):
    write_suspect(commands.work / "nnUNet_raw/Dataset307_SUSPECT")
    datasets = ("301", "302", "303", "304")
    merge = ("merge", "-d", *datasets, "--id", "400", "--name", "Tiny", "--spec", inputs / "merge.yaml", "-np", "1")
    commands.cdpd("merge", *merge)
    commands.cdpd("merge again", *merge)
    commands.cdpd(
        "merge without a YAML", "merge", "-d", "302", "304", "305", "--id", "401", "--name", "Plain", "--prefix", "-np", "1",
        "--exclude-duplicates-of", inputs / "unseen/images",
    )  # fmt: skip
    commands.cdpd("merge, no such dataset", "merge", "-d", "301", "399", "--id", "402", "--name", "No", expect=1)
    for options in ((), ("--json",), ("--check",), ("--all-values",), ("--source", "CLINIC")):
        commands.cdpd(f"labels 400 {' '.join(options)}".strip(), "labels", "400", *options)
    commands.cdpd("labels 305", "labels", "305")
    commands.cdpd("audit", "audit", *datasets, "307", "-o", out / "audit", "--pictures", "2", "-np", "1")
    commands.cdpd("audit of a merged one", "audit", "400", "-o", out / "audit_merged", "--pictures", "1", "-np", "1")


def embed(commands, inputs, out):
    """Ready tables, as wide as CLIP's: the encoder itself needs weights that have to be downloaded."""
    import torch

    described = json.loads((commands.work / "nnUNet_raw/Dataset400_Tiny/dataset.json").read_text())
    generator = torch.Generator().manual_seed(0)
    rows = {
        "class_embeddings": len(described["labels"]) - sum(name in ("background", "ignore") for name in described["labels"]),
        "task_embeddings": len(described["cdpd"]["sources"]) + 1,  # and the universal task
    }
    torch.save({name: torch.randn(number, 512, generator=generator) for name, number in rows.items()}, inputs / "tables.pth")
    commands.cdpd("embed --file", "embed", "--file", inputs / "tables.pth")
    ready = ("--weights", inputs / "tables.pth", "-o", out / "embeddings.safetensors", "--picture", out / "similarity.png")
    commands.cdpd("embed", "embed", "400", *ready)


def plan_and_preprocess(commands, out):
    """With `cdpd plan`, which needs no link; the network is made tiny only after its plans were kept."""
    entries = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints"
    preprocessed = commands.work / "nnUNet_preprocessed/Dataset400_Tiny"
    options = ("-d", "400", "-np", "1", "--verify_dataset_integrity")
    commands.nnunet("nnUNetv2_extract_fingerprint", entries, "extract_fingerprint_entry", *options)
    (out / "plans").mkdir()
    for planner in ("nnUNetPlannerCDPD", "nnUNetPlannerCDPDPaper", "nnUNetPlannerCDPDM", "nnUNetPlannerCDPDSmall"):
        before = set(preprocessed.glob("*lans.json"))
        # nnU-Net sets as many threads as nnUNet_n_proc_DA while it plans, and refuses 0
        commands.cdpd(f"plan {planner}", "plan", "-d", "400", "-pl", planner, nnUNet_n_proc_DA="1")
        (made,) = set(preprocessed.glob("*lans.json")) - before
        shutil.copy(made, out / "plans" / f"{planner}.json")
    plans_file = preprocessed / f"{PLANS}.json"
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["architecture"]["arch_kwargs"]["vision"].update(TINY_VIT)
    configuration["batch_size"] = 2
    plans_file.write_text(json.dumps(plans))
    commands.nnunet(
        "nnUNetv2_preprocess", entries, "preprocess_entry", "-d", "400", "-plans_name", PLANS, "-c", "3d_fullres", "-np", "1",
        nnUNet_n_proc_DA="1",
    )  # fmt: skip


def train(commands, inputs):
    """The second with ready text embeddings, the paper's schedule and augmentation."""
    commands.train("nnUNetv2_train", "400", "3d_fullres", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu", "--npz", epochs=2)
    commands.train(
        "nnUNetv2_train, paper", "400", "3d_fullres", "1", "-tr", "nnUNetTrainerCDPDPaper", "-p", PLANS, "-device", "cpu",
        CDPD_TEXT_WEIGHTS=str(inputs / "tables.pth"),
    )  # fmt: skip


def give_effect(model):
    """A second fold with weights that matter: after so little training nothing is above 0.5, and text terms are the identity."""
    import torch

    path = model / "fold_0/checkpoint_final.pth"
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    generator = torch.Generator().manual_seed(1)
    for key, tensor in sorted(checkpoint["network_weights"].items()):
        if ".seg_layers." in key:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 2 if tensor.ndim > 1 else torch.full_like(tensor, -6.0))
        elif tensor.is_floating_point() and tensor.abs().max() < 0.05 and not key.startswith("slice_encoder"):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    (model / "fold_1").mkdir()
    torch.save(checkpoint, model / "fold_1/checkpoint_final.pth")


def predict(commands, inputs, out):
    images = inputs / "unseen/images"
    quiet = ("-device", "cpu", "--disable_progress_bar")
    commands.nnunet(
        "nnUNetv2_predict", "nnunetv2.inference.predict_from_raw_data", "predict_entry_point", "-i", images,
        "-o", out / "predict_nnunet", *MODEL, "-f", "1", "-npp", "1", "-nps", "1", *quiet,
    )  # fmt: skip
    choices = {
        "plain": ("-f", "1", "--save_probabilities"),
        "folds": ("-f", "0", "1", "-step_size", "0.7"),
        "classes": ("-f", "1", "--classes", "liver", "liver_tumor", "right_kidney", "--stats"),
        "task": ("-f", "1", "--task", "CLINIC", "--align_windows"),
        "stats_clean": ("-f", "1", "--stats", "--clean"),
        "files": ("-f", "1", "--one-file-per-class", "-num_parts", "2", "-part_id", "0"),
    }
    for name, options in choices.items():
        commands.cdpd(f"predict, {name}", "predict", "-i", images, "-o", out / f"predict_{name}", *MODEL, *options, *quiet)
    again = ("predict", "-i", images, "-o", out / "predict_plain", *MODEL, "-f", "1", "--continue_prediction", *quiet)
    commands.cdpd("predict again, other settings", *again, expect=1)
    export = ("predict", "-i", inputs / "export", "-o", out / "predict_dicom", *MODEL, "-f", "1", "--stats", *quiet)
    commands.cdpd("predict, DICOM", *export, expect=1)  # one series has a gap


def alter(label, shift, own):
    """A prediction with faults: all moved, a far piece of some classes, part of one kidney called the other, a tumor outside.

    own: Class -> the value that is stored for it.
    """
    altered = np.roll(label, shift, 0)
    for value in list(own.values())[::3]:
        corner = 1 + value % 9
        altered[corner : corner + 2, corner : corner + 3, 2:4] = value
    right = np.argwhere(altered == own["right_kidney"])
    if len(right):
        part = right[: len(right) // 5]
        altered[tuple(part.T)] = own["left_kidney"]
    tumor = np.argwhere(altered == own["liver_tumor"])
    if len(tumor):
        altered[tuple(np.minimum(tumor + [0, 8 * shift, 5], np.array(label.shape) - 1).T)] = own["liver_tumor"]
    return altered


def write_predictions(folder, references, shift, description):
    """Predictions made from references, of the classes that a prediction may hold."""
    folder.mkdir()
    names = [name for name in description["labels"] if name not in ("background", "ignore")]
    own = dict(zip(names, description["regions_class_order"]))
    for path in sorted(references.glob("*.nii.gz")):
        image = nibabel.load(path)
        altered = alter(np.asarray(image.dataobj), shift, own)
        altered = np.where(np.isin(altered, list(own.values())), altered, 0).astype(np.uint8)  # no merged value, no ignore
        nibabel.save(nibabel.Nifti1Image(altered, image.affine), folder / path.name)
    (folder / "dataset.json").write_text(json.dumps(description))


def score(commands, inputs, out):
    """Clean, evaluate and report: predictions made from references, of the merged dataset and of unseen volumes."""
    merged = commands.work / "nnUNet_raw/Dataset400_Tiny"
    first, second = out / "first", out / "second"
    for folder, shift in ((first, 1), (second, 2)):
        write_predictions(folder, merged / "labelsTr", shift, json.loads((merged / "dataset.json").read_text()))
    one = ("-np", "1")
    commands.cdpd("clean", "clean", first, out / "first_cleaned", *one)
    commands.cdpd("clean --list-rules", "clean", "--list-rules")
    commands.cdpd("evaluate", "evaluate", first, merged / "labelsTr", *one)
    compare = ("--compare", second, "-o", out / "compared", "--tolerance-mm", "6")
    commands.cdpd("evaluate --compare", "evaluate", first, merged / "labelsTr", *compare, *one)
    images = out.parent / "images_of_merged"
    images.mkdir()
    for path in sorted((commands.work / "nnUNet_raw").glob("Dataset30[1-4]_*/imagesTr/*.nii.gz")):
        shutil.copy(path, images)
    case = min(path.name.removesuffix(".nii.gz") for path in first.glob("*.nii.gz"))
    training = commands.work / "nnUNet_results/Dataset400_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres/fold_0"
    shown = ("-i", images, "--pictures", "2", "--volumes", case, "--training", training, "--title", "Digests & <more>")
    commands.cdpd("report", "report", first, *shown, *one)

    unseen = inputs / "unseen/labels"
    full, cleaned = out / "full", out / "full_cleaned"
    write_predictions(full, unseen, 1, json.loads((unseen / "dataset.json").read_text()))
    commands.cdpd("clean all structures", "clean", full, cleaned, *one)
    rules = ("--rules", "sides", "tumors_in_organ")
    commands.cdpd("clean by some rules", "clean", full, out / "full_some_rules", *rules, *one)
    commands.cdpd("evaluate cleaned", "evaluate", cleaned, unseen, "--compare", full, *one)
    shown = ("-i", inputs / "unseen/images", "--window", "-100", "200", "--pictures", "1")
    commands.cdpd("report cleaned", "report", cleaned, *shown, *one)
    commands.cdpd("evaluate, paper", "evaluate", full, unseen, "--protocol", "paper", "-o", out / "paper", *one)
    commands.cdpd("evaluate predictions", "evaluate", out / "predict_stats_clean", unseen, *one)
    (second / min(path.name for path in second.glob("*.nii.gz"))).unlink()
    commands.cdpd("evaluate, one missing", "evaluate", second, merged / "labelsTr", *one, expect=1)
    commands.cdpd("evaluate --allow-missing", "evaluate", second, merged / "labelsTr", "--allow-missing", *one)


def cross_validation(commands):
    """Of one fold, which is all that was trained."""
    options = ("-c", "3d_fullres", "-p", PLANS, "-tr", TRAINER, "-f", "0")
    commands.cdpd("accumulate", "accumulate", "400", *options)
    commands.cdpd("find-best", "find-best", "400", *options, "-np", "1", "--disable_ensembling")


def run_all(work):
    """Every command; returns what was printed, and what lies in the folders, as entries."""
    inputs, out = work / "inputs", work / "out"
    for folder in (inputs, out, *(work / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))):
        folder.mkdir()
    write_inputs(inputs)
    commands = Commands(work)
    convert(commands, inputs)
    merge_and_look(commands, inputs, out)
    embed(commands, inputs, out)
    plan_and_preprocess(commands, out)
    train(commands, inputs)
    give_effect(work / "nnUNet_results/Dataset400_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres")
    predict(commands, inputs, out)
    score(commands, inputs, out)
    cross_validation(commands)
    entries = dict(commands.entries)
    for name in ("out", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        for path in sorted(path for path in (work / name).rglob("*") if path.is_file()):
            entries.update(file_entries(path, work, commands.plain))
    # If this differs, the data were others, and the rest says nothing
    joined = "\n".join(input_digest(path) for path in sorted(inputs.rglob("*")) if path.is_file())
    entries["inputs"] = {"digest": sha(joined.encode())}
    return entries


def input_digest(path):
    """Of the bytes, but not of gzip's header, which holds the time; ours are too short to be worth more, torn ones included."""
    return sha(path.read_bytes()[10 if path.suffix == ".gz" else 0 :])


# ---- digests ---------------------------------------------------------------------------------------------------------

# Left out, because the clock or addresses in memory are in them: nnU-Net's curves, which draw the epochs' durations, and its dump
# of the trainer. Their names are listed, so that a missing one shows.
LEFT_OUT = ("progress.png", "debug.json")
# Of files: size and modification time; the digest of both in records; the moment and the duration of a job
VOLATILE = {"made_from", "outputs", "epoch_start_timestamps", "epoch_end_timestamps", "timestamp", "mtime", "seconds"}


def sha(data):
    return hashlib.sha256(data).hexdigest()[:24]


def text_entry(text):
    entry = {"digest": sha(text.encode())}
    return {**entry, "text": text} if len(text) <= KEPT_TEXT else {**entry, "text": text[:KEPT_TEXT] + "\n[...]"}


def array_entry(array, **facts):
    array = np.asarray(array)
    facts = {"dtype": str(array.dtype), "shape": list(array.shape), **facts}
    if array.dtype.kind in "biuf" and array.size:
        facts["mean"] = float(np.mean(array, dtype=np.float64))
    if array.dtype.kind in "biu" and array.size and (values := np.unique(array)).size <= 20:
        facts["voxels"] = {str(value): int((array == value).sum()) for value in values}
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return {"digest": sha(json.dumps(facts, sort_keys=True).encode() + content), "text": json.dumps(facts, indent=1)}


def joined_entry(entries):
    """One entry of several, name -> entry."""
    lines = [f"{name}: {entry['digest']} {' '.join(entry['text'].split())}" for name, entry in entries.items()]
    return text_entry("\n".join(lines))


def plain_text(text, places):
    """Text without what differs from run to run: places, times, durations, progress bars; and without modules of ours."""
    for place, name in places.items():
        text = text.replace(place, name)
    lines = []
    for line in text.split("\n"):
        line = line.rsplit("\r", 1)[-1]
        if re.search(r"\d+%\|| it/s|s/it", line):
            continue
        line = re.sub(r"\d{4}-\d\d-\d\d[ _T]\d\d[:_]\d\d[:_]\d\d(\.\d+)?:?", "TIME", line)
        line = re.sub(r"\b\d+(\.\d+)? ?(s|min|seconds)\b", "DURATION", line)
        line = re.sub(r"Epoch time: .*", "Epoch time", line)
        line = re.sub(r"\bnnunetv2_cdpd(\.\w+)*\.(\w+)", r"\2", line)  # modules may move, names of classes may not
        line = re.sub(r"nnunetv2[-_]cdpd \d+(\.\w+)+", "nnunetv2-cdpd VERSION", line)
        lines.append(line.rstrip())
    return "\n".join(lines).strip()


def without_warnings(text):
    """stderr of a command without Python's warnings, which name lines of source, and without what `cdpd link` did once."""
    lines, skip = [], False
    for line in text.split("\n"):
        warning = re.search(r"\.py:\d+: \w*Warning", line) is not None
        if not warning and not (skip and line.startswith("  ")) and not line.startswith("cdpd: linked to nnU-Net"):
            lines.append(line)
        skip = warning
    return "\n".join(lines)


def plain_value(value, plain):
    """Parsed content without volatile keys; numbers of numpy and tuples become what JSON knows, floats keep all their digits."""
    if isinstance(value, dict):
        return {plain(str(key)): plain_value(item, plain) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, plain) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain_value(item, plain) for item in value)
    if isinstance(value, np.ndarray):
        return array_entry(value)["digest"] if value.size > 50 else [str(value.dtype), plain_value(value.tolist(), plain)]
    if isinstance(value, np.generic):
        return plain_value(value.item(), plain)
    if isinstance(value, (str, Path)):
        return plain(str(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "detach"):
        return array_entry(value.detach().cpu().numpy())["digest"]
    return plain(re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


def json_entry(value, plain):
    return text_entry(json.dumps(plain_value(value, plain), indent=1))


def image_entry(path):
    image = sitk.ReadImage(str(path))
    rounded = {name: np.round(getattr(image, f"Get{name}")(), 6).tolist() for name in ("Origin", "Spacing", "Direction")}
    rounded = {name: [value + 0.0 for value in values] for name, values in rounded.items()}  # no -0.0
    return array_entry(sitk.GetArrayFromImage(image), **rounded)


def checkpoint_entries(path, key, plain):
    """The tensors and the rest of a checkpoint, separately."""
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    entries = {}
    for name in ("network_weights", "optimizer_state"):
        content = checkpoint.pop(name, None)
        if name == "network_weights":
            entries[f"{key} {name}"] = joined_entry({k: array_entry(v.float().numpy() if v.dtype == torch.bfloat16 else v.numpy())
                                                     for k, v in content.items()})  # fmt: skip
        else:
            entries[f"{key} {name}"] = json_entry(content, plain)
    entries[f"{key} rest"] = json_entry(checkpoint, plain)
    return entries


class Page(HTMLParser):
    """What a page of HTML holds, whatever the whitespace and the order of attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.texts, self.tags, self.pictures, self.inside, self.code = [], [], [], None, {"script": [], "style": []}
        self.json = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        listed = []
        for name, value in sorted(attributes, key=lambda pair: (pair[0], pair[1] or "")):
            value = " ".join((value or "").split())
            if match := re.match(r"data:([\w/+.-]+);base64,(.*)", value):
                value = f"{match[1]} {data_digest(base64.b64decode(match[2]))}"
                self.pictures.append(value)
            listed.append(f"{name}={value}")
        self.tags.append(" ".join([tag, *listed]))
        if tag in self.code:
            self.inside = "json" if "json" in dict(attributes).get("type", "") else tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        self.inside = None if tag in self.code else self.inside

    def handle_data(self, data):
        text = " ".join(data.split())
        if not text:
            return
        if self.inside == "json":
            self.json.append(json.loads(data))
        elif self.inside:
            self.code[self.inside].append(text)
        else:
            self.texts.append(text)


def data_digest(data):
    """Of the pixels of a picture; else of the bytes."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return array_entry(np.asarray(picture), mode=picture.mode)["digest"]
    except UnidentifiedImageError:
        return sha(data)


def html_entries(text, key, plain):
    page = Page(text)  # as it is: what looks like a duration may be part of a picture
    texts = [plain(line) for line in page.texts]
    return {
        f"{key} texts": text_entry("\n".join(sorted(texts))),
        f"{key} texts in order": text_entry(" ".join(texts)),
        f"{key} tags": text_entry("\n".join(f"{count} x {tag}" for tag, count in sorted(Counter(page.tags).items()))),
        f"{key} tags in order": text_entry("\n".join(page.tags)),
        f"{key} pictures": text_entry("\n".join(sorted(page.pictures))),
        f"{key} json": json_entry(page.json, plain),
        f"{key} script": text_entry("\n".join(page.code["script"])),
        f"{key} style": text_entry("\n".join(page.code["style"])),
    }


def b2nd_entry(path):
    import blosc2

    return array_entry(blosc2.open(urlpath=str(path), mode="r")[:])


def safetensors_entry(path, plain):
    from safetensors import safe_open

    with safe_open(str(path), "np") as file:
        tensors = {name: array_entry(file.get_tensor(name)) for name in sorted(file.keys())}
        return joined_entry({**tensors, "metadata": json_entry(file.metadata(), plain)})


def file_entries(path, work, plain):
    """Entries of a file, by what it holds."""
    key = re.sub(r"training_log_[\d_]+\.txt", "training_log.txt", path.relative_to(work).as_posix())
    name = path.name
    if name in LEFT_OUT:
        return {key: {"digest": "left out"}}
    if "cdpd_fingerprints" in path.parts:
        # named by the place and the time of the image
        entry = joined_entry({k: array_entry(v) for k, v in sorted(np.load(path).items())}) if name.endswith(".npz") else None
        entry = entry or {"digest": sha(path.read_bytes())}
        return {f"{path.parent.relative_to(work).as_posix()}/{entry['digest']}": entry}
    if name.endswith((".nii.gz", ".nii", ".mha", ".nrrd")):
        return {key: image_entry(path)} if path.stat().st_size > 2000 or readable(path) else {key: {"digest": "not readable"}}
    if name.endswith((".npz", ".npy")):
        loaded = np.load(path)
        arrays = {"array": loaded} if name.endswith(".npy") else {k: loaded[k] for k in sorted(loaded.files)}
        return {key: joined_entry({k: array_entry(v) for k, v in arrays.items()})}
    if name.endswith(".b2nd"):
        return {key: b2nd_entry(path)}
    if name.endswith(".pkl"):
        return {key: json_entry(pickle.loads(path.read_bytes()), plain)}
    if name.endswith(".json"):
        return {key: json_entry(json.loads(path.read_text()), plain)}
    if name.endswith(".jsonl"):
        return {key: json_entry([json.loads(line) for line in path.read_text().splitlines()], plain)}
    if name.endswith(".pth"):
        return checkpoint_entries(path, key, plain)
    if name.endswith(".safetensors"):
        return {key: safetensors_entry(path, plain)}
    if name.endswith(".html"):
        return html_entries(path.read_text(encoding="utf-8"), key, plain)
    if name.endswith(".csv"):
        return {key: text_entry(plain("\n".join(",".join(row) for row in csv.reader(path.open(newline="")))))}
    if name.endswith((".txt", ".yaml")):
        return {key: text_entry(plain(path.read_text(encoding="utf-8")))}
    return {key: {"digest": data_digest(path.read_bytes())}}


def readable(path):
    try:
        sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    return True


# ---- comparison ------------------------------------------------------------------------------------------------------


def compare(before, after):
    """Print what differs; returns whether anything does."""
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = [key for key in sorted(before.keys() & after.keys()) if before[key]["digest"] != after[key]["digest"]]
    for title, keys in (("added", added), ("removed", removed)):
        for key in keys:
            print(f"{title}: {key}")
    for key in changed:
        print(f"changed: {key}")
        texts = [entries[key].get("text", "").split("\n") for entries in (before, after)]
        lines = list(difflib.unified_diff(*texts, "before", "after", lineterm="", n=1))[2:]
        for line in lines[:SHOWN_LINES] or ["(not in what is kept of it)"]:
            print(f"    {line[:300]}")
        if len(lines) > SHOWN_LINES:
            print(f"    ... {len(lines) - SHOWN_LINES} more lines")
    print(f"{len(before)} entries before, {len(after)} after: {len(added)} added, {len(removed)} removed, {len(changed)} changed")
    return bool(added or removed or changed)


def empty_work_folder(folder):
    """Only a folder that is new, empty or of an earlier run is taken."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        sys.exit(f"{folder} holds something else; name another --work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, help="JSON file for the digests")
    parser.add_argument("--work", type=Path, default=Path("cdpd_digests"), help="folder for all data (default: cdpd_digests)")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="compare two such files instead")
    args = parser.parse_args()
    if args.compare:
        return int(compare(*(json.loads(path.read_text()) for path in args.compare)))
    if args.output is None:
        parser.error("name a file for the digests, or --compare")
    work = args.work.resolve()
    empty_work_folder(work)
    entries = run_all(work)
    args.output.write_text(json.dumps(entries, indent=1, sort_keys=True))
    print(f"{len(entries)} entries; CPU time {sum(os.times()[:4]):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
