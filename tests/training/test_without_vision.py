"""A training for which no vision encoder is named: no tokens, no weights of a ViT, and given ones are not passed over."""

import json
from pathlib import Path

import pytest
from builders.training import MERGED, PLANS, make_trainer, training_folders

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDPaper import nnUNetTrainerCDPDPaper_1epoch
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPD_noVision, nnUNetTrainerCDPDSmall_1epoch
from nnunetv2_cdpd.training.extension import ExtensionTrainer
from nnunetv2_cdpd.training.shift_intensity import ShiftIntensity

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
    trainer.run_training()
    assert trainer.cdpdnet.slice_encoder is None and len(trainer.cdpdnet.fusions) == 0
    assert [part["part"] for part in json.loads(trainer.provenance)["weights"]] == ["text embeddings"]
    (log,) = Path(trainer.output_folder).glob("training_log_*.txt")
    assert "No vision tokens: the plans have none; to have them, name an encoder in CDPD_VISION_ENCODER" in log.read_text()
    trainer.perform_actual_validation()
    assert Path(trainer.output_folder, "validation", "summary.json").is_file()


def test_what_it_needs_no_more_is_not_asked_when_it_goes_on_or_is_validated(folders, vit_file):
    """The shell has a file of weights; the model was trained without tokens by the test before."""
    resumed = make_trainer(folders, plans=OTHER_PLANS, resume=True)
    resumed.load_checkpoint(str(Path(resumed.output_folder, "checkpoint_final.pth")))
    resumed.on_train_start()
    validated = make_trainer(folders, plans=OTHER_PLANS)
    validated.load_checkpoint(str(Path(validated.output_folder, "checkpoint_final.pth")))
    assert validated.cdpdnet.slice_encoder is None


@pytest.mark.parametrize("resume", [False, True])  # jobs of a cluster have --c from the start
def test_weights_that_the_network_has_no_use_for_are_told(folders, vit_file, resume):
    with pytest.raises(UserError, match=r"WEIGHTS=.*vit.pth: this network has no vision tokens; name the encoder"):
        make_trainer(folders, plans=OTHER_PLANS, fold=1, resume=resume).on_train_start()


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({"blocks": [1, 99]}, "vision `blocks` are of 1 ... "),
        ({"channels": "windows", "intensity_windows": [[-1.0, 1.0]]}, "takes three intensity windows, got 1"),
        ({"model_name": "resnet18", "model_kwargs": {}}, "dynamic_img_size"),
    ],
    ids=["blocks", "windows", "resnet"],
)
def test_plans_of_which_no_network_can_be_built_are_told_in_a_line(folders, vision, words):
    folder = folders / "nnUNet_preprocessed" / MERGED
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    plans["plans_name"] = "PlansAmiss"
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["vision"] |= vision
    (folder / "PlansAmiss.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match="no network can be built of `architecture` .*; correct them, or the trainer") as error:
        make_trainer(folders, plans="PlansAmiss", fold=2).initialize()
    assert words in str(error.value)


def test_that_no_stage_is_fused_is_told(folders, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "random")
    folder = folders / "nnUNet_preprocessed" / MERGED
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    plans["plans_name"] = "PlansUnfused"
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["fused_stages"] = []
    (folder / "PlansUnfused.json").write_text(json.dumps(plans))
    trainer = make_trainer(folders, plans="PlansUnfused", fold=2)
    trainer.initialize()
    assert trainer.told_without_vision() == "No vision tokens: the plans fuse no stage with them"


def test_an_extension_is_as_its_model_is(folders, vit_file):
    """Its encoder, or that it has none, is the model's; weights of the shell are for other trainings."""
    trainer = make_trainer(folders, plans=OTHER_PLANS, fold=1, trainer_class=nnUNetTrainerCDPDSmall_1epoch)
    trainer.initialize()
    with pytest.raises(UserError, match="this network has no vision tokens"):
        trainer.told_without_vision()
    assert ExtensionTrainer.told_without_vision(trainer) == "No vision tokens: the model has none"


def test_an_ablation_passes_them_over(folders, vit_file):
    trainer = make_trainer(folders, trainer_class=nnUNetTrainerCDPD_noVision)
    assert trainer.configuration_manager.network_arch_init_kwargs["vision"] is None
    assert trainer.told_without_vision() == "No vision tokens: nnUNetTrainerCDPD_noVision trains without"


def test_a_named_encoder_gives_such_plans_tokens(folders, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    trainer = make_trainer(folders, plans=OTHER_PLANS, trainer_class=nnUNetTrainerCDPDSmall_1epoch)
    assert trainer.configuration_manager.network_arch_init_kwargs["vision"]["model_name"].startswith("vit_small")
    assert trainer.unplanned_vision and not make_trainer(folders).unplanned_vision  # which the log says


def test_the_papers_recipe_brightens_images_as_much_without_tokens(folders):
    shifts = []
    for plans in (PLANS, OTHER_PLANS):
        trainer = make_trainer(folders, plans=plans, trainer_class=nnUNetTrainerCDPDPaper_1epoch)
        transforms = trainer.get_training_transforms(
            trainer.configuration_manager.patch_size, None, None, None, do_dummy_2d_data_aug=False
        ).transforms
        shifts += [each.transform.widths for each in transforms if isinstance(getattr(each, "transform", None), ShiftIntensity)]
    assert shifts[0] == shifts[1] and len(shifts) == 2
