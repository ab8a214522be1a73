"""The server as a process: who may start it, tokens, kills, and a worker that dies."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from builders.prediction import read
from builders.serving import RunningServer, cpu_seconds, wait_for, workers_of, write_long_volume

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.inference.predictor import Predictor

TOKEN = "correct-horse-battery-staple"


@pytest.mark.slow
def test_a_kill_leaves_jobs_done_or_lost(model, volume, tmp_path, capsys):
    long_volume = write_long_volume(tmp_path / "long.nii.gz").read_bytes()
    state = tmp_path / "state"
    with RunningServer(f"tiny={model}", "--state", state) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        first = client.post("/jobs", content=volume.read_bytes()).json()["id"]
        wait_for(client, first)
        others = [client.post("/jobs", content=long_volume).json()["id"] for _ in range(3)]
        wait_for(client, others[0], ("running",))
        told = refusal(capsys, f"tiny={model}", "--state", state, "--port", "0")
        assert f"process {server.process.pid}" in told
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
        for pid in workers_of(server.process.pid):  # while it has nothing to do, which the next client need not know
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert wait_for(client, client.post("/jobs", content=volume.read_bytes()).json()["id"])["state"] == "done"
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


@pytest.mark.slow
def test_the_end_is_told_to_those_who_wait_and_no_folder_of_a_model_to_anybody(model, volume, tmp_path):
    own = shutil.copytree(model, tmp_path / "secret_place")
    long_volume = write_long_volume(tmp_path / "long.nii.gz").read_bytes()
    with RunningServer(f"tiny={own}", "--state", tmp_path / "state") as server, httpx.Client(base_url=server.url) as client:
        shutil.rmtree(own)
        for pid in workers_of(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        told = wait_for(client, client.post("/jobs", content=volume.read_bytes()).json()["id"])
        assert told["error"] == "the models could not be loaded again; the server's log says why"
        shutil.copytree(model, own)
        job = client.post("/jobs", content=long_volume).json()["id"]
        wait_for(client, job, ("running",))
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(httpx.post, f"{server.url}/infer/tiny", content=long_volume, timeout=60)
            time.sleep(0.5)
            server.process.terminate()
            answer = waiting.result()
        output, errors = server.process.communicate(timeout=30)
    assert (answer.status_code, answer.json()["detail"]) == (503, "the server has ended; send it again when it is back")
    assert server.process.returncode == 0
    assert f"cdpd: error: {own}: no such folder" in output
    assert "Traceback" not in errors


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
def test_what_it_does_not_start_with(tmp_path, monkeypatch, capsys, arguments, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert words in refusal(capsys, f"tiny={tmp_path}", "--state", tmp_path / "state", *arguments)


@pytest.mark.slow
def test_no_model(tmp_path, capsys):
    told = refusal(capsys, f"tiny={tmp_path}", "--state", tmp_path / "state", "--port", "0")
    assert told == f"cdpd: error: {tmp_path}: no plans.json; give a model folder, TRAINER__PLANS__CONFIGURATION\n"


def test_a_folder_of_somebody_else(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds something else than a server's jobs" in refusal(capsys, "tiny=x", "--state", tmp_path, "--port", "0")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_names_of_models(tmp_path, capsys):
    folder = tmp_path / "Dataset400_MultiCT" / "nnUNetTrainerCDPD__nnUNetCDPDPlans__3d_fullres"
    both = refusal(capsys, folder, tmp_path / "other" / "Dataset400_MultiCT", "--port", "0")
    assert "are both called Dataset400_MultiCT; name one, as other=" in both
    assert "'a b' cannot be a part of an address" in refusal(capsys, f"a b={folder}", "--port", "0")


def refusal(capsys, *arguments):
    """What is told, in one line, of a server that does not start."""
    capsys.readouterr()
    assert main(["serve", *map(str, arguments)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


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
