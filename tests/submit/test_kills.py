"""Jobs of a real Slurm that are killed while they work: nothing is lost, and nothing is there by half."""

import os
import re
import sys
import time

import pytest
from builders.campaign import convert_command, dataset_digests, environment, undisturbed, write_source
from builders.kills import WAYS, Killer
from builders.slurm import running_slurm, why_not
from builders.training import MERGED, PLANS, training_folders

from nnunetv2_cdpd.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]


TRAINER = """
from dataclasses import replace

from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch


class nnUNetTrainerStopped(nnUNetTrainerCDPDSmall_1epoch):
    recipe = replace(nnUNetTrainerCDPDSmall_1epoch.recipe, num_epochs=3)
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def test_a_conversion_whose_jobs_are_killed_is_the_same_as_one_that_nobody_disturbs(slurm, tmp_path):
    source = write_source(tmp_path / "source", num_cases=60)
    expected = undisturbed(source, tmp_path / "undisturbed")
    killer = Killer(slurm, tmp_path, environment(tmp_path / "killed"), seed=1)
    killer.run(["--jobs", "4", "--", *convert_command(source)], kills=10)
    assert killer.done.total() >= 10 and len(killer.done) >= 3, killer.done
    assert dataset_digests(tmp_path / "killed") == expected and len(expected) == 2 * 60 + 1
    assert set(killer.done) <= set(WAYS)


def test_a_training_on_two_nodes_that_is_stopped_goes_on_and_what_follows_waits_for_it(slurm, tmp_path, monkeypatch, capsys):
    """Two nodes of one process each under torchrun, on CPUs; stopped as if its time were up."""
    (tmp_path / "work").mkdir()
    with training_folders(tmp_path / "work", datasets=(820,)) as root:
        (root / "ext").mkdir()
        (root / "ext/nnUNetTrainerStopped.py").write_text(TRAINER)
        monkeypatch.setenv("nnUNet_extTrainer", str(root / "ext"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("CDPD_SAVE_MINUTES", "0")
        monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        monkeypatch.chdir(root)
        model = ("-tr", "nnUNetTrainerStopped", "-p", PLANS)
        assert main([
            "submit", "--nodes", "2", "--cpus", "1", "--", "train", "820", "3d_fullres", "0", *model, "-device", "cpu",
            "--then", "--", "labels", "820", "--check",
        ]) == 0  # fmt: skip
        train, after = re.findall(r"jobs? (\d+)", capsys.readouterr().out)
        log = root / "cdpd_submit/1-train.log"
        fold = root / f"nnUNet_results/{MERGED}/nnUNetTrainerStopped__{PLANS}__3d_fullres/fold_0"
        until(slurm, lambda: (fold / "checkpoint_latest.pth").exists(), log)
        slurm.call("scancel", "--batch", "--signal=USR2", train)
        until(slurm, lambda: "start 2:" in log.read_text(), log)
        assert slurm.state(after) == "PENDING"
        slurm.wait(train, after, seconds=240)
        assert main(["submit", "--status", "cdpd_submit"]) == 0, (capsys.readouterr().out, log.read_text()[-3000:])
        assert "worker 1 batch_size 1" in log.read_text()
        # The second start goes on where the first had saved: it loses the epoch that it was in, and no other
        first, second = epochs(fold)
        assert first[0] == 0 and second[-1] == 2 and second == list(range(second[0], 3))
        assert second[0] in (first[-1], first[-1] + 1) and second[0] > 0
        assert (fold / "validation/summary.json").is_file() and (fold / "checkpoint_final.pth").is_file()
        assert "820_Tiny/dataset.json: " in (root / "cdpd_submit/2-labels.log").read_text()


def epochs(fold):
    """The epochs of each start of a training, by its logs."""
    logs = sorted(fold.glob("training_log_*.txt"))
    return [[int(number) for number in re.findall(r"Epoch (\d+)", log.read_text())] for log in logs]


def until(slurm, is_so, log):
    end = time.monotonic() + 120
    while not is_so():
        slurm.hurry()
        assert time.monotonic() < end, log.read_text()[-3000:] if log.exists() else "no log"
        time.sleep(0.1)
