"""Results and files of a few cases, for the tests of the report."""

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.pages.body import Volume
from nnunetv2_cdpd.volumes.grid import Grid

SHAPE = (10, 16, 24)  # z, y, x
SPACING = (1.0, 2.0, 3.0)  # x, y, z in mm

ANNOTATION = read_annotation(
    {
        "labels": {"background": 0, "liver": [1, 2], "liver_tumor": 2, "right_kidney": [3, 5], "left_kidney": [4, 5], "<b>": 6},
        "regions_class_order": [1, 2, 3, 4, 6],
        "cdpd": {
            "version": 1,
            "sources": {
                "A & B": {"annotated_classes": ["liver", "liver_tumor"]},
                "C": {"annotated_classes": [], "merged_labels": ["kidney"]},
            },
            "merged_labels": {"kidney": {"value": 5, "classes": ["right_kidney", "left_kidney"]}},
        },
    }
)


def volume_of(array, spacing):
    """spacing: Along z, y, x."""
    return Volume(array, Grid(array.shape[::-1], np.array(spacing[::-1], float), np.zeros(3), np.eye(3)))


def scores(dice, n_ref=10, n_pred=10):
    counts = dict(TP=5, FP=5, FN=5, TN=5, n_ref=n_ref, n_pred=n_pred)
    return {"Dice": dice, "IoU": dice, "HD95_mm": 2.5, "SurfaceDice": 0.875, **counts}


def make_results():
    """case_1 is better than case <2>; case_9 could not be scored."""
    return Results(
        ANNOTATION,
        ANNOTATION,
        (
            CaseScores("case_1", "A & B", "/r/1", "/p/1", {"liver": scores(0.9), "liver_tumor": scores(0.25, n_pred=0)}),
            CaseScores("case <2>", "C", "/r/2", "/p/2", {"kidney": scores(0.5)}),
        ),
        tolerance_mm=2.0,
        problems={"case_9": "shape of /secret/place differs"},
    )


def make_files(folder, case, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """An image of water in air with a bright corner, the liver in that corner, and a prediction 2 voxels off."""
    image, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    image[1:9, 2:14, 2:22] = 0
    label[2:5, 3:7, 3:9] = 1
    label[3, 4, 4:6] = 2
    image[label > 0] = 200
    files = []
    for name, array in (("image", image), ("reference", label), ("prediction", np.roll(label, 2, 1))):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(SPACING)
        volume.SetDirection(direction)
        files.append(folder / f"{case}_{name}.nii.gz")
        sitk.WriteImage(volume, str(files[-1]))
    return (case, *files)


def make_training_log(path, epochs=5):
    """A log as nnU-Net's trainer writes it; the Dice of the second class is nan in the first epoch."""
    lines = ["", "#####", "Please cite the following paper", "2025-01-01 10:00:00.5: This is the configuration of /secret/data"]
    for epoch in epochs if isinstance(epochs, range) else range(epochs):
        second = "nan" if epoch == 0 else f"np.float32({0.1 * epoch:.4f})"
        lines += [
            f"2025-01-01 10:0{epoch}:00.123456:  ",
            f"2025-01-01 10:0{epoch}:00.123456: Epoch {epoch} ",
            f"2025-01-01 10:0{epoch}:00.123456: Current learning rate: {0.01 - 0.001 * epoch:.5f} ",
            f"2025-01-01 10:0{epoch}:00.123456: train_loss {-0.1 * epoch:.4f} ",
            f"2025-01-01 10:0{epoch}:00.123456: val_loss {-0.05 * epoch:.4f} ",
            f"2025-01-01 10:0{epoch}:00.123456: Pseudo dice [np.float64({0.2 * epoch:.4f}), {second}] ",
            f"2025-01-01 10:0{epoch}:00.123456: Epoch time: 61.5 s ",
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


TURNED_SHAPE = (20, 24, 28)  # z, y, x


def make_turned_files(folder, case, axes, degrees=(0, 0, 0)):
    """Two blocks that every plane through the middle cuts, stored with other axes in a patient who lies askew.

    The liver lies right, front and low, class <b> left, back and high, in voxels of 2, 2 and 3 mm.

    Args:
        axes: Towards which sides the axes of the files run, like "RAS".
        degrees: By which the grid is turned about x, y and z.

    Returns:
        (case, image, reference, prediction), and the grid with axes to left, back and head.
    """
    label = np.zeros(TURNED_SHAPE, np.uint8)
    label[2:13, 3:15, 2:16] = 1
    label[8:19, 10:22, 12:27] = 6
    image = np.full(TURNED_SHAPE, -1000, np.int16)
    image[:, 1:-1, 1:-1] = 40
    direction = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    grid = Grid(TURNED_SHAPE[::-1], np.array([2.0, 2.0, 3.0]), np.array([-31.0, 17.0, -405.0]), direction)
    files = []
    for name, array in (("image", image), ("reference", label), ("prediction", label)):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(grid.spacing.tolist())
        volume.SetOrigin(grid.origin.tolist())
        volume.SetDirection(direction.ravel().tolist())
        files.append(folder / f"{case}_{name}.nii.gz")
        sitk.WriteImage(sitk.DICOMOrient(volume, axes), str(files[-1]))
    return (case, *files), grid


def make_flat_files(folder, case):
    """Label maps of a single slice without an image, the liver right and front."""
    label = np.zeros((1, 10, 12), np.uint8)
    label[0, 1:4, 1:5] = 1
    file = folder / f"{case}.nii.gz"
    volume = sitk.GetImageFromArray(label)
    volume.SetSpacing((2.0, 2.0, 5.0))
    sitk.WriteImage(volume, str(file))
    return case, None, file, file
