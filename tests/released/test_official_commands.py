"""The released checkpoint through the commands that a user types, without internet: import, predict, nnU-Net's own prediction.

The network is a narrow one of random weights, with the real DINOv2 ViT-B (of random weights too), so that nothing is replaced.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import timm
import torch
from builders.release import FEATURES, tiny_network, write_checkpoint
from builders.replica_files import write_dicom, write_nifti

from nnunetv2_cdpd.released.preset import PAPER_VISION_MODEL, paper_arch_kwargs
from nnunetv2_cdpd.released.sources import RELEASED_CLASSES
from nnunetv2_cdpd.volumes.dicom import read_series

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDING = 0.01  # of probabilities: nnU-Net sums windows in half precision, which counts in the corners of a volume
BIN = Path(sys.executable).parent
FIRING = {"spleen": 1, "right_kidney": 2, "liver": 6}  # the only classes that this network finds, and their values
OFFLINE = """
import socket

def refused(*args, **kwargs):
    raise OSError("a test without internet asked for it")

connect = socket.socket.connect
socket.getaddrinfo = refused
socket.socket.connect = lambda self, address: connect(self, address) if self.family == socket.AF_UNIX else refused()
"""


def released_network():
    """Random weights, except for heads that rarely agree on a voxel: each wants another feature and dislikes the others."""
    network = tiny_network(vision=paper_arch_kwargs()["vision"])
    head = network.decoder.seg_layers[-1].weight.data
    assert head.shape[:2] == (len(RELEASED_CLASSES), FEATURES[0])
    head.fill_(-4)
    for feature, value in enumerate(FIRING.values()):
        head[value - 1, feature] = 6
    return network


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Files as a user has them: checkpoint, DINOv2, one scan as oblique anisotropic NIfTI and as a DICOM series."""
    root = tmp_path_factory.mktemp("released")
    write_checkpoint(root / "cdpdnet.pth", released_network())
    torch.manual_seed(3)
    torch.save(timm.create_model(PAPER_VISION_MODEL, num_classes=0).state_dict(), root / "dinov2.pth")
    generator = np.random.default_rng(0)
    coarse = sitk.GetImageFromArray(generator.normal(0, 200, (7, 8, 6)).astype(np.float32))
    shape = (44, 38, 21)
    size = [coarse.GetSize()[axis] / shape[axis] for axis in range(3)]
    smooth = sitk.Resample(coarse, shape, sitk.Transform(), sitk.sitkBSpline, (0, 0, 0), size)
    image = np.rint(sitk.GetArrayFromImage(smooth).T).astype(np.int16)
    angle = 0.25
    affine = np.array([[1.3, 0, 0, -40], [0, 1.9, 0, 60], [0, 0, 3.1, -900], [0, 0, 0, 1.0]])
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write_nifti(root / "images" / "case_0000.nii.gz", image, axes="PIR", affine=turn @ affine)
    write_dicom(root / "patient" / "study" / "CT", image, affine=turn @ affine)
    (root / "offline").mkdir()
    (root / "offline" / "sitecustomize.py").write_text(OFFLINE)
    return root


def run(root, *command, expect=0, **variables):
    """A command as a process of its own, without nnU-Net's variables, a cache of weights, or the internet."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CDPD_", "nnUNet_", "HF_"))}
    env["PYTHONPATH"] = os.pathsep.join([str(root / "offline"), *filter(None, [env.get("PYTHONPATH")])])
    env |= {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "HOME": str(root), "XDG_CACHE_HOME": str(root / "cache"), **variables}
    result = subprocess.run(
        [str(part) for part in command], env=env, cwd=root, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == expect, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def model(workspace):
    folder = workspace / "nnUNet_results" / "Dataset400_CDPDNet" / "nnUNetTrainerCDPD__nnUNetCDPDPaperPlans__3d_fullres"
    folder.parent.mkdir(parents=True)
    output = run(workspace, "cdpd", "import-official", "cdpdnet.pth", "--dinov2", "dinov2.pth", "-o", folder)
    assert f"DINOv2: {'dinov2.pth'}" in output and f"written to {folder}" in output
    return folder


def predict(workspace, model, images, name, *more):
    output = workspace / name
    told = run(workspace, "cdpd", "predict", "-i", images, "-o", output, "-m", model, "-device", "cpu", "-nps", "0", *more)
    assert f"written to {output}" in told and "Traceback" not in told
    return output


@pytest.fixture(scope="module")
def predicted(workspace, model):
    return predict(workspace, model, workspace / "images", "from_nifti", "--save_probabilities")


def label_map(file):
    return np.asanyarray(nibabel.load(file).dataobj)


def probabilities(folder):
    with np.load(folder / "case.npz") as archive:
        return archive["probabilities"]


def test_the_internet_is_out_of_reach(workspace):
    output = run(workspace, "python", "-c", "import urllib.request as u; u.urlopen('http://localhost:9')", expect=1)
    assert "a test without internet asked for it" in output


def test_a_label_map_in_the_images_geometry(workspace, predicted):
    image, labels = nibabel.load(workspace / "images" / "case_0000.nii.gz"), nibabel.load(predicted / "case.nii.gz")
    assert labels.shape == image.shape == (38, 21, 44)
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-4)
    found, counts = np.unique(labels.dataobj, return_counts=True)
    assert set(found) == {0, *FIRING.values()} and counts.min() > 100


def test_a_dicom_series_gives_the_same_labels_in_its_own_geometry(workspace, model, predicted):
    output = predict(workspace, model, workspace / "patient", "from_dicom")
    (file,) = output.glob("*.nii.gz")
    assert file.name == "study_CT.nii.gz"
    series = read_series(sorted((workspace / "patient" / "study" / "CT").iterdir()))
    labels = nibabel.load(file)
    assert labels.shape == series.grid.shape
    np.testing.assert_allclose(labels.affine, series.grid.nifti_affine, atol=1e-4)
    same_order = [nibabel.as_closest_canonical(nibabel.load(path)) for path in (file, predicted / "case.nii.gz")]
    np.testing.assert_allclose(same_order[0].affine, same_order[1].affine, atol=1e-3)
    assert (np.asarray(same_order[0].dataobj) == np.asarray(same_order[1].dataobj)).mean() > 0.9999


def test_chosen_classes_lie_where_all_have_them(workspace, model, predicted):
    output = predict(workspace, model, workspace / "images", "chosen", "--classes", "liver", "spleen")
    full, some = label_map(predicted / "case.nii.gz"), label_map(output / "case.nii.gz")
    assert (np.where(np.isin(full, (1, 6)), full, 0) == some).mean() > 0.9999
    assert list(json.loads((output / "dataset.json").read_text())["labels"]) == ["background", "spleen", "liver"]


def test_one_task_finds_what_it_annotates(workspace, model):
    output = predict(workspace, model, workspace / "images", "task", "--task", "KiTS")
    assert set(np.unique(label_map(output / "case.nii.gz"))) == {0, 2}


def test_nnunets_own_command_agrees(workspace, model, predicted):
    """Probabilities to what nnU-Net's half-precision sums leave; labels wherever at most one class is above 0.5.

    Where several are, nnU-Net paints the later class over the earlier one and `cdpd predict` takes the most probable one.
    """
    stock = workspace / "stock"
    options = (
        "-d",
        "400",
        "-tr",
        "nnUNetTrainerCDPD",
        "-p",
        "nnUNetCDPDPaperPlans",
        "-c",
        "3d_fullres",
        "-f",
        "all",
        "-device",
        "cpu",
    )
    run(
        workspace, "nnUNetv2_predict", "-i", "images", "-o", stock, *options, "-npp", "1", "-nps", "1", "--save_probabilities",
        nnUNet_results=str(workspace / "nnUNet_results"),
    )  # fmt: skip
    theirs, ours = probabilities(stock), probabilities(predicted)
    assert theirs.shape == ours.shape == (len(RELEASED_CLASSES), 21, 38, 44)  # of the image in the order that the reader gave it
    np.testing.assert_allclose(ours, theirs, atol=ROUNDING)

    their_labels, our_labels = (
        np.asarray(nibabel.as_closest_canonical(nibabel.load(folder / "case.nii.gz")).dataobj).T for folder in (stock, predicted)
    )
    not_near_half = (np.abs(theirs - 0.5) > ROUNDING).all(0)
    clear = not_near_half & ((theirs > 0.5).sum(0) <= 1)
    print(f"probabilities differ by {np.abs(ours - theirs).max():.1e}; labels equal in {(our_labels == their_labels).mean():.2%}")
    print(f"{clear.mean():.2%} of the voxels have one class or none")
    assert clear.mean() > 0.8 and np.array_equal(our_labels[clear], their_labels[clear])
    winner = np.where(ours.max(0) > 0.5, ours.argmax(0) + 1, 0)
    sure = not_near_half & (np.diff(np.sort(ours, axis=0)[-2:], axis=0)[0] > ROUNDING)
    assert np.array_equal(our_labels[sure], winner[sure])
