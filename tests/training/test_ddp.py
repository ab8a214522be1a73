"""Two processes on the CPU: loss and gradients are those of one process with the joint batch; `cdpd train` under torchrun."""

import functools
import json
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.multiprocessing as mp
from builders.training import MERGED, PLANS, environment, make_trainer, training_folders
from builders.two_processes import SPLITS, make_batch, make_loss, make_network, outputs_and_targets, training_steps
from torch import distributed, nn

from nnunetv2_cdpd.cli import train
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.training.distributed import (
    data_parallel,
    local_rank,
    process_device,
    process_group,
    rank_of_pretrained_weights,
)


def run_train(arguments):
    train.run(SimpleNamespace(rest=arguments))


@pytest.fixture(scope="module")
def results_of_two_processes(tmp_path_factory):
    from nnunetv2.run.run_training import find_free_network_port

    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASTER_PORT", str(find_free_network_port()))
        mp.spawn(training_steps, args=(folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_learn_as_one_with_the_joint_batch(results_of_two_processes, split, batch_dice):
    value, *gradients = torch.load(results_of_two_processes / f"{list(SPLITS).index(split)}_{batch_dice}.pt")
    network = make_network()
    batch = make_batch([source for sources in SPLITS[split] for source in sources], first_index=0)
    expected = make_loss(batch_dice, ddp=False)(*outputs_and_targets(network, batch))
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), abs=1e-9)
    for gradient, parameter in zip(gradients, network.parameters(), strict=True):
        assert parameter.grad.abs().max() > 1e-4
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-9, rtol=1e-7)


# ---- devices and arguments -------------------------------------------------------------------------------------------


def test_gpu_is_that_of_the_local_rank_on_any_node(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(distributed, "get_rank", lambda: 5)
    assert process_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert process_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.delenv("LOCAL_RANK")
    assert local_rank() == 5  # nnU-Net's own -num_gpus, on one node


def test_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(UserError, match="of this node has no GPU"), process_group(torch.device("cuda")):
        pass


def test_mps_cannot_take_part():
    with pytest.raises(UserError, match="argument device mps: training in several"), process_group(torch.device("mps")):
        pass


def test_synchronised_batch_norm_on_a_cpu_is_refused():
    network = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm3d(2)))
    with pytest.raises(NotImplementedError, match="synchronises batch norms"):
        data_parallel(network, torch.device("cpu"))


def test_num_gpus_under_a_launcher_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="the launcher has started the processes already"):
        run_train(["820", "3d_fullres", "0", "-num_gpus", "2", "-device", "cpu"])


def test_num_gpus_on_a_cpu_names_the_launcher():
    with pytest.raises(UserError, match="torchrun --nproc_per_node 2 --no-python cdpd train"):
        run_train(["820", "3d_fullres", "0", "-num_gpus", "2", "-device", "cpu"])


@pytest.fixture
def without_a_dataset(monkeypatch):
    """What a training reads is not looked for."""
    monkeypatch.setattr("nnunetv2_cdpd.cli.host_checks.check_training_inputs", lambda *given: None)


@pytest.mark.usefixtures("without_a_dataset")
def test_one_process_gets_all_arguments_and_our_trainer_without_a_link(monkeypatch):
    from nnunetv2.run import run_training

    from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD

    calls = []

    def training(
        dataset_name_or_id, configuration, fold, trainer_class_name, plans_identifier, pretrained_weights, num_gpus,
        export_validation_probabilities, continue_training, only_run_validation, disable_checkpointing, val_with_best, device,
    ):  # fmt: skip
        look_up = run_training.recursive_find_trainer_class_by_name
        calls.append((trainer_class_name, look_up(trainer_class_name), continue_training, device, list(sys.argv)))

    monkeypatch.setattr(run_training, "run_training", training)
    arguments = list(sys.argv)
    run_train(["820", "3d_fullres", "0", "--c", "-device", "cpu"])
    run_train(["820", "3d_fullres", "0", "-tr", "nnUNetTrainer_1epoch", "-device", "cpu"])
    (name, found, resumed, device, seen), (other, stock, _, _, _) = calls
    assert (name, found, resumed, device) == ("nnUNetTrainerCDPD", nnUNetTrainerCDPD, True, torch.device("cpu"))
    assert (other, stock.__name__) == ("nnUNetTrainer_1epoch", "nnUNetTrainer_1epoch")
    assert seen[0] == "cdpd train" and sys.argv == arguments


@pytest.mark.usefixtures("without_a_dataset")
@pytest.mark.parametrize("left", [None, "checkpoint_latest.pth", "checkpoint_final.pth", "training_log.txt"])
def test_pretrained_weights_begin_a_training_that_has_no_checkpoint_to_go_on_from(left, nnunet_folders, monkeypatch):
    """As a job is started again that was stopped before its first checkpoint, or after it."""
    from nnunetv2.run import run_training

    (nnunet_folders.raw / "Dataset820_Tiny").mkdir()
    fold = nnunet_folders.results / "Dataset820_Tiny/nnUNetTrainerCDPD__nnUNetCDPDPlans__3d_fullres/fold_0"
    fold.mkdir(parents=True)
    if left is not None:
        (fold / left).touch()
    calls = []

    def training(
        dataset_name_or_id, configuration, fold, trainer_class_name, plans_identifier, pretrained_weights, num_gpus,
        export_validation_probabilities, continue_training, only_run_validation, disable_checkpointing, val_with_best, device,
    ):  # fmt: skip
        calls.append((pretrained_weights, continue_training))

    monkeypatch.setattr(run_training, "run_training", training)
    run_train(["820", "3d_fullres", "0", "--c", "-pretrained_weights", "w.pth", "-device", "cpu"])
    assert calls == [(None, True) if left in ("checkpoint_latest.pth", "checkpoint_final.pth") else ("w.pth", False)]


@pytest.mark.usefixtures("without_a_dataset")
def test_a_users_own_variant_of_our_trainer_is_found(monkeypatch, tmp_path):
    from nnunetv2.run import run_training

    (tmp_path / "mine.py").write_text(
        "from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD\n"
        "class nnUNetTrainerCDPD_mine(nnUNetTrainerCDPD):\n    pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    found = []

    @functools.wraps(run_training.run_training)  # its signature is read
    def training(dataset_name_or_id, configuration, fold, trainer_class_name, *args, **kwargs):
        found.append(run_training.recursive_find_trainer_class_by_name(trainer_class_name))

    monkeypatch.setattr(run_training, "run_training", training)
    run_train(["820", "3d_fullres", "0", "-tr", "nnUNetTrainerCDPD_mine", "-device", "cpu"])
    assert found[0].__name__ == "nnUNetTrainerCDPD_mine"
    with pytest.raises(UserError, match="-tr nnUNetTrainerCDPD_yours: nnU-Net finds no such trainer"):
        run_train(["820", "3d_fullres", "0", "-tr", "nnUNetTrainerCDPD_yours", "-device", "cpu"])


def test_processes_that_nnunet_starts_find_the_trainer_through_the_link(monkeypatch):
    linked = []
    monkeypatch.setattr(train, "ensure_linked", lambda: linked.append(True))
    train._check_num_gpus(2, "cuda")
    train._check_num_gpus(1, "cpu")
    assert linked == [True]


def test_pretrained_weights_are_loaded_onto_the_gpu_of_the_process(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    stand_in = rank_of_pretrained_weights(torch.device("cuda"))
    assert stand_in.is_initialized() and stand_in.get_rank() == 3
    assert not rank_of_pretrained_weights(torch.device("cpu")).is_initialized()


# ---- the whole training ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("ddp"), datasets=(820,)) as root:
        yield root


@pytest.mark.slow
def test_training_under_a_launcher_finishes_and_continues(folders, tmp_path):
    """Two processes of one sample each; the validation cases are shared out, and differ in size."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--log-dir", str(tmp_path), "--redirects", "1"]  # in one stream, lines of two processes may break each other
    command += ["-m", "nnunetv2_cdpd.cli.main", "train", "820", "3d_fullres", "0", "-p", PLANS, "-device", "cpu"]
    command += ["-tr", "nnUNetTrainerCDPDSmall_1epoch"]
    env = {**os.environ, **environment(folders), "OMP_NUM_THREADS": "1"}

    def run(*arguments, **variables):
        result = subprocess.run([*command, *arguments], env={**env, **variables}, capture_output=True, text=True, timeout=500)
        logs = sorted(tmp_path.glob("*/attempt_0/*/stdout.log"), key=lambda log: (log.stat().st_mtime, log.parent.name))
        outputs = {log.parent.name: log.read_text() for log in logs}  # of the latest run, by rank
        assert result.returncode == 0, "".join(outputs.values())[-3000:] + result.stderr[-3000:]
        return outputs

    outputs = run()
    assert all(f"worker {rank} batch_size 1" in outputs[rank] for rank in ("0", "1"))
    fold = folders / "nnUNet_results" / MERGED / f"nnUNetTrainerCDPDSmall_1epoch__{PLANS}__3d_fullres" / "fold_0"
    assert len(list(fold.glob("training_log_*.txt"))) >= 1
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    validated = json.loads((folders / "nnUNet_preprocessed" / MERGED / "splits_final.json").read_text())[0]["val"]
    assert len(summary["metric_per_case"]) == len(validated) > 1

    # as if it had been stopped before its only epoch: the weights are there, the epoch is not
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    before = checkpoint["network_weights"]
    checkpoint |= {"current_epoch": 0, "_best_ema": None, "logging": {key: [] for key in checkpoint["logging"]}}
    torch.save(checkpoint, fold / "checkpoint_latest.pth")
    (fold / "checkpoint_final.pth").unlink()
    (fold / "checkpoint_best.pth").unlink()
    outputs = run("--c", CDPD_VISION_WEIGHTS="", CDPD_TEXT_WEIGHTS="")  # the checkpoint holds what these would give
    assert "Epoch 0" in outputs["0"] and "Training done." in outputs["0"]
    after = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed and not any(key.startswith("slice_encoder") for key in changed)
    assert max((after[key] - before[key]).abs().max() for key in changed) < 0.1  # two steps on, not started anew


def test_trainer_of_a_process_group_keeps_the_device_it_was_given(folders, monkeypatch):
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host

    answers = {"is_available": True, "is_initialized": True, "get_rank": 0, "get_world_size": 1}
    stand_in = SimpleNamespace(**{name: lambda answer=answer: answer for name, answer in answers.items()})
    monkeypatch.setattr(host, "dist", stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nnU-Net makes a gradient scaler for CUDA before we know better
        trainer = make_trainer(folders)
    assert trainer.is_ddp and trainer.device == torch.device("cpu") and trainer.grad_scaler is None
