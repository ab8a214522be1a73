"""What we exchange in nnU-Net is there, is exchanged, and comes back; what we override is there."""

import importlib.metadata
import inspect
from dataclasses import replace

import pytest

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import EXCHANGES, exchanged, lent_arguments, original

pytestmark = pytest.mark.host


def names_used_by(module):
    """Names of a module that its functions and methods look up when they run."""
    found = [member for member in vars(module).values() if getattr(member, "__module__", None) == module.__name__]
    found += [method for member in found if isinstance(member, type) for method in vars(member).values()]
    codes = [getattr(inspect.unwrap(getattr(member, "__func__", member)), "__code__", None) for member in found]
    return {name for code in codes if code for name in code.co_names}


# What we override: a hook that nnU-Net renamed would never be called again, without any error.
HOOKS = {
    "nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer": (
        "initialize run_training load_checkpoint save_checkpoint on_train_start on_epoch_end get_tr_and_val_datasets "
        "get_dataloaders get_training_transforms "
        "get_validation_transforms configure_rotation_dummyDA_mirroring_and_inital_patch_size configure_optimizers _build_loss "
        "train_step validation_step on_validation_epoch_end perform_actual_validation"
    ),
    "nnunetv2.training.dataloading.data_loader.nnUNetDataLoader": "get_bbox generate_train_batch",
    "nnunetv2.training.logging.nnunet_logger.LocalLogger": "log load_checkpoint plot_progress_png",
    "nnunetv2.training.lr_scheduler.polylr.PolyLRScheduler": "step",
    "batchgeneratorsv2.transforms.spatial.spatial.SpatialTransform": ("_apply_to_segmentation _apply_to_regr_target"),
    "nnunetv2.inference.predict_from_raw_data.nnUNetPredictor": "predict_sliding_window_return_logits",
    "nnunetv2.experiment_planning.experiment_planners.default_experiment_planner.ExperimentPlanner": (
        "generate_data_identifier determine_segmentation_softmax_export_fn static_estimate_VRAM_usage "
        "get_plans_for_configuration determine_reader_writer determine_fullres_target_spacing determine_transpose "
        "determine_resampling save_plans"
    ),
}


@pytest.mark.parametrize("hosts", HOOKS)
def test_nnunet_still_has_the_hooks_that_we_override(hosts):
    module, name = hosts.rsplit(".", 1)
    host = getattr(importlib.import_module(module), name)
    gone = [hook for hook in HOOKS[hosts].split() if not hasattr(host, hook)]
    assert not gone, f"{hosts} has no {', '.join(gone)} any more; what overrides it in nnunetv2_cdpd is never called"


@pytest.mark.parametrize("which", EXCHANGES)
def test_nnunet_still_has_the_name(which):
    original(which)  # its error says what to do


@pytest.mark.parametrize("which", EXCHANGES)
def test_the_name_is_used_where_it_is_exchanged(which):
    """A name that is only imported would be exchanged without effect."""
    name = EXCHANGES[which].name
    for module in EXCHANGES[which].modules:
        used = names_used_by(importlib.import_module(module))
        assert name in used, f"{module} does not use {name} any more; `{which}` of nnunetv2_cdpd.host has to follow it"


@pytest.mark.parametrize("which", EXCHANGES)
def test_the_original_comes_back_whatever_happens(which):
    modules = [importlib.import_module(module) for module in EXCHANGES[which].modules]
    before = [getattr(module, EXCHANGES[which].name) for module in modules]
    replacement = object()
    with pytest.raises(KeyError), exchanged(which, replacement):
        assert all(getattr(module, EXCHANGES[which].name) is replacement for module in modules)
        raise KeyError
    assert [getattr(module, EXCHANGES[which].name) for module in modules] == before


def test_a_name_that_is_gone_is_one_line_with_the_version_and_the_way_out(monkeypatch, capsys):
    monkeypatch.delattr("nnunetv2.run.run_training.recursive_find_trainer_class_by_name")
    version = importlib.metadata.version("nnunetv2")
    assert main(["train", "400", "3d_fullres", "0"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"cdpd: error: nnunetv2 {version} has no nnunetv2.run.run_training.recursive_find_trainer")
    assert told.endswith(f"run: pip install 'nnunetv2<{version}', or take a newer nnunetv2_cdpd\n") and told.count("\n") == 1


def test_a_module_that_is_gone_is_told_too_but_no_other_that_is_not_there(monkeypatch):
    monkeypatch.setitem(EXCHANGES, "training", replace(EXCHANGES["training"], modules=("nnunetv2.run.moved",)))
    with pytest.raises(UserError, match=r"has no nnunetv2\.run\.moved\.run_training, .* pip install"):
        original("training")
    monkeypatch.setattr("nnunetv2_cdpd.host.importlib.import_module", raising(ModuleNotFoundError("no torch", name="torch")))
    with pytest.raises(ModuleNotFoundError, match="no torch"):
        original("training")


def raising(error):
    def import_module(name):
        raise error

    return import_module


def test_arguments_are_lent_with_defaults(monkeypatch):
    import sys

    monkeypatch.setattr(sys, "argv", ["mine"])
    with lent_arguments("cdpd train", ["400", "-p", "Plans"], tr="Ours", p="Others"):
        assert sys.argv == ["cdpd train", "400", "-p", "Plans", "-tr", "Ours"]
    assert sys.argv == ["mine"]
