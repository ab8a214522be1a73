"""Folders of references and predictions of three sources, anisotropic and rotated."""

import json

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.evaluation.evaluate import evaluate_folder
from nnunetv2_cdpd.evaluation.scoring import EvaluationOptions

SHAPE = (4, 7, 9)  # z, y, x
SPACING = (0.8, 1.25, 3.0)  # x, y, z
DIRECTION = (0, -1, 0, 1, 0, 0, 0, 0, -1)
# Source A labels liver and spleen, source B both kidneys as one.
DATASET_JSON = {
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
    "labels": {"background": 0, "liver": 1, "spleen": 2, "right_kidney": [3, 5], "left_kidney": [4, 5], "colon": 6},
    "regions_class_order": [1, 2, 3, 4, 6],
    "cdpd": {
        "version": 1,
        "sources": {
            "A": {"annotated_classes": ["liver", "spleen"]},
            "B": {"annotated_classes": [], "merged_labels": ["kidney"]},
            "C": {"annotated_classes": ["colon"]},
        },
        "merged_labels": {"kidney": {"value": 5, "classes": ["right_kidney", "left_kidney"]}},
        "case_source": {"case_1": "A", "case_2": "A", "case_3": "B"},
    },
}
KIDNEY = (3, 4, 5)  # nnU-Net's key of the union
LIVER, SPLEEN = np.s_[1:3, 1:4, 1:5], np.s_[0:2, 5:7, 6:9]
RIGHT, LEFT = np.s_[2:4, 0:1, 0:2], np.s_[2:4, 0:1, 7:9]


def write(path, boxes, spacing=SPACING, shape=SHAPE, dtype=np.uint8):
    """A label map; boxes: value -> slices (z, y, x)."""
    array = np.zeros(shape, dtype)
    for value, box in boxes.items():
        array[box] = value
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-12.5, 30.0, 7.25))
    image.SetDirection(DIRECTION)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_plain(path, shape=(7, 9), spacing=(3, 1.25, 0.8)):
    """A liver in a format without geometry: an image, or a TIFF with its spacing (z, y, x) in a file beside it."""
    array = np.zeros(shape, np.uint8)
    array[1:4, 1:5] = 1
    if path.suffix == ".tiff":
        array = np.stack([array] * 4)
        write_json(path.with_suffix(".json"), {"spacing": spacing})
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def evaluate(predicted, truth, dataset_json=None, **options):
    how = EvaluationOptions(**{"num_processes": 1, "progress": False, **options})
    return evaluate_folder(predicted, truth, dataset_json=dataset_json, options=how)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
