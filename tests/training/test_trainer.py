"""nnUNetTrainerCDPD in one process: batches, tasks, pseudo Dice, recipes, plain datasets."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from builders.training import MERGED, PLAIN, make_trainer
from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import nnUNetTrainer_250epochs
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.datasets.carried import taken_along
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.place.learning import learn_dataset
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDDemo import nnUNetTrainerCDPDDemo
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDPaper import nnUNetTrainerCDPDPaper
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch
from nnunetv2_cdpd.training.label_resampling import LabelMapSpatialTransform
from nnunetv2_cdpd.training.recipe import Recipe


@pytest.fixture(scope="module")
def started(folders):
    trainer = make_trainer(folders)
    trainer.on_train_start()
    return trainer


def test_batches_hold_label_maps_sources_and_tasks(started):
    batch = next(started.dataloader_train)
    *label_maps, sources = batch["target"]
    patch = tuple(started.configuration_manager.patch_size)
    assert batch["data"].shape == (2, 1, *patch)
    assert label_maps[0].shape == (2, 1, *patch) and not label_maps[0].is_floating_point()
    assert len(label_maps) == len(started.loss.weights)
    assert [started.annotation.source_index(case) for case in batch["keys"]] == sources.tolist()
    assert all(task in (source, len(started.annotation.sources)) for task, source in zip(batch["task"], sources))


def test_network_gets_the_tasks_of_the_batch_in_training_and_none_in_validation(started):
    seen = []
    handle = started.cdpdnet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("task")), with_kwargs=True
    )
    try:
        started.on_epoch_start(), started.on_train_epoch_start()
        batch = next(started.dataloader_train)
        assert np.isfinite(started.train_step(batch)["loss"])
        with torch.no_grad():
            started.validation_step(next(started.dataloader_val))
    finally:
        handle.remove()
    assert torch.equal(seen[0], batch["task"])
    assert seen[1] is None


def test_pseudo_dice_counts_only_what_the_source_annotates(started):
    with torch.no_grad():
        counts = started.validation_step(next(started.dataloader_val))["counts_per_source"]
    columns = len(started.annotation.column_names)
    assert counts.shape == (3, len(started.annotation.sources), columns)
    assert (counts[:, ~started.annotation.scored] == 0).all()


def test_pseudo_dice_of_a_perfect_prediction_is_one(started):
    from nnunetv2_cdpd.training.pseudo_dice import counts_per_source

    batch = next(started.dataloader_val)
    label_map, sources = batch["target"][0], batch["target"][-1]
    logits = torch.stack(
        [torch.isin(label_map[:, 0], torch.tensor(region)) for region in started.annotation.regions], 1
    ).float() * 2 - 1  # fmt: skip
    merged = {label.name: label for label in started.annotation.merged_labels}["kidney"]
    right = started.annotation.classes.index("right_kidney")
    logits[:, right][label_map[:, 0] == merged.value] = 1  # one of its sides is enough for a merged label
    tp, fp, fn = counts_per_source(logits, label_map, sources, started.loss)
    assert tp.sum() > 0 and fp.sum() == 0 and fn.sum() == 0


def test_place_negatives_need_what_was_learned_and_go_with_the_batches(folders, tmp_path):
    class WithPlace(nnUNetTrainerCDPDSmall_1epoch):
        recipe = replace(nnUNetTrainerCDPDSmall_1epoch.recipe, place_negatives=True)

    preprocessed = folders / "nnUNet_preprocessed" / MERGED
    trainer = make_trainer(folders, trainer_class=WithPlace)
    with pytest.raises(UserError, match=r"place.json: no such file; make it: cdpd place DATASET;"):
        trainer.get_tr_and_val_datasets()
    _, path, _ = learn_dataset(MERGED, num_processes=1, progress=False)
    try:
        assert path == preprocessed / "place.json"
        trainer = make_trainer(folders, trainer_class=WithPlace)
        trainer.on_train_start()
        assert (Path(trainer.output_folder_base) / "place.json").read_bytes() == path.read_bytes()
        carried, _ = taken_along(Path(trainer.output_folder_base), "cdpd_place")
        assert carried == {**json.loads(path.read_text()), "cases": {}}
        batch = next(trainer.dataloader_train)
        outputs = len(trainer.loss.weights)
        assert len(batch["target"]) == 2 * outputs + 2
        assert [zones.shape for zones in batch["target"][outputs:-2]] == [each.shape for each in batch["target"][:outputs]]
        assert batch["target"][-2].shape[::2] == (2, len(trainer.annotation.classes))
        trainer.on_epoch_start(), trainer.on_train_epoch_start()
        assert np.isfinite(trainer.train_step(batch)["loss"])
        assert len(next(trainer.dataloader_val)["target"]) == outputs + 1
    finally:
        path.unlink()


def test_no_mirroring_with_left_and_right(started):
    assert started.inference_allowed_mirroring_axes is None


def test_mirroring_as_nnunet_where_no_class_has_a_side(folders):
    trainer = make_trainer(folders)
    trainer.annotation = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2}})
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes == trainer.inference_allowed_mirroring_axes == (0, 1, 2)
    trainer.annotation = read_annotation({"labels": {"background": 0, "RightParotid": 1, "parotid_l": 2}})
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes is None and trainer.inference_allowed_mirroring_axes is None
    log = Path(trainer.log_file).read_text()
    assert "No mirroring, because classes have a side: RightParotid, parotid_l" in log
    trainer.annotation = read_annotation({"labels": {"background": 0, "LeftParotid": 1, "brain": 2}})
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes is None and trainer.inference_allowed_mirroring_axes is None, "one side alone: its mirror image is the other one"


def test_class_of_no_validation_case_is_nan_in_the_log_and_not_zero(folders):
    trainer = make_trainer(folders)
    columns, sources = len(trainer.annotation.column_names), len(trainer.annotation.sources)
    for key in ("epoch_start_timestamps", "train_losses", "lrs"):
        trainer.logger.log(key, 1.0, 0)
    counts = np.zeros((3, sources, columns))
    liver, spleen = (trainer.annotation.classes.index(name) for name in ("liver", "spleen"))
    counts[0, 0, liver], counts[2, 2, spleen] = 5, 3  # the liver is found, the spleen missed, nothing else was there
    tp, fp, fn = counts.sum(1)
    step = {"loss": np.array(0.5), "tp_hard": tp, "fp_hard": fp, "fn_hard": fn, "counts_per_source": counts}
    trainer.on_validation_epoch_end([step])
    dice = trainer.logger.get_value("dice_per_class_or_region", step=-1)
    assert dice[liver] == 1 and dice[spleen] == 0
    assert np.isnan([value for column, value in enumerate(dice) if column not in (liver, spleen)]).all()
    assert trainer.logger.get_value("mean_fg_dice", step=-1) == 0.5
    by_source = [trainer.logger.get_value(key, step=-1) for key in trainer.logger.local_logger.source_keys.values()]
    np.testing.assert_equal(by_source, [1.0, np.nan, 0.0])


def test_learning_rate_and_interval_of_saving_are_changed_by_subclass(folders):
    class Attributes(nnUNetTrainerCDPDSmall_1epoch):
        recipe = replace(nnUNetTrainerCDPDSmall_1epoch.recipe, initial_lr=1e-3, save_every=5)

    class Nnunet(nnUNetTrainerCDPDSmall_1epoch):  # as nnU-Net's own variants do it
        def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.initial_lr, self.save_every = 1e-3, 5

    for trainer_class in (Attributes, Nnunet):
        trainer = make_trainer(folders, trainer_class=trainer_class)
        trainer.initialize()
        assert trainer.save_every == 5 and trainer.optimizer.param_groups[0]["lr"] == 1e-3


def test_a_recipe_of_version_0_1_is_refused_and_not_passed_over(folders):
    class Old(nnUNetTrainerCDPDSmall_1epoch):
        hyperparameters = {"initial_lr": 1e-3}  # noqa: RUF012 - as it was written

    with pytest.raises(UserError, match="Old: `hyperparameters` .* `recipe`"):
        make_trainer(folders, trainer_class=Old)


def test_what_a_recipe_leaves_open_is_nnunets(folders):
    class Long(nnUNetTrainerCDPD, nnUNetTrainer_250epochs):
        pass

    trainer = make_trainer(folders, trainer_class=Long)
    assert (trainer.initial_lr, trainer.num_epochs, trainer.num_iterations_per_epoch) == (4e-4, 250, 250)
    assert trainer.oversample_foreground_percent == 0.33 and trainer.save_every == 50


def test_field_that_a_recipe_adds_becomes_an_attribute(folders):
    @dataclass(frozen=True, kw_only=True)
    class Clipped(Recipe):
        largest_gradient: float = 12.0

    class Trainer(nnUNetTrainerCDPDSmall_1epoch):
        recipe = Clipped(num_epochs=1, largest_gradient=5.0)

    assert make_trainer(folders, trainer_class=Trainer).largest_gradient == 5.0


def test_label_maps_are_rotated_and_zoomed_all_labels_at_once(started):
    transforms = started.dataloader_train.data_loader.transforms.transforms
    assert [type(transform) for transform in transforms if isinstance(transform, SpatialTransform)] == [LabelMapSpatialTransform]


def test_jitter_of_foreground_patches_reaches_the_loaders(folders):
    trainer = make_trainer(folders, batch_size=2)
    assert not trainer.get_dataloaders()[0].data_loader.reach.any()
    trainer.foreground_jitter = 1.0
    for loader in trainer.get_dataloaders():
        assert loader.data_loader.reach.tolist() == [(size - 1) // 2 for size in trainer.configuration_manager.patch_size]


def test_dice_is_as_the_plans_have_it_unless_the_recipe_says(folders):
    trainer = make_trainer(folders)  # of a small network, whose recipe says it
    trainer.initialize()
    assert trainer._build_loss().batch_dice is True and trainer.configuration_manager.batch_dice is False
    trainer.batch_dice = None
    assert trainer._build_loss().batch_dice is False
    for others in (nnUNetTrainerCDPD, nnUNetTrainerCDPDDemo, nnUNetTrainerCDPDPaper):
        assert others.recipe.batch_dice is None, "the plans'"


def test_border_patches_reach_the_loaders(folders):
    trainer = make_trainer(folders, batch_size=2)
    assert not trainer.get_dataloaders()[0].data_loader.border_patches
    trainer.border_patches = True
    assert all(loader.data_loader.border_patches for loader in trainer.get_dataloaders())


def test_network_without_universal_task_is_trained_under_the_sources_tasks(folders):
    trainer = make_trainer(folders, batch_size=2)
    assert trainer.get_dataloaders()[0].data_loader.universal_probability == trainer.universal_task_probability > 0
    trainer.configuration_manager.network_arch_init_kwargs["task"]["universal"] = False
    assert trainer.get_dataloaders()[0].data_loader.universal_probability == 0


def test_frozen_parameters_are_not_optimized(started):
    optimized = {id(p) for group in started.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in started.network.parameters() if p.requires_grad}
    assert not any(id(p) in optimized for p in started.cdpdnet.slice_encoder.parameters())


def test_plain_dataset_is_one_source_with_sigmoid_heads(folders):
    trainer = make_trainer(folders, PLAIN)
    assert [source.annotated_classes for source in trainer.annotation.sources] == [("right_kidney", "left_kidney", "spleen")]
    trainer.on_train_start()
    assert trainer.label_manager.num_segmentation_heads == 3
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    saved = json.loads(Path(trainer.output_folder_base, "dataset.json").read_text())
    assert PlansManager(trainer.plans_manager.plans).get_label_manager(saved).num_segmentation_heads == 3
    assert read_annotation(saved).tables.tolist() == trainer.annotation.tables.tolist()


def test_compiled_network_gets_the_task_too(folders):
    """torch.compile wraps the network; the eager backend traces it as CUDA's would."""

    class Compiled(nnUNetTrainerCDPDSmall_1epoch):
        def initialize(self):
            build = self.build_network_architecture
            self.build_network_architecture = lambda plans_manager, *args: torch.compile(
                build(plans_manager, *args), backend="eager"
            )
            super().initialize()

    trainer = make_trainer(folders, trainer_class=Compiled)
    trainer.initialize()
    x = torch.randn(2, 1, *trainer.configuration_manager.patch_size)
    trainer.network.eval()
    with torch.no_grad():
        universal = trainer.network(x)[0]
        trainer._batch_inputs = {"task": torch.tensor([0, 1])}
        tasks = trainer.network(x)[0]
        expected = trainer.cdpdnet(x, torch.tensor([0, 1]))[0]
    torch.testing.assert_close(tasks, expected)
    assert not torch.allclose(universal, tasks)
