"""Dice before and after, with predictions made up."""

from types import SimpleNamespace

import numpy as np
import torch
from builders.extension import write_dataset
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.extension import comparing


def test_voxels_to_ignore_count_for_neither_model(tmp_path, monkeypatch):
    dataset = read_dataset(write_dataset(tmp_path, 868, {"liver": 1, "ignore": 2}, cases=1))
    box = np.zeros((26, 21, 34), bool)
    box[6:18, 3:6, 6:24] = True  # the liver of the builder, beside which lies what is to be ignored
    wider = box.copy()
    wider[6:18, 6:9, 6:24] = True

    def predictor(folder, **_):
        mask = {"before": box, "after": wider}[folder]
        prediction = SimpleNamespace(mask=lambda name: mask)
        annotation = SimpleNamespace(classes=("liver",))
        return SimpleNamespace(annotation=annotation, writer=SimpleITKIO(), predict=lambda image: prediction)

    monkeypatch.setattr(comparing.Predictor, "from_folder", predictor)
    change, *_ = comparing.compare_models("before", "after", [dataset], torch.device("cpu"), print)
    assert (change.name, change.truth, change.before, change.after) == ("liver", True, 1.0, 1.0)
