"""Every setting of vision tokens trains, is saved and gone on with; two iterations each."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.training import make_trainer, training_folders

from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch

pytestmark = pytest.mark.slow
SETTINGS = [
    *({"fusion": name} for name in ("values", "both", "sum")),
    *({"gate": name} for name in ("closed", "open")),
    {"blocks": [1, 2]},
    {"slice_scale": 4},
    {"positions": "slice"},
    {"channels": "neighbours"},
    {"channels": "windows"},
    {"token_dropout": 0.3},
    {"guide": 0.5},
    {"adapters": 2},
    {"source": "coordinates"},
    {"whole_slices": True},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("vision"), datasets=(820,)) as root:
        yield root


def trainer_with(root, resume=False, fold=0, **vision):
    class Trainer(nnUNetTrainerCDPDSmall_1epoch):
        recipe = nnUNetTrainerCDPDSmall_1epoch.recipe.with_network(vision=vision)

    Trainer.__name__ = nnUNetTrainerCDPDSmall_1epoch.__name__
    return make_trainer(root, resume=resume, trainer_class=Trainer, fold=fold)


@pytest.mark.parametrize("vision", SETTINGS, ids=lambda vision: "-".join(map(str, [*vision, *vision.values()])))
def test_setting_trains(folders, vision):
    trainer = trainer_with(folders, **vision)
    trainer.on_train_start()
    said = trainer.configuration_manager.network_arch_init_kwargs["vision"]
    assert {key: said[key] for key in vision} == vision
    before = {name: parameter.clone() for name, parameter in trainer.cdpdnet.named_parameters() if parameter.requires_grad}
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    for _ in range(2):
        assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    still = [
        name for name, parameter in trainer.cdpdnet.named_parameters() if name in before and torch.equal(parameter, before[name])
    ]
    assert [name for name in still if name.startswith(("fusions", "adaptors", "guide", "slice_encoder"))] == []
    trainer.on_train_epoch_end([{"loss": np.array(0.0)}]), trainer.on_validation_epoch_start()
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(next(trainer.dataloader_val))["loss"])


def test_training_with_guide_and_adapters_goes_on_and_its_checkpoint_has_neither(folders, tmp_path):
    trainer = trainer_with(folders, fold=1, guide=0.5, adapters=2)
    trainer.on_train_start()
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    trainer.train_step(next(trainer.dataloader_train))
    file = str(tmp_path / "checkpoint_latest.pth")
    trainer.save_checkpoint(file)
    weights = torch.load(file, weights_only=False)["network_weights"]
    assert not [key for key in weights if "guide" in key or "adapters" in key]
    resumed = trainer_with(folders, resume=True, fold=1, guide=0.5, adapters=2)
    resumed.load_checkpoint(file)
    for (name, one), other in zip(trainer.cdpdnet.named_parameters(), resumed.cdpdnet.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("fold", "vision"), [(2, {"source": "coordinates"}), (3, {"whole_slices": True}), (4, {"positions": "slice"})]
)
def test_whole_training_on_coordinates_is_validated_and_predicts(folders, fold, vision):
    trainer = trainer_with(folders, fold=fold, **vision)
    trainer.run_training()
    trainer.perform_actual_validation()
    folder = Path(trainer.output_folder_base)
    assert json.loads((folder / f"fold_{fold}" / "validation" / "summary.json").read_text())["metric_per_case"]
    predictor = Predictor.from_folder(folder, [fold], device="cpu")
    assert predictor.network.network.needs_coordinates
    data = torch.randn(1, *(n + 3 for n in trainer.configuration_manager.patch_size))
    assert predictor.predict_logits_from_preprocessed_data(data).shape[1:] == data.shape[1:]
