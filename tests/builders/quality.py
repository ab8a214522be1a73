"""A model of two folds with its raw dataset and validations, whose references are what the networks say, made worse."""

import json
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from builders import model as tiny_model
from builders.prediction import SPACING
from nnunetv2_cdpd.inference.predictor import Predictor

NUM_CASES = 10
ANNOTATION = replace(
    tiny_model.ANNOTATION,
    case_source={f"case_{number:02d}": ("Organs", "Liver")[number % 4 == 3] for number in range(NUM_CASES)},
)


def write_image(path, number):
    picture = sitk.GetImageFromArray(tiny_model.make_image((12 + number % 3, 21, 18), seed=number))
    picture.SetSpacing(SPACING)
    sitk.WriteImage(picture, str(path))
    return picture


def write_dataset_and_model(raw, results):
    """Dataset850_Tiny in both folders; returns the model's folder."""
    name = f"{tiny_model.TRAINER}__{tiny_model.PLANS}__{tiny_model.CONFIGURATION}"
    model = tiny_model.write_model(results / "Dataset850_Tiny" / name, annotation=ANNOTATION, folds=(0, 1))
    dataset = raw / "Dataset850_Tiny"
    for folder in ("imagesTr", "labelsTr"):
        (dataset / folder).mkdir(parents=True)
    (dataset / "dataset.json").write_text(json.dumps(tiny_model.make_dataset_json(ANNOTATION)))
    predictors = [Predictor.from_folder(model, [fold], device="cpu") for fold in (0, 1)]
    kept = {source.name: source for source in ANNOTATION.sources}
    for number, (case, source) in enumerate(ANNOTATION.case_source.items()):
        fold = number % 2
        picture = write_image(dataset / "imagesTr" / f"{case}_0000.nii.gz", number)
        labels = predictors[fold].predict(sitk.GetArrayFromImage(picture).astype(np.float32), SPACING[::-1]).label_map
        annotated = [value for cls, value in zip(ANNOTATION.classes, ANNOTATION.values) if cls in kept[source].annotated_classes]
        worse = np.roll(np.where(np.isin(labels, annotated), labels, 0), number % 3, 2)
        reference = sitk.GetImageFromArray(worse.astype(np.uint8))
        reference.CopyInformation(picture)
        sitk.WriteImage(reference, str(dataset / "labelsTr" / f"{case}.nii.gz"))
        (model / f"fold_{fold}" / "validation").mkdir(exist_ok=True)
        sitk.WriteImage(reference, str(model / f"fold_{fold}" / "validation" / f"{case}.nii.gz"))
    for fold in (0, 1):  # what nnU-Net's export takes
        (model / f"fold_{fold}" / "progress.png").write_bytes(b"")
        (model / f"fold_{fold}" / "validation" / "summary.json").write_text("{}")
    return model
