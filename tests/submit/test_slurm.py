"""cdpd submit with a real Slurm: jobs run in order, arrays, what is stopped goes on, what fails stops those that need it."""

import os
import re
import signal
import time

import pytest
from builders.slurm import CPUS, NODES, running_slurm, why_not
from builders.submit import PROBE, starts

from nnunetv2_cdpd.cli.main import main

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster, place, monkeypatch):
    """The cluster, on which every command is the small program."""
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setattr("nnunetv2_cdpd.submit.script.program_of", lambda command: (str(place.parent / PROBE),))
    yield cluster
    cluster.call("scancel", "--user=root", check=False)


def submit(capsys, *arguments):
    """Numbers of the jobs of each step."""
    assert main(["submit", *arguments]) == 0
    return re.findall(r"^\d+-\w+: jobs? (\d+)", capsys.readouterr().out, re.MULTILINE)


def status(capsys, folder="cdpd_submit"):
    code = main(["submit", "--status", str(folder)])
    return code, capsys.readouterr().out.splitlines()


def wait_for_starts(slurm, path, number):
    end = time.monotonic() + 90  # Slurm on a busy machine takes its time to start a job again
    while len(starts(path)) < number:
        slurm.hurry()
        assert time.monotonic() < end, f"{len(starts(path))} starts, not {number}"
        time.sleep(0.05)
    return starts(path)


def test_steps_run_in_order_and_an_array_in_jobs_of_its_own(slurm, place, capsys, raw):
    """The second step sees what all jobs of the first did; of the environment and the arguments nothing is lost."""
    one, two = submit(capsys, "--", "train", "ok", "order", "0", "1", "2", "--then", "--", PROBE, "ok", "order", 'it\'s "$HOME"')
    slurm.wait(one, two)
    *folds, last = starts(place / "order")
    assert sorted(fold[1:] for fold in folds) == [["0", fold, str(raw), "ok", "order", fold] for fold in "012"]
    assert last[1:] == ["0", "", str(raw), "ok", "order", "it's", '"$HOME"']
    done = [*(f"1-train_{fold}: done" for fold in range(3)), f"2-{PROBE}: done"]
    assert status(capsys) == (0, done) and slurm.state(two) == "COMPLETED"
    assert "start 1:" in (place / "cdpd_submit/1-train_2.log").read_text()


@pytest.mark.slow
def test_a_job_waits_for_jobs_that_were_there_before(slurm, place, capsys):
    (first,) = submit(capsys, "--", PROBE, "wait", "order", "30")
    (second,) = submit(capsys, "--after", first, "--", PROBE, "ok", "order")
    wait_for_starts(slurm, place / "order", 1)
    assert status(capsys, "cdpd_submit_2") == (0, [f"1-{PROBE}: in the queue (pending, Dependency)"])
    assert status(capsys) == (0, [f"1-{PROBE}: in the queue (running)"])
    slurm.call("scontrol", "requeue", first)
    slurm.wait(first, second)
    assert [start[4] for start in starts(place / "order")] == ["wait", "wait", "ok"]


def test_a_failed_job_stops_those_that_need_it_and_is_named(slurm, place, capsys):
    ok = ("--then", "--", PROBE, "ok", "order")
    one, two, three = submit(capsys, "--", "train", "fail", "order", "3", "4", *ok, *ok)
    slurm.wait(one, two, three)
    assert [slurm.state(job) for job in (two, three)] == ["CANCELLED", "CANCELLED"] and len(starts(place / "order")) == 2
    logs = place / "cdpd_submit"
    assert status(capsys) == (1, [
        f"1-train_0: failed (exit code 3; said why it fails; {logs}/1-train_0.log)",
        f"1-train_1: failed (exit code 4; said why it fails; {logs}/1-train_1.log)",
        f"2-{PROBE}: not run (because of 1-train_0, 1-train_1)",
        f"3-{PROBE}: not run (because of 2-{PROBE})",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--time", "soon"), "sbatch says: Invalid --time specification; change what it names, or ask whoever runs the cluster"),
        (("--mem", "900000G"), "sbatch says: Memory specification can not be satisfied Batch job submission failed"),
        (("--gpus", "1"), "sbatch says: Invalid generic resource (gres) specification"),
        (("--sbatch", "nonsense=1"), "sbatch says: unrecognized option '--nonsense=1'"),
        (("--after", "987654"), "--after 987654: Slurm knows no such job, or no more (scontrol says: "),
    ],
)
def test_what_slurm_refuses_is_told_in_a_line_and_nothing_is_left(options, words, slurm, place, capsys):
    assert main(["submit", *options, "--", PROBE, "ok", "order"]) == 1
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert os.listdir(place) == []


def test_a_step_that_slurm_refuses_takes_those_before_it_back(slurm, place, capsys):
    assert main(["submit", "--", PROBE, "wait", "order", "30", "--then", "--partition", "none", "--", PROBE, "ok", "order"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"cdpd: error: 2-{PROBE}: sbatch says: ") and "invalid partition" in captured.err.lower()
    assert captured.err.count("\n") == 1 and "; the jobs before it were cancelled" in captured.err
    (number,) = re.findall(r"job (\d+)", captured.out)
    slurm.wait(number)
    assert slurm.state(number) == "CANCELLED"
    assert main(["submit", "--partition", "none", "--logs", "again", "--", PROBE, "ok", "order"]) == 1
    assert not (place / "again").exists()


# ---- stopped and started again ----------------------------------------------------------------------------------------


def test_a_job_whose_time_is_nearly_up_is_started_again_and_goes_on(slurm, place, capsys):
    """Of an array that one alone; those after it wait for it."""
    one, two = submit(capsys, "--", "train", "wait", "order", "300", "301", "--then", "--", PROBE, "ok", "order")
    wait_for_starts(slurm, place / "order", 2)
    slurm.call("scancel", "--batch", "--signal=USR2", f"{one}_1")  # what Slurm sends 60 s before the end
    wait_for_starts(slurm, place / "order", 3)
    assert starts(place / "order")[2][1:3] == ["1", "1"] and starts(place / "order")[2][-2:] == ["301", "--c"]
    assert slurm.state(f"{one}_0") == "RUNNING" and slurm.state(two) == "PENDING"
    slurm.call("scancel", "--batch", "--signal=USR2", f"{one}_0")
    slurm.wait(one, two)
    order = starts(place / "order")
    assert sorted(start[4:] for start in order[:-1]) == sorted(
        [["wait", "order", fold, *again] for fold in ("300", "301") for again in ((), ("--c",))]
    )
    assert order[-1][4] == "ok" and status(capsys)[0] == 0
    log = (place / "cdpd_submit/1-train_1.log").read_text()
    assert "the time is nearly up; the job is started again and goes on" in log and "start 2:" in log


def test_a_job_is_started_again_so_often_and_no_more(slurm, place, capsys):
    (one,) = submit(capsys, "--requeues", "0", "--", PROBE, "wait", "order", "1")
    wait_for_starts(slurm, place / "order", 1)
    slurm.call("scancel", "--batch", "--signal=USR2", one)
    slurm.wait(one)
    assert slurm.state(one) == "COMPLETED" and len(starts(place / "order")) == 1  # it was done before its time was up
    assert "is not started again: it was 0 times (--requeues)" in (place / f"cdpd_submit/1-{PROBE}.log").read_text()


@pytest.mark.slow
def test_a_preempted_job_is_started_again_and_goes_on(slurm, place, capsys):
    nodes = len(NODES)  # each has cores for one of these jobs
    submit(capsys, "--cpus", str(CPUS), "--partition", "normal", "--", "train", "wait", "order", "30", "31")
    wait_for_starts(slurm, place / "order", nodes)
    (urgent,) = submit(capsys, "--cpus", str(CPUS), "--partition", "urgent", "--", PROBE, "ok", "urgent")
    slurm.wait(urgent)
    wait_for_starts(slurm, place / "order", nodes + 1)
    again = starts(place / "order")[nodes]
    assert again[1] == "1" and again[-1] == "--c" and len(starts(place / "urgent")) == 1


def test_a_job_whose_process_is_killed_fails_with_its_signal(slurm, place, capsys):
    one, two = submit(capsys, "--", PROBE, "wait", "order", "30", "--then", "--", PROBE, "ok", "order")
    ((process, *_),) = wait_for_starts(slurm, place / "order", 1)
    os.kill(int(process), signal.SIGKILL)
    slurm.wait(one, two)
    code, lines = status(capsys)
    assert code == 1 and "failed (exit code 137; " in lines[0] and lines[1] == f"2-{PROBE}: not run (because of 1-{PROBE})"


def test_a_cancelled_job_is_told_as_stopped(slurm, place, capsys):
    one, two = submit(capsys, "--", PROBE, "wait", "order", "30", "--then", "--", PROBE, "ok", "order")
    wait_for_starts(slurm, place / "order", 1)
    slurm.call("scancel", "--signal=KILL", "--full", one)
    slurm.wait(one, two)
    code, lines = status(capsys)
    assert code == 1 and lines[0].startswith(f"1-{PROBE}: stopped (killed, cancelled or out of time: sacct -j {one};")
    assert lines[1] == f"2-{PROBE}: not run (because of 1-{PROBE})"
