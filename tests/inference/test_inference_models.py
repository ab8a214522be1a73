"""Model folders: what is damaged, of another training or of another program is told, and no code of it is executed."""

import json
import shutil

import pytest
import torch
from builders import model as tiny_model
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.models import find_trainer
from nnunetv2_cdpd.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("models") / "model", folds=(0, 1))


def test_damaged_and_missing_model_files_are_told(model, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Predictor.from_folder(tmp_path / "nowhere")
    folder = shutil.copytree(model, tmp_path / "model")
    with pytest.raises(UserError, match="no checkpoint_final.pth of fold 3; there are 0, 1"):
        Predictor.from_folder(folder, [0, 3])
    with pytest.raises(UserError, match="no fold_0/checkpoint_best.pth"):
        Predictor.from_folder(folder, checkpoint_name="checkpoint_best.pth")
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="checkpoint_final.pth: damaged, or no checkpoint; copy it again"):
        Predictor.from_folder(folder, [0])
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="dataset.json: holds no object"):
        Predictor.from_folder(folder)
    (folder / "plans.json").unlink()
    with pytest.raises(UserError, match="no plans.json; give a model folder"):
        Predictor.from_folder(folder)


@pytest.mark.parametrize("key", ["labels", "file_ending", "channel_names"])
def test_a_dataset_json_without_what_it_needs_is_told(key, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    dataset_json = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({name: value for name, value in dataset_json.items() if name != key}))
    with pytest.raises(UserError, match=f"model/dataset.json: `{key}` is missing or malformed; copy it again from"):
        Predictor.from_folder(folder, [0])
    (folder / "plans.json").write_text("{}")
    with pytest.raises(UserError, match="model/plans.json: `configurations` is missing; copy it again from"):
        Predictor.from_folder(folder, [0])


@pytest.mark.parametrize(
    "other, reason",
    [
        (
            tiny_model.make_dataset_json(channels=2),
            "plans.json: `normalization_schemes` of configuration '3d_fullres' are 1, dataset.json has 2 channels",
        ),
        (
            tiny_model.make_dataset_json(Annotation(("liver",), (1,), ((1,),), (Source("Liver", ("liver",)),))),
            "plans.json and .*dataset.json do not make a network .one class prompt per class: got 6 prompts for 1 classes",
        ),
    ],
)
def test_a_dataset_json_of_another_training_is_told(other, reason, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "dataset.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match=reason) as told:
        Predictor.from_folder(folder, [0])
    assert str(told.value).startswith(str(folder)) and "\n" not in str(told.value)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_checkpoint_of_something_else_is_told(content, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(UserError, match="checkpoint_final.pth: no checkpoint of nnU-Net .`trainer_name` is missing.; choose"):
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
    with pytest.raises(UserError, match="holds more than tensors and numbers, and is not read, because that would run code"):
        Predictor.from_folder(folder, [0])
    assert "executed" not in capsys.readouterr().out


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
    with pytest.raises(UserError, match="trainer 'nnUNetTrainerOfNobody' is not known here"):
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
