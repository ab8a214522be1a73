"""A training for which no vision encoder is named: no tokens, no weights of a ViT, and given ones are not passed over."""

import json

import numpy as np
import pytest
from builders.training import MERGED, PLANS, make_trainer, training_folders

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPD_noVision, nnUNetTrainerCDPDSmall_1epoch

OTHER_PLANS = "PlansWithoutVision"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("without_vision"), datasets=(820,)) as root:
        folder = root / "nnUNet_preprocessed" / MERGED
        plans = json.loads((folder / f"{PLANS}.json").read_text())
        plans["plans_name"] = OTHER_PLANS
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["vision"] = None
        (folder / f"{OTHER_PLANS}.json").write_text(json.dumps(plans))
        yield root


@pytest.fixture
def vit_file(monkeypatch, tmp_path):
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", str(tmp_path / "vit.pth"))
    return tmp_path / "vit.pth"


def test_it_trains_without_any_choice_of_vision_weights(folders, monkeypatch):
    monkeypatch.delenv("CDPD_VISION_WEIGHTS")
    trainer = make_trainer(folders, plans=OTHER_PLANS)
    trainer.on_train_start()
    assert trainer.cdpdnet.slice_encoder is None and len(trainer.cdpdnet.fusions) == 0
    assert [part["part"] for part in json.loads(trainer.provenance)["weights"]] == ["text embeddings"]
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])


def test_weights_that_the_network_has_no_use_for_are_told(folders, vit_file):
    with pytest.raises(UserError, match=r"WEIGHTS=.*vit.pth: this network has no vision tokens; set CDPD_VISION_ENCODER"):
        make_trainer(folders, plans=OTHER_PLANS)


def test_an_ablation_passes_them_over(folders, vit_file):
    trainer = make_trainer(folders, trainer_class=nnUNetTrainerCDPD_noVision)
    assert trainer.configuration_manager.network_arch_init_kwargs["vision"] is None


def test_a_named_encoder_gives_such_plans_tokens(folders, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    trainer = make_trainer(folders, plans=OTHER_PLANS, trainer_class=nnUNetTrainerCDPDSmall_1epoch)
    assert trainer.configuration_manager.network_arch_init_kwargs["vision"]["model_name"].startswith("vit_small")
