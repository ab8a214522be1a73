"""nnUNetTrainerCDPD in one process: batches, tasks, pseudo Dice, resuming, plain datasets."""

import json
import os
import warnings

import numpy as np
import pytest
import tiny_dataset
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, preprocess_dataset
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.merge import merge_datasets

TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2}}


def plan_and_preprocess(dataset_id):
    """Plans of the small planner with a tiny ViT, for 3d_fullres; in this process."""
    extract_fingerprint_dataset(dataset_id, num_processes=1, show_progress_bar=False)
    planner = nnUNetPlannerCDPDSmall(dataset_id)
    plans = planner.plan_experiment()
    configuration = plans["configurations"]["3d_fullres"]
    configuration["architecture"]["arch_kwargs"]["vision"].update(TINY_VIT)
    configuration["batch_size"] = 2
    planner.save_plans(plans)
    preprocess_dataset(dataset_id, planner.plans_identifier, ["3d_fullres"], [1], show_progress_bar=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """nnU-Net's folders with the merged tiny dataset (820) and a plain one (813), both preprocessed."""
    root = tmp_path_factory.mktemp("trainer")
    variables = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    variables |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "CDPD_VISION_WEIGHTS": "random", "CDPD_TEXT_WEIGHTS": "learned"}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in variables.items():
            patch.setenv(name, value)
            if name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
                os.makedirs(value)
        for dataset in tiny_dataset.SOURCES:
            tiny_dataset.write_raw_dataset(root / "nnUNet_raw", dataset, num_cases=5)
        (root / "merge.yaml").write_text(tiny_dataset.SPEC)
        merge_datasets(["811", "812", "813"], 820, "Tiny", spec=root / "merge.yaml", num_processes=1, progress=False)
        for dataset_id in (820, 813):
            plan_and_preprocess(dataset_id)
        yield root


def make_trainer(root, dataset="Dataset820_Tiny", resume=False, trainer_class=nnUNetTrainerCDPDSmall_1epoch, **changes):
    folder = root / "nnUNet_preprocessed" / dataset
    plans = json.loads((folder / "nnUNetCDPDSmallPlans.json").read_text())
    plans["continue_training"] = resume
    dataset_json = json.loads((folder / "dataset.json").read_text())
    torch.manual_seed(0)
    np.random.seed(0)
    trainer = trainer_class(plans, "3d_fullres", 0, dataset_json, torch.device("cpu"))
    vars(trainer).update(changes)
    return trainer


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
    from nnunetv2_cdpd.online_metrics import counts_per_source

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


def test_no_mirroring_with_left_and_right(started):
    assert started.inference_allowed_mirroring_axes is None


def test_frozen_parameters_are_not_optimized(started):
    optimized = {id(p) for group in started.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in started.network.parameters() if p.requires_grad}
    assert not any(id(p) in optimized for p in started.cdpdnet.slice_encoder.parameters())


def test_resumed_training_goes_on_where_it_stopped_without_weights_or_choices(folders, monkeypatch):
    class TwoEpochs(nnUNetTrainerCDPDSmall_1epoch):
        hyperparameters = {**nnUNetTrainerCDPDSmall_1epoch.hyperparameters, "num_epochs": 2, "save_every": 1}

    trainer = make_trainer(folders, trainer_class=TwoEpochs)
    monkeypatch.setattr(trainer, "on_train_end", lambda: None)
    trainer.num_epochs = 2
    stop = trainer.on_epoch_end

    def on_epoch_end():
        stop()
        raise KeyboardInterrupt  # after the first epoch and its checkpoint

    monkeypatch.setattr(trainer, "on_epoch_end", on_epoch_end)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()

    monkeypatch.delenv("CDPD_VISION_WEIGHTS", raising=False)
    monkeypatch.delenv("CDPD_TEXT_WEIGHTS", raising=False)
    resumed = make_trainer(folders, resume=True, trainer_class=TwoEpochs)
    resumed.load_checkpoint(os.path.join(resumed.output_folder, "checkpoint_latest.pth"))
    assert resumed.current_epoch == 1
    assert resumed.configuration_manager.network_arch_init_kwargs["text"]["encoder"] == "learned"
    for (name, before), after in zip(trainer.network.state_dict().items(), resumed.network.state_dict().values()):
        assert torch.equal(before, after), name
    resumed.run_training()
    assert resumed.current_epoch == 2
    assert os.path.isfile(os.path.join(resumed.output_folder, "checkpoint_final.pth"))
    trained = dict(resumed.network.named_parameters())
    assert any(not torch.equal(p, trained[n]) for n, p in trainer.network.named_parameters() if p.requires_grad)
    assert all(torch.equal(p, trained[n]) for n, p in trainer.network.named_parameters() if not p.requires_grad)


def test_plain_dataset_is_one_source_with_sigmoid_heads(folders):
    trainer = make_trainer(folders, "Dataset813_Organs")
    assert [source.annotated_classes for source in trainer.annotation.sources] == [("right_kidney", "left_kidney", "spleen")]
    trainer.on_train_start()
    assert trainer.label_manager.num_segmentation_heads == 3
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    saved = json.loads(open(os.path.join(trainer.output_folder_base, "dataset.json")).read())
    assert PlansManager(trainer.plans_manager.plans).get_label_manager(saved).num_segmentation_heads == 3
    assert read_annotation(saved).tables.tolist() == trainer.annotation.tables.tolist()


def test_compiled_network_gets_the_task_too(folders):
    """torch.compile wraps the network; the eager backend traces it as CUDA's would."""

    class Compiled(nnUNetTrainerCDPDSmall_1epoch):
        def initialize(self):
            build = self.build_network_architecture
            self.build_network_architecture = lambda plans_manager, *args: torch.compile(build(plans_manager, *args), backend="eager")
            super().initialize()

    trainer = make_trainer(folders, trainer_class=Compiled)
    trainer.initialize()
    x = torch.randn(2, 1, *trainer.configuration_manager.patch_size)
    trainer.network.eval()
    with torch.no_grad():
        universal = trainer.network(x)[0]
        trainer._batch_task = torch.tensor([0, 1])
        tasks = trainer.network(x)[0]
        expected = trainer.cdpdnet(x, torch.tensor([0, 1]))[0]
    torch.testing.assert_close(tasks, expected)
    assert not torch.allclose(universal, tasks)
