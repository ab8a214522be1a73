"""nnUNet_compile: as with nnU-Net's predictor, and nothing is compiled again while windows, volumes and folds go by."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from builders.compiler import CountingBackend

from nnunetv2_cdpd.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread", "fresh_dynamo")

IMAGE, SPACING_MM = tiny_model.make_image((22, 24, 36)), (2.0, 0.8, 0.9)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("compiled") / "model", folds=(0, 1))


def probabilities(predictor, **selection):
    return predictor.predict(IMAGE, SPACING_MM, probabilities=True, **selection).probabilities


@pytest.mark.parametrize("wanted", ["T", "true", "1"])
def test_one_graph_for_each_part_whatever_is_predicted_next(wanted, model, monkeypatch, capsys):
    backend = CountingBackend()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    monkeypatch.setenv("nnUNet_compile", wanted)
    compiled = Predictor.from_folder(model, [0, 1], device="cpu")
    assert "Using torch.compile" in capsys.readouterr().out
    monkeypatch.setenv("nnUNet_compile", "f")
    eager = Predictor.from_folder(model, [0, 1], device="cpu")
    graphs = []
    for selection in ({}, {}, {"classes": ["liver"]}, {"task": "Kidney"}, {}):
        expected = probabilities(eager, **selection)
        np.testing.assert_allclose(probabilities(compiled, **selection), expected, atol=1e-6)
        graphs.append(backend.graphs)
    assert graphs[:2] == [3, 3] and graphs[-1] - graphs[-2] == 0 and graphs[-1] <= 5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_what_is_compiled_for_this_machine_predicts_the_same(model, monkeypatch):
    expected = probabilities(Predictor.from_folder(model, [0], device="cpu"))
    monkeypatch.setenv("nnUNet_compile", "t")
    np.testing.assert_allclose(probabilities(Predictor.from_folder(model, [0], device="cpu")), expected, atol=1e-3)
