"""Dice before and after, with predictions made up."""

from types import SimpleNamespace

import numpy as np
import torch
from builders.extension import write_dataset
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.extension import comparing

LIVER = np.s_[6:18, 3:6, 6:24]  # the first box of the builder, beside which lies the second
BESIDE = np.s_[6:18, 6:9, 6:24]
NESTED = {"labels": {"background": 0, "liver": [1, 2], "liver_tumor": 2}, "regions_class_order": [1, 2]}


def compared(dataset, monkeypatch, content, **maps):
    """Changes and what is reported where the models before and after, of these labels, predict these maps."""
    annotation = read_annotation(content)
    regions = dict(zip(annotation.classes, annotation.regions))

    def predictor(folder, **_):
        prediction = SimpleNamespace(label_map=maps[folder], mask=lambda name: np.isin(maps[folder], regions[name]))
        return SimpleNamespace(annotation=annotation, writer=SimpleITKIO(), predict=lambda image: prediction)

    monkeypatch.setattr(comparing.Predictor, "from_folder", predictor)
    told = []
    return comparing.compare_models("before", "after", [dataset], torch.device("cpu"), told.append), told


def label_map(**boxes):
    made = np.zeros((26, 21, 34), np.uint8)
    for name, box in boxes.items():
        made[box] = int(name.rpartition("_")[2])
    return made


def test_voxels_to_ignore_count_for_neither_model(tmp_path, monkeypatch):
    dataset = read_dataset(write_dataset(tmp_path, 868, {"liver": 1, "ignore": 2}, cases=1))
    maps = {"before": label_map(of_1=LIVER), "after": label_map(of_1=np.s_[6:18, 3:9, 6:24])}
    (change,), told = compared(dataset, monkeypatch, {"labels": {"background": 0, "liver": 1}}, **maps)
    assert (change.name, change.truth, change.before, change.after, told) == ("liver", True, 1.0, 1.0, [])


def test_an_organ_holds_its_tumors_for_the_dataset_as_for_the_model(tmp_path, monkeypatch):
    dataset = read_dataset(write_dataset(tmp_path, 869, {"Liver": 1, "hepatic tumour": 2}, cases=1))
    whole, without = label_map(of_1=LIVER, tumor_2=BESIDE), label_map(of_1=LIVER)
    changes, told = compared(dataset, monkeypatch, NESTED, before=whole, after=without)
    assert {change.name: (change.truth, change.before, change.after) for change in changes} == {
        "liver": (True, 1.0, 2 / 3), "liver_tumor": (True, 1.0, 0.0)
    }  # fmt: skip
    (line,) = told
    assert line.endswith("on both sides, though not the labels of both say so: Liver includes hepatic tumour")
