"""Model folders: what is damaged, of another training or of another program is told, and no code of it is executed."""

import json
import shutil

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from skimage.io import imread, imsave

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.models import load_model
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.trusted import find_trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("models") / "model", folds=(0, 1))


def test_damaged_and_missing_model_files_are_told(model, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Predictor.from_folder(tmp_path / "nowhere")
    folder = shutil.copytree(model, tmp_path / "model")
    with pytest.raises(UserError, match="no checkpoint_final.pth of fold 3; there is one of 0, 1"):
        Predictor.from_folder(folder, [0, 3])
    with pytest.raises(UserError, match="no fold_0/checkpoint_best.pth, fold_1/checkpoint_best.pth; train first"):
        Predictor.from_folder(folder, checkpoint_name="checkpoint_best.pth")
    shutil.copytree(folder / "fold_0", folder / "fold_old")  # the user's own
    with pytest.raises(UserError, match="no checkpoint_final.pth of fold old; there is one of 0, 1"):
        Predictor.from_folder(folder, ["old"])
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="fold_0/checkpoint_final.pth: cut off, damaged, or no file of weights; copy it again"):
        Predictor.from_folder(folder, [0])
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match=r"dataset.json: holds \[\], not an object"):
        Predictor.from_folder(folder)
    (folder / "plans.json").unlink()
    with pytest.raises(UserError, match="no plans.json; give a model folder"):
        Predictor.from_folder(folder)


@pytest.mark.parametrize("key", ["labels", "file_ending", "channel_names"])
def test_a_dataset_json_without_what_it_needs_is_told(key, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    dataset_json = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({name: value for name, value in dataset_json.items() if name != key}))
    with pytest.raises(UserError, match=f"model/dataset.json: `{key}` is missing, "):
        Predictor.from_folder(folder, [0])
    (folder / "plans.json").write_text("{}")
    with pytest.raises(
        UserError, match="model/plans.json: `configurations` is missing, an object of configurations; copy it again from"
    ):
        Predictor.from_folder(folder, [0])


@pytest.mark.parametrize(
    "other, reason",
    [
        (tiny_model.make_dataset_json(channels=2), "plans.json: `foreground_intensity.*` has nothing of channel 1"),
        (
            tiny_model.make_dataset_json(Annotation(("liver",), (1,), ((1,),), (Source("Liver", ("liver",)),))),
            "dataset.json: 1 classes, and the network of .*plans.json has 6",
        ),
    ],
)
def test_a_dataset_json_of_another_training_is_told(other, reason, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "dataset.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match=f"{reason}; copy dataset.json, plans.json and checkpoint again") as told:
        Predictor.from_folder(folder, [0])
    assert str(told.value).startswith(str(folder)) and "\n" not in str(told.value)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_checkpoint_of_something_else_is_told(content, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(
        UserError, match="checkpoint_final.pth: (`trainer_name` is missing|holds .1, 2., not an object).*; give a checkpoint that"
    ):
        Predictor.from_folder(folder, [0])


class Evil:
    """What a checkpoint may hold that pickle would run."""

    def __reduce__(self):
        return (print, ("executed code of a checkpoint",))


def test_code_in_a_checkpoint_is_not_executed(model, tmp_path, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    torch.save({**checkpoint, "logging": Evil()}, file)
    with pytest.raises(UserError, match="reading it could run code of it; it is not read"):
        Predictor.from_folder(folder, [0])
    assert "executed" not in capsys.readouterr().out


HUBCONF = """
dependencies = []

def network(**anything):
    open("called", "w")
"""


def test_a_model_folder_that_names_code_is_refused_and_runs_none(model, tmp_path, monkeypatch, capsys):
    """torch.hub.load with fitting arguments would execute a hubconf.py that lies in the folder."""
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "hubconf.py").write_text(HUBCONF)
    plans = tiny_model.make_plans()
    architecture = plans["configurations"][tiny_model.CONFIGURATION]["architecture"]
    architecture["network_class_name"] = "torch.hub.load"
    architecture["arch_kwargs"] |= {"repo_or_dir": str(folder), "model": "network", "source": "local"}
    (folder / "plans.json").write_text(json.dumps(plans))
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "-i", "images", "-o", "out", "-m", "model", "-device", "cpu"]) == 1
    key = "configurations: 3d_fullres: architecture: network_class_name"
    assert capsys.readouterr().err.startswith(f"cdpd: error: model/plans.json: `{key}` names 'torch.hub.load', no network of ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def changed_checkpoint(folder, **changes):
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), **changes}, file)
    return file


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network_weights": 5}, "`network_weights` is 5, not an object of tensors"),
        ({"network_weights": {"a": 5}}, "`network_weights: a` is 5, not a tensor"),
        ({"trainer_name": 5}, "`trainer_name` is 5, not a text"),
        ({"init_args": 5}, "`init_args` is 5, not an object"),
        ({"init_args": {}}, "`init_args: configuration` is missing, a text"),
        ({"inference_allowed_mirroring_axes": 5}, "`inference_allowed_mirroring_axes` is 5, not a list"),
        (
            {"network_weights": {"zzz": torch.ones(1)}},
            "its weights are not of the network of .*it lacks .* more and has in addition zzz",
        ),
    ],
)
def test_an_entry_of_a_checkpoint_of_another_kind_is_told(changes, told, model, tmp_path):
    file = changed_checkpoint(shutil.copytree(model, tmp_path / "model"), **changes)
    with pytest.raises(UserError, match=f"^{file}: {told}"):
        Predictor.from_folder(file.parent.parent, [0])


def test_weights_that_are_no_numbers_are_told(model, tmp_path):
    file = shutil.copytree(model, tmp_path / "model") / "fold_0" / "checkpoint_final.pth"
    weights = torch.load(file, weights_only=False)["network_weights"]
    name = next(key for key, value in weights.items() if value.is_floating_point())
    changed_checkpoint(tmp_path / "model", network_weights=weights | {name: weights[name] * float("nan")})
    with pytest.raises(UserError, match=f"checkpoint_final.pth: weights that are no finite numbers .{name}"):
        Predictor.from_folder(tmp_path / "model", [0])


def test_a_checkpoint_of_another_configuration_is_told(model, tmp_path):
    file = changed_checkpoint(shutil.copytree(model, tmp_path / "model"), init_args={"configuration": "2d"})
    with pytest.raises(UserError, match=f"model/plans.json: no configuration '2d', of which {file} is, but 3d_fullres"):
        Predictor.from_folder(tmp_path / "model", [0])


def test_a_zip_is_not_opened(tmp_path):
    file = shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path)
    with pytest.raises(UserError, match="model.zip: a file, no model folder; nnUNetv2_install_pretrained_model_from_zip unpacks"):
        Predictor.from_folder(file)


@pytest.mark.parametrize("step", [0, -1, 2, float("nan"), float("inf")])
def test_a_step_of_none_or_of_more_than_a_window_is_told(step):
    with pytest.raises(UserError, match=f"argument tile_step_size {step}: give a number above 0 up to 1"):
        Predictor("cpu", tile_step_size=step)


def test_a_gpu_where_there_is_none_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="argument device cuda: this PyTorch finds no GPU here; give argument device cpu"):
        Predictor("cuda")


def test_another_network_than_cdpdnet_is_refused(tmp_path):
    plans = tiny_model.make_plans()
    architecture = plans["configurations"][tiny_model.CONFIGURATION]["architecture"]
    added = ("unet_class_name", "patch_size", "fused_stages", "vision", "text", "task")
    kwargs = {key: value for key, value in architecture["arch_kwargs"].items() if key not in added}
    plain = architecture["arch_kwargs"]["unet_class_name"]
    architecture |= {"network_class_name": plain, "arch_kwargs": kwargs}
    model = tiny_model.write_model(tmp_path / "model")
    (model / "plans.json").write_text(json.dumps(plans))
    network = PlansManager(plans).get_configuration(tiny_model.CONFIGURATION)
    built = find_trainer(tiny_model.TRAINER).build_network_architecture(
        PlansManager(plans), network, 1, 6, enable_deep_supervision=False
    )
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "network_weights": built.state_dict()}, file)
    with pytest.raises(UserError, match="a model of nnUNetTrainerCDPD, no CDPDNet"):
        Predictor.from_folder(model)


def test_an_unknown_trainer_is_told(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "nnUNetTrainerOfNobody"}, file)
    with pytest.raises(
        UserError,
        match="fold_0/checkpoint_final.pth: `trainer_name` names 'nnUNetTrainerOfNobody', no trainer that is known here",
    ):
        Predictor.from_folder(folder, [0])


OF_BEFORE_NNUNET_2_8 = """
    @staticmethod
    def build_network_architecture(
        architecture_class_name, arch_init_kwargs, arch_init_kwargs_req_import, num_input_channels, num_output_channels,
        enable_deep_supervision=True,
    ):
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        return get_network_from_plans(
            architecture_class_name, arch_init_kwargs, arch_init_kwargs_req_import, num_input_channels, num_output_channels,
            deep_supervision=enable_deep_supervision,
        )
"""


@pytest.mark.parametrize(
    "body", ["    save_every = 7\n", OF_BEFORE_NNUNET_2_8], ids=["attribute", "network of before nnU-Net 2.8"]
)
def test_a_users_variant_of_our_trainer_is_found_in_nnunets_folder_for_trainers(body, model, tmp_path, monkeypatch):
    """nnU-Net users change a trainer by a subclass, whose name begins as ours does."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "of_a_user.py").write_text(
        "from nnunetv2_cdpd.link import find_class\n\n\n"
        f"class nnUNetTrainerCDPDOfAUser(find_class({tiny_model.TRAINER!r})):\n{body}"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))
    folder = shutil.copytree(model, tmp_path / "model")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "nnUNetTrainerCDPDOfAUser"}, file)
    assert Predictor.from_folder(folder, [0]).trainer_name == "nnUNetTrainerCDPDOfAUser"


def test_folds_hold_a_common_encoder_once(tmp_path):
    folder = tiny_model.write_model(tmp_path / "model", folds=(0, 1))
    first, second = (folder / f"fold_{fold}" / "checkpoint_final.pth" for fold in (0, 1))
    checkpoint, other = (torch.load(path, weights_only=False) for path in (first, second))
    encoder = {key: value for key, value in checkpoint["network_weights"].items() if key.startswith("slice_encoder.")}
    torch.save({**other, "network_weights": {**other["network_weights"], **encoder}}, second)
    one, two = load_model(folder, None, "checkpoint_final.pth").weights
    shared = {key for key in one if one[key] is two[key]}
    assert shared >= set(encoder)
    for key, value in torch.load(second, weights_only=False)["network_weights"].items():
        assert torch.equal(two[key], value)
    assert len(shared) < len(one)


def test_folds_and_dataset_json_of_other_classes_are_no_model(tmp_path):
    """As after a merge in another order: what one head answers for is another class."""
    folder = tiny_model.write_model(tmp_path / "model", folds=(0, 1))
    dataset_json = json.loads((folder / "dataset.json").read_text())
    names = [name for name in dataset_json["labels"] if name != "background"]
    values = [dataset_json["labels"][name] for name in names]
    swapped = {"background": 0, **dict(zip((names[1], names[0], *names[2:]), values))}
    changed_json(folder / "dataset.json", labels=swapped)
    with pytest.raises(UserError, match=f"fold_0/checkpoint_final.pth: .* {names[1]}, {names[0]} had other heads or stored"):
        load_model(folder, [0], "checkpoint_final.pth")
    path = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["init_args"]["dataset_json"] = dataset_json | {"labels": swapped}
    torch.save(checkpoint, path)
    load_model(folder, [1], "checkpoint_final.pth")
    with pytest.raises(UserError, match=r"fold_0/checkpoint_final.pth: .*, or leave the fold out"):
        load_model(folder, None, "checkpoint_final.pth")
    changed_json(
        folder / "dataset.json", labels={**dict(zip(["background", "Leber"], [0, values[0]])), **dict(zip(names[1:], values[1:]))}
    )
    load_model(folder, [0], "checkpoint_final.pth")  # a name of the user's own is no other class


def test_folds_and_plans_of_another_network_are_no_model(tmp_path):
    """As after a fold with another encoder: the weights fit, and what the ViT is shown is another image."""
    folder = tiny_model.write_model(tmp_path / "model", folds=(0, 1))
    load_model(folder, None, "checkpoint_final.pth")
    plans = json.loads((folder / "plans.json").read_text())
    (name,) = plans["configurations"]
    plans["configurations"][name]["architecture"]["arch_kwargs"]["vision"]["mean"] = [0.1] * 3
    plans["configurations"][name]["normalization_schemes"] = ["ZScoreNormalization"]
    (folder / "plans.json").write_text(json.dumps(plans))
    told = r"fold_0/checkpoint_final.pth: trained with another network or preprocessing .*\(normalization_schemes, vision: mean\)"
    with pytest.raises(UserError, match=told):
        load_model(folder, None, "checkpoint_final.pth")


def changed_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_file_ending_that_the_writer_does_not_write_is_told_before_anything_is_predicted(model, tmp_path, capsys):
    folder, images = shutil.copytree(model, tmp_path / "model"), tmp_path / "images"
    changed_json(folder / "dataset.json", file_ending=".png")
    images.mkdir()
    imsave(images / "a_0000.png", np.full((24, 26), 40, np.uint8), check_contrast=False)
    assert main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(folder), "-device", "cpu"]) == 1
    assert capsys.readouterr().err == (
        f"cdpd: error: {folder}/dataset.json: `file_ending` is .png, which SimpleITKIO, the `image_reader_writer` of "
        f"{folder}/plans.json, does not write (.nii.gz, .nrrd, .mha, .gipl, .nii, .nhdr, .mhd); copy dataset.json, plans.json "
        "and checkpoint again, from one training\n"
    )
    assert not (tmp_path / "out").exists()


def test_pictures_are_predicted_into_pictures_by_the_writer_that_the_plans_name(tmp_path):
    folder, images = tiny_model.write_model(tmp_path / "model", spacing=[1, 999, 1]), tmp_path / "images"  # axes x z y
    changed_json(folder / "dataset.json", file_ending=".png")
    changed_json(folder / "plans.json", image_reader_writer="NaturalImage2DIO")
    images.mkdir()
    picture = np.random.default_rng(0).integers(1, 200, (24, 26)).astype(np.uint8)
    imsave(images / "a_0000.png", picture, check_contrast=False)
    out = tmp_path / "out"
    assert main(["predict", "-i", str(images), "-o", str(out), "-m", str(folder), "-device", "cpu", "--disable_tta"]) == 0
    expected = Predictor.from_folder(folder, device="cpu", use_mirroring=False).predict(picture[None], (999, 1, 1))
    assert np.array_equal(imread(out / "a.png"), expected.label_map[0]) and len(np.unique(expected.label_map)) > 1
