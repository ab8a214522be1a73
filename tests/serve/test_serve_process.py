"""The server as a process: who may start it, tokens, kills, and a worker that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from builders.prediction import read
from builders.serving import RunningServer, cpu_seconds, refused, wait_for, write_long_volume

from nnunetv2_cdpd.inference.predictor import Predictor

TOKEN = "correct-horse-battery-staple"


@pytest.mark.slow
def test_a_kill_leaves_jobs_done_or_lost(model, volume, tmp_path):
    long_volume = write_long_volume(tmp_path / "long.nii.gz").read_bytes()
    state = tmp_path / "state"
    with RunningServer(f"tiny={model}", "--state", state) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        first = client.post("/jobs", content=volume.read_bytes()).json()["id"]
        wait_for(client, first)
        others = [client.post("/jobs", content=long_volume).json()["id"] for _ in range(3)]
        wait_for(client, others[0], ("running",))
        code, told = refused(f"tiny={model}", "--state", state, "--port", "0")
        assert code == 1
        assert f"process {server.process.pid}" in told and told.count("\n") == 1
        worker = workers_of(server.process.pid)
        server.kill()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in worker)  # it holds no memory without its server
    half = state / "jobs" / ("0" * 32)
    half.mkdir()
    (half / "input").write_bytes(b"half")
    with RunningServer(f"tiny={model}", "--state", state) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get(f"/jobs/{first}").json()["state"] == "done"
        (tmp_path / "map.nii.gz").write_bytes(client.get(f"/jobs/{first}/label_map").content)
        for job in others:
            told = client.get(f"/jobs/{job}").json()
            assert (told["state"], told["error"]) == ("lost", "the server ended before this job was done; send it again")
            assert client.get(f"/jobs/{job}/label_map").status_code == 409
            assert sorted(path.name for path in (state / "jobs" / job).iterdir()) == ["job.json"]
        assert not half.exists()
        kill_the_worker(server, client, long_volume, volume)
        assert server.end() == 0
    np.testing.assert_array_equal(
        read(tmp_path / "map.nii.gz"), Predictor.from_folder(model, device="cpu").predict(volume).label_map
    )


def kill_the_worker(server, client, long_volume, volume):
    job = client.post("/jobs", content=long_volume).json()["id"]
    waiting = client.post("/jobs", content=volume.read_bytes()).json()["id"]
    wait_for(client, job, ("running",))
    for pid in workers_of(server.process.pid):
        os.kill(pid, signal.SIGKILL)
    assert "it was killed, most likely for lack of memory" in wait_for(client, job)["error"]
    assert wait_for(client, waiting)["state"] == "done"


def workers_of(pid):
    """Processes that a server started and that hold models."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line]


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--host", "0.0.0.0"), {}, "--host 0.0.0.0: other machines reach it, so each request needs a token"),
        (("--host", "0.0.0.0"), {"CDPD_SERVE_TOKEN": "short"}, "CDPD_SERVE_TOKEN: a token is 16 or more"),
        (("--token-file", "nowhere"), {}, "nowhere: cannot be read as a token"),
        (("--host", "192.0.2.1"), {"CDPD_SERVE_TOKEN": TOKEN}, "cannot be had on 192.0.2.1"),
        (("--host", "no.such.host.invalid"), {"CDPD_SERVE_TOKEN": TOKEN}, "no address of this machine"),
        (("--max-queued", "0"), {}, "--max-queued 0: give 1 or more"),
        (("--images", "nowhere"), {}, "nowhere: no such folder"),
    ],
)
def test_what_it_does_not_start_with(tmp_path, arguments, environment, words):
    code, told = refused(f"tiny={tmp_path}", "--state", tmp_path / "state", *arguments, environment=environment)
    assert code == 1
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_no_model(tmp_path):
    code, told = refused(f"tiny={tmp_path}", "--state", tmp_path / "state", "--port", "0")
    assert (code, told) == (1, f"cdpd: error: {tmp_path}: no plans.json; give a model folder, TRAINER__PLANS__CONFIGURATION\n")


def test_a_folder_of_somebody_else(tmp_path):
    state = tmp_path / "mine"
    state.mkdir()
    (state / "thesis.txt").write_text("mine")
    code, told = refused(f"tiny={tmp_path}", "--state", state, "--port", "0")
    assert code == 1
    assert "holds something else than a server's jobs" in told
    assert [path.name for path in state.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts CPU seconds in /proc")
def test_a_second_case_takes_less_than_half_of_the_command(model, volume, tmp_path):
    """CPU seconds of all processes: the command loads libraries and model for each call."""
    before = os.times()
    command = ["predict", "-i", volume, "-o", tmp_path / "map.nii.gz", "-m", model, "-device", "cpu", "--disable_progress_bar"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-m", "nnunetv2_cdpd.cli.main", *map(str, command)], check=True, env=environment)
    after = os.times()
    of_command = after.children_user + after.children_system - before.children_user - before.children_system
    with RunningServer(f"tiny={model}", "--state", tmp_path / "state") as server, httpx.Client(base_url=server.url) as client:
        wait_for(client, client.post("/jobs", content=volume.read_bytes()).json()["id"])
        before_second = cpu_seconds(server.process.pid)
        wait_for(client, client.post("/jobs", content=volume.read_bytes()).json()["id"])
        of_second = cpu_seconds(server.process.pid) - before_second
    print(f"command {of_command:.2f} s, second case {of_second:.2f} s of CPU")
    assert of_second < of_command / 2
