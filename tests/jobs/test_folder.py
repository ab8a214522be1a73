"""output_folder: one job at a time for a folder, parts share it, and what killed jobs left goes."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import output_folder, write_text
from nnunetv2_cdpd.jobs.files import BESIDE

HOLDER = """
import sys
from pathlib import Path
from nnunetv2_cdpd.jobs import output_folder, written_beside
folder = Path(sys.argv[1])
with output_folder(folder, *map(int, sys.argv[2:])):
    (folder / "inside").mkdir(exist_ok=True)
    with written_beside(folder / "inside" / "half"):
        print("holding", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def holder():
    processes = []

    def start(folder, *part):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), *map(str, part)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_second_process_is_told_which_one_is_there(holder, tmp_path):
    process = holder(tmp_path / "out")
    for part in ((0, 1), (0, 2)):
        with pytest.raises(UserError) as raised, output_folder(tmp_path / "out", *part):
            pass
        assert str(raised.value).startswith(f"{tmp_path / 'out'}: process {process.pid} on ")
        assert str(raised.value).endswith(" is writing there; wait until it has ended, or use another folder")
    process.communicate("")
    with output_folder(tmp_path / "out"):
        pass
    assert process.returncode == 0 and left(tmp_path) == ["out", "out/inside"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_a_killed_process_is_in_nobodys_way_and_leaves_nothing(holder, tmp_path):
    process = holder(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len([name for name in left(tmp_path) if BESIDE in name]) >= 3  # its lock, and a half-written file with another
    with output_folder(tmp_path / "out"):
        assert [name for name in left(tmp_path) if BESIDE in name and "job~" not in name] == []
    assert left(tmp_path) == ["out", "out/inside"]


def test_parts_of_one_work_share_a_folder_but_no_part(holder, tmp_path):
    process = holder(tmp_path / "out", 0, 2)
    with output_folder(tmp_path / "out", 1, 2):
        for part in ((0, 2), (1, 2), (0, 1), (0, 3), (1, 3), (2, 3)):  # of three, each has cases of both of two
            with pytest.raises(UserError, match="is writing there"), output_folder(tmp_path / "out", *part):
                pass
    process.communicate("")
    assert left(tmp_path) == ["out", "out/inside"]


def test_of_two_that_begin_at_once_one_works(tmp_path):
    told, working, done = [], [], threading.Event()

    def work():
        try:
            with output_folder(tmp_path / "out"):
                working.append(1)
                done.wait(20)
        except UserError as error:
            told.append(str(error))
            done.set()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(working) == 1 and f"process {os.getpid()} on " in told[0]
    assert left(tmp_path) in ([], ["out"])  # where the second one looked in when the first one left


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_of_the_file_system_the_process_stands_in_the_file(code, tmp_path, monkeypatch):
    def no_flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_flock)
    with output_folder(tmp_path / "out"):
        (lock,) = left(tmp_path / "out")
        assert (tmp_path / "out" / lock).read_text().split()[:1] == [str(os.getpid())]
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* is writing there"), output_folder(tmp_path / "out"):
            pass
        write_text(tmp_path / "out" / "a", "whole")
    assert left(tmp_path) == ["out", "out/a"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lines = f"{gone.pid}\n{socket.gethostname()}\n"
    (tmp_path / "out" / f"{BESIDE}job~host~{gone.pid}~0of1~abc.lock").write_text(lines)
    with output_folder(tmp_path / "out"):
        pass
    assert left(tmp_path) == ["out", "out/a"]


def test_folders_that_stay_empty_are_taken_away_again(tmp_path):
    with pytest.raises(ValueError, match="bad"), output_folder(tmp_path / "a" / "b"):
        raise ValueError("bad")
    assert left(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with output_folder(tmp_path / "mine"):
        pass
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert left(tmp_path) == ["a", "a/b", "a/b/file", "mine"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out: is no folder; move it, or use another name"), output_folder(tmp_path / "out"):
        pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything can be written to")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError) as raised, output_folder(tmp_path):
        pass
    assert raised.value.filename == str(tmp_path)
