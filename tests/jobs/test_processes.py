"""in_processes: no job stops the others, not even by taking its process along."""

import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from builders.jobs import square_or_die
from builders.project import CLONE

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import in_processes, number_of_processes


def test_raising_job_stops_no_other_in_this_process():
    outcomes = dict(in_processes(square_or_die, 1)([1, 4, 2]))
    assert (outcomes[1], outcomes[2], str(outcomes[4])) == (1, 4, "four")


def test_dying_job_stops_no_other_process():
    outcomes = dict(in_processes(square_or_die, 2)([1, 2, 3, 4, 5]))
    assert (outcomes[1], outcomes[2], outcomes[5]) == (1, 4, 25)
    assert isinstance(outcomes[4], ValueError)
    told = str(outcomes[3])
    assert "exit code 1: what it runs ended it, or a script without `if __name__" in told and "\n" not in told


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_a_killed_process_is_told_from_one_that_crashed():
    killed, crashed = int(signal.SIGKILL), int(signal.SIGSEGV)
    outcomes = dict(in_processes(square_or_die, 2)([killed, crashed, 2]))
    assert "was killed, most likely for lack of memory" in str(outcomes[killed])
    assert str(outcomes[crashed]) == "its process crashed (SIGSEGV)" and outcomes[2] == 4


def test_jobs_that_a_broken_pool_refuses_are_done_later(monkeypatch):
    class Breaking(ProcessPoolExecutor):
        def submit(self, function, job):
            if self._max_workers == 2 and job == 5:
                raise BrokenProcessPool
            return super().submit(function, job)

    monkeypatch.setattr("nnunetv2_cdpd.jobs.processes.ProcessPoolExecutor", Breaking)
    assert dict(in_processes(square_or_die, 2)([1, 5, 2])) == {1: 1, 5: 25, 2: 4}


def test_a_dying_process_slows_down_only_the_jobs_that_were_handed_out(monkeypatch):
    pools = []

    class Dying:
        def __init__(self, num_processes, mp_context):
            self.is_broken = False
            pools.append(num_processes)

        def submit(self, function, job):
            self.is_broken |= job == 3 and pools[-1] == 2
            future = Future()
            if self.is_broken:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(function(job))
            return future

        def shutdown(self, **how):
            pass

    monkeypatch.setattr("nnunetv2_cdpd.jobs.processes.ProcessPoolExecutor", Dying)
    jobs = list(range(1000))
    assert dict(in_processes(str, 2)(jobs)) == {job: str(job) for job in jobs}
    assert pools == [2, 1, 2]  # of a thousand jobs, each alone in a process that first imports everything, it were days


def test_the_number_of_processes_is_what_is_given_else_at_most_one_per_core_and_job(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr("nnunetv2.configuration.default_num_processes", 8)
    assert [number_of_processes(None, jobs, each) for jobs, each in ((10, 1), (2, 1), (11, 4), (3, 4))] == [3, 2, 2, 1]
    assert number_of_processes(7, 1) == 7
    with pytest.raises(UserError, match="argument num_processes 0: give 1 or more"):
        number_of_processes(0, 1)


def run_script(path, text):
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CLONE), str(CLONE / "tests")])}
    return subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_script_without_guard_is_told_once(tmp_path):
    script = tmp_path / "script.py"
    done = run_script(
        script, "import math\nfrom nnunetv2_cdpd.jobs import in_processes\nprint(dict(in_processes(math.sqrt, 2)([1, 4, 9])))\n"
    )
    assert done.returncode == 1 and done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(
        f'UserError: {script}: starts processes when it is imported; put its calls under `if __name__ == "__main__":`'
    )
    assert done.stderr.count("Traceback") == 1  # the processes themselves say nothing


def test_a_script_with_guard_runs(tmp_path):
    text = "import math\nfrom nnunetv2_cdpd.jobs import in_processes\n"
    text += "if __name__ == '__main__':\n    print(sorted(in_processes(math.sqrt, 2)([1, 4])))\n"
    done = run_script(tmp_path / "script.py", text)
    assert done.returncode == 0 and done.stdout == "[(1, 1.0), (4, 2.0)]\n"
