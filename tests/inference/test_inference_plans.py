"""Plans and checkpoints of a model folder: what they name is not run, what is wrong in them is named by file and key."""

import json
import shutil

import pytest
import torch
from builders import model as tiny_model

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("models") / "model")


def change_plans(model, to, change):
    folder = shutil.copytree(model, to)
    plans = json.loads((folder / "plans.json").read_text())
    change(plans, plans["configurations"][tiny_model.CONFIGURATION])
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, and another when its function is called."""
    (tmp_path / "trap.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n"
        f"def spring(*args, **kwargs):\n    Path({str(tmp_path / 'called')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "trap.spring"
    assert not (tmp_path / "imported").exists() and not (tmp_path / "called").exists()


PLACES = {
    "network_class_name": lambda architecture, name: architecture.update(network_class_name=name),
    "unet_class_name": lambda architecture, name: architecture["arch_kwargs"].update(unet_class_name=name),
    "norm_op": lambda architecture, name: architecture["arch_kwargs"].update(norm_op=name),
    "one more": lambda architecture, name: (
        architecture["arch_kwargs"].update(more=name),
        architecture["_kw_requires_import"].append("more"),
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [None, "torch.hub.load", "torch.nn.modules.module.torch.hub.load", "torch.nn.init.zeros_"])
def test_nothing_that_plans_name_is_called_but_known_classes(model, tmp_path, trap, place, name):
    folder = change_plans(model, tmp_path / "model", lambda _, conf: PLACES[place](conf["architecture"], name or trap))
    with pytest.raises(UserError, match="is no class of .*dynamic_network_architectures") as told:
        Predictor.from_folder(folder)
    assert str(folder / "plans.json") in str(told.value)


@pytest.mark.parametrize("name", ["hf-hub:someone/vit", "local-dir:/tmp", "nonsense", 5])
def test_a_vit_that_timm_does_not_know_is_not_looked_for(model, tmp_path, name):
    def change(_, configuration):
        configuration["architecture"]["arch_kwargs"]["vision"]["model_name"] = name

    with pytest.raises(UserError, match=f"plans.json .*{name}.* is no model of timm"):
        Predictor.from_folder(change_plans(model, tmp_path / "model", change))


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"])
def test_plans_load_no_file_into_a_vit(model, tmp_path, argument):
    def change(_, configuration):
        configuration["architecture"]["arch_kwargs"]["vision"]["model_kwargs"][argument] = "weights.pth"

    with pytest.raises(UserError, match=f"`vision` may not set {argument}; weights are in the checkpoint"):
        Predictor.from_folder(change_plans(model, tmp_path / "model", change))


GONE = "gone"
WRONG = [5, None, [], "x", [None], [-1, 2, 3], GONE]
KEYS = ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm", "architecture", "resampling_fn_data_kwargs")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_an_entry_of_the_wrong_kind_is_named(model, tmp_path, key, value):
    def change(_, configuration):
        configuration[key] = value
        if value == GONE:
            del configuration[key]

    folder = change_plans(model, tmp_path / "model", change)
    with pytest.raises(UserError, match=f"{folder}/plans.json.*({key}|damaged)"):
        Predictor.from_folder(folder)


@pytest.mark.parametrize("key", ["transpose_forward", "foreground_intensity_properties_per_channel"])
@pytest.mark.parametrize("value", [5, None, [], [0, 0, 1], GONE], ids=repr)
def test_an_entry_for_all_configurations_of_the_wrong_kind_is_named(model, tmp_path, key, value):
    def change(plans, _):
        plans[key] = value
        if value == GONE:
            del plans[key]

    folder = change_plans(model, tmp_path / "model", change)
    with pytest.raises(UserError, match=f"{folder}/plans.json: `{key}` is .*copy it again"):
        Predictor.from_folder(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda plans, conf: conf["architecture"]["arch_kwargs"].update(n_stages=0), "plans.json and .* do not make a network"),
        (lambda plans, conf: conf["architecture"]["arch_kwargs"].update(vision=5), "plans.json and .* do not make a network"),
        (lambda plans, conf: conf["architecture"]["arch_kwargs"].update(nonsense=1), "plans.json and .* do not make a network"),
        (lambda plans, conf: conf.update(inherits_from="3d_fullres"), "plans.json: configuration '3d_fullres' is damaged"),
        (lambda plans, conf: conf.update(inherits_from=5), "plans.json: `inherits_from` is 5, wanted is the name"),
        (lambda plans, conf: plans.update(configurations={"2d": conf}), "plans.json: has no configuration '3d_fullres'"),
        (lambda plans, conf: plans.update(label_manager=5), "plans.json: `label_manager` is 5, wanted is"),
        (lambda plans, conf: conf.update(spacing=[1.0, 2.0]), "`patch_size` and `spacing` .* have different lengths"),
    ],
)
def test_plans_that_make_no_model_are_told(model, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as told:
        Predictor.from_folder(change_plans(model, tmp_path / "model", change))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"trainer_name": 5}, "`trainer_name` is not a name"),
        ({"init_args": 5}, "`init_args` is not the arguments of a training"),
        ({"network_weights": 5}, "`network_weights` is not tensors by name"),
        ({"network_weights": {"a": 5}}, "`network_weights` is not tensors by name"),
        ({"inference_allowed_mirroring_axes": 5}, "`inference_allowed_mirroring_axes` are no axes"),
        ({"inference_allowed_mirroring_axes": (7,)}, "`inference_allowed_mirroring_axes` are no axes"),
    ],
)
def test_an_entry_of_a_checkpoint_of_the_wrong_kind_is_named(model, tmp_path, entry, message):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), **entry}, file)
    with pytest.raises(UserError, match=f"{file}: no checkpoint of nnU-Net .{message}"):
        Predictor.from_folder(folder, [0])


@pytest.mark.parametrize("change", [{}, {"a": torch.zeros(2)}, None], ids=["none", "other", "one of another shape"])
def test_weights_of_another_network_are_told_with_their_file(model, tmp_path, change):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    first = next(iter(checkpoint["network_weights"]))
    weights = change if change is not None else {**checkpoint["network_weights"], first: torch.zeros(2)}
    torch.save({**checkpoint, "network_weights": weights}, file)
    with pytest.raises(UserError, match=f"{file}: not of the training that .*plans.json and .*dataset.json describe"):
        Predictor.from_folder(folder, [0])
