"""A dataset of two sources with made-up organs, teachers for it, and networks that say the truth, but for what is planted."""

import json
from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch

from builders import model as tiny_model
from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.completion import run as completion_run
from nnunetv2_cdpd.completion.networks import Answer
from nnunetv2_cdpd.inference.export import Geometry
from nnunetv2_cdpd.volumes.axes import LINEAR, axis_resamplings
from nnunetv2_cdpd.volumes.grid import Grid

SHAPE = (20, 24, 28)
SPACING = (3.0, 1.5, 2.0)  # x, y, z
LIVER, SPLEEN = 1, 2
ORGANS = {"liver": ((6, 6, 4), (8, 9, 8)), "spleen": ((7, 8, 16), (6, 7, 7))}  # corner and size, z, y, x
NUM_CASES = 10
CASES = tuple(sorted(f"{'ab'[number % 2]}{number:02d}" for number in range(NUM_CASES)))  # a: of source A, which annotates livers
CASE_SOURCE = {case: case[0].upper() for case in CASES}
ANNOTATION = Annotation(
    classes=("liver", "spleen"),
    values=(LIVER, SPLEEN),
    regions=((LIVER,), (SPLEEN,)),
    sources=(Source("A", ("liver",), license="CC BY 4.0"), Source("B", ("spleen",))),
    case_source=CASE_SOURCE,
)
SURE, ELSEWHERE = 0.96, 0.01
DATASET = "Dataset400_Parts"


def truth(case):
    """Class -> mask (Z, Y, X); the organs lie a little differently in each case."""
    move = np.random.default_rng(int(case[1:])).integers(-1, 2, 3)
    masks = {}
    for name, (corner, size) in ORGANS.items():
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(c + m, c + m + s) for c, m, s in zip(corner, move, size))] = True
        masks[name] = mask
    return masks


def write(path, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_dataset(raw, folder=DATASET):
    """The raw dataset: an image of each case, and of its organs those that its source annotates."""
    entries = tiny_model.make_dataset_json(ANNOTATION)
    for case, source in CASE_SOURCE.items():
        masks = truth(case)
        noise = np.random.default_rng(int(case[1:])).normal(0, 10, SHAPE)
        image = noise + 100 * masks["liver"] + 200 * masks["spleen"]
        write(raw / folder / "imagesTr" / f"{case}_0000.nii.gz", image.astype(np.int16))
        organ, value = ("liver", LIVER) if source == "A" else ("spleen", SPLEEN)
        write(raw / folder / "labelsTr" / f"{case}.nii.gz", (masks[organ] * value).astype(np.uint8))
    (raw / folder / "dataset.json").write_text(json.dumps({**entries, "numTraining": NUM_CASES}))
    return raw / folder


def write_teacher(results, name="teacher", classes=("liver", "spleen"), dice=0.9, folds=(0, 1), cases=CASES):
    """A cross-validated CDPDNet with random weights: fold 0 has kept the cases of even number back, fold 1 the others."""
    sources = tuple(Source(name, (name,)) for name in classes)
    annotation = replace(
        ANNOTATION,
        classes=tuple(classes),
        values=tuple(range(1, 1 + len(classes))),
        regions=tuple((value,) for value in range(1, 1 + len(classes))),
        sources=sources,
        case_source=dict.fromkeys(cases, sources[0].name),
    )
    folder = tiny_model.write_model(results / name, annotation=annotation, folds=folds)
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": len(cases)}))
    for fold in folds:
        validation = folder / f"fold_{fold}" / "validation"
        validation.mkdir()
        kept = [case for case in cases if fold == "all" or int(case[1:]) // 2 % 2 == fold]
        metrics = {f"({value}, {value})": {"Dice": dice, "n_ref": 9, "n_pred": 9} for value in annotation.values}
        for case in kept:
            (validation / f"{case}.nii.gz").touch()
        whole = [
            {"reference_file": f"labelsTr/{case}.nii.gz", "source": source.name, "metrics": metrics}
            for case in kept
            for source in annotation.sources
        ]
        (validation / "summary.json").write_text(json.dumps({"metric_per_case": whole}))
    return folder


class Says:
    """In place of `Networks`: probabilities of the truth; `planted` holds others, by case, class, teacher and fold.

    asked: What it was asked: case, teacher, folds.
    """

    def __init__(self, monkeypatch, stop_at=None):
        self.planted, self.asked, self.stop_at = {}, [], stop_at
        monkeypatch.setattr(completion_run, "Networks", lambda *args: self)

    def plant(self, case, name, volume, teacher=None, fold=None):
        self.planted[case, name, teacher, fold] = volume

    def answers(self, teacher, folds, images, classes):
        case = images[0].name.removesuffix("_0000.nii.gz")
        if case == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append((case, teacher.name, tuple(folds)))
        geometry = Geometry(axis_resamplings((LINEAR,) * 3, SHAPE, SHAPE), tuple(slice(0, n) for n in SHAPE), SHAPE, (0, 1, 2))
        grid = Grid.of_image(sitk.ReadImage(str(images[0])))
        for fold in folds:
            logits = {k: torch.logit(torch.from_numpy(self._volume(case, k, teacher.name, fold))).half() for k in classes}
            yield Answer(teacher.name, fold, logits, geometry, grid)

    def _volume(self, case, k, teacher, fold):
        name = ANNOTATION.classes[k]
        for key in ((teacher, fold), (teacher, None), (None, fold), (None, None)):
            if (planted := self.planted.get((case, name, *key))) is not None:
                return np.asarray(planted, np.float32)
        return probabilities(truth(case)[name])


def probabilities(mask, inside=SURE):
    return np.where(mask, inside, ELSEWHERE).astype(np.float32)


def stock_plans(plans):
    """Plans of the bare U-Net that the tiny network of `builders.model` stands on."""
    architecture = plans["configurations"][tiny_model.CONFIGURATION]["architecture"]
    kwargs = architecture["arch_kwargs"]
    architecture["network_class_name"] = kwargs.pop("unet_class_name")
    for added in ("fused_stages", "vision", "patch_size", "text", "task"):
        kwargs.pop(added)
    return plans
