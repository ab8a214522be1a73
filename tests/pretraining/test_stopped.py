"""Kills and several processes: what comes out is what a run that was never stopped gives."""

import os
import subprocess
import sys
import time

import pytest
import torch
import torch.multiprocessing as mp
from builders.pretraining import SETTINGS, one_of_two, tiny_pretraining, write_cts
from builders.project import CLONE
from safetensors.torch import load_file

from nnunetv2_cdpd.training.encoder_facts import encoder_facts_of

SCRIPT = """
from dataclasses import replace
from pathlib import Path
from builders.pretraining import SETTINGS, tiny_pretraining
tiny_pretraining(Path("vit.safetensors"), Path("cts"), settings=replace(SETTINGS, iterations=40), save_seconds=0, resume=True)
"""


def assert_same(output, expected):
    found, expected = load_file(output), load_file(expected)
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    """kill -9 three times, whatever it is doing, each time after it has saved some more."""
    from dataclasses import replace

    write_cts(tmp_path / "cts")
    path = os.pathsep.join([str(CLONE), str(CLONE / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    checkpoint, saved = tmp_path / "vit.checkpoint.pth", 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment)
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns <= saved:
            assert process.poll() is None, "has ended before it was killed"
            time.sleep(0.01)
        process.kill()
        process.wait()
        saved = checkpoint.stat().st_mtime_ns
    assert not (tmp_path / "vit.safetensors").exists()
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, check=True)
    tiny_pretraining(tmp_path / "whole.safetensors", tmp_path / "cts", settings=replace(SETTINGS, iterations=40))
    assert_same(tmp_path / "vit.safetensors", tmp_path / "whole.safetensors")
    assert (tmp_path / "vit.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cts", "vit.csv", "vit.safetensors", "whole.csv", "whole.safetensors"
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_learn_together_and_go_on_where_both_were_stopped(tmp_path):
    from nnunetv2.run.run_training import find_free_network_port

    def run(name, stop_at=None):
        mp.spawn(one_of_two, args=(tmp_path / name, tmp_path / "cts", find_free_network_port(), stop_at), nprocs=2)

    write_cts(tmp_path / "cts")
    run("whole.safetensors")
    run("vit.safetensors", stop_at=3)
    assert not (tmp_path / "vit.safetensors").exists() and (tmp_path / "vit.checkpoint.pth").exists()
    run("vit.safetensors")
    assert_same(tmp_path / "vit.safetensors", tmp_path / "whole.safetensors")
    assert (tmp_path / "vit.csv").read_text() == (tmp_path / "whole.csv").read_text()
    told = (tmp_path / "vit.0.txt").read_text().splitlines()
    assert told[0].startswith("15 slices of 3 images") and told[1] == "going on after 3 of 6 iterations"
    assert (tmp_path / "vit.1.txt").read_text() == ""  # one of them tells
    assert encoder_facts_of(tmp_path / "vit.safetensors")["settings"]["the number of processes"] == 2
    assert not list(tmp_path.glob("*.slices"))
