"""written_beside: there as a whole or not at all, whoever dies or writes at the same time, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import read_json, write_json, write_text, written_beside
from nnunetv2_cdpd.jobs.files import BESIDE, remove_leftovers

WRITER = """
import sys, time
from pathlib import Path
from nnunetv2_cdpd.jobs import written_beside
with written_beside(Path(sys.argv[1])) as beside:
    beside.write_text("half")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def writer(path, seconds):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-c", WRITER, str(path), str(seconds)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "writing\n"
    return process


def test_a_file_appears_when_it_is_whole_and_under_its_own_ending(tmp_path):
    path = tmp_path / "case.nii.gz"
    path.write_text("old")
    with written_beside(path) as beside:
        assert beside.name == path.name and beside.parent.parent.parent == tmp_path
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["case.nii.gz"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="broken"), written_beside(path) as beside:
        beside.write_text("half")
        raise RuntimeError("broken")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_files_that_a_writer_puts_beside_come_along_the_named_one_last(tmp_path, monkeypatch):
    moved = []
    replace = os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (moved.append(os.path.basename(b)), replace(a, b))[1])
    with written_beside(tmp_path / "case.tif") as beside:
        beside.write_text("pixels")
        beside.with_name("zz_case.json").write_text("spacing")
    assert moved == ["zz_case.json", "case.tif"] and names(tmp_path) == ["case.tif", "zz_case.json"]


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = tmp_path / "masks"
    path.mkdir()
    (path / "old").touch()
    with written_beside(path) as beside:
        beside.mkdir()
        (beside / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"] and names(tmp_path) == ["masks"]


def test_permissions_are_those_of_any_other_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_is_told_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write_text(tmp_path / "missing" / "a.txt", "text")


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_what_a_killed_process_left_is_cleared_away_by_the_next_one(tmp_path):
    process = writer(tmp_path / "a.txt", 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left, lock = names(tmp_path)
    assert left.startswith(BESIDE) and lock.startswith(left)
    subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "b.txt"), "0"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert names(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("left", [("x.lock",), ("x.lock", "x/made/half")])
def test_a_process_killed_at_any_moment_leaves_nothing_for_good(tmp_path, left):
    for name in left:
        path = tmp_path / f"{BESIDE}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_text(tmp_path / "a.txt", "text")
    assert error.value.filename == str(tmp_path / "a.txt") and names(tmp_path) == ["a.txt"]


def test_what_is_being_written_is_not_taken_for_a_leftover(tmp_path):
    process = writer(tmp_path / "a.txt", 2)
    remove_leftovers(tmp_path)
    write_text(tmp_path / "b.txt", "text")
    assert len(names(tmp_path)) == 3  # with the lock
    assert process.wait(timeout=30) == 0 and names(tmp_path) == ["a.txt", "b.txt"]


def test_two_processes_write_one_path_at_a_time(tmp_path):
    processes = [writer(tmp_path / "a.txt", 1) for _ in range(2)]
    start = time.monotonic()
    write_text(tmp_path / "a.txt", "mine")
    assert time.monotonic() - start < 1  # nobody waits for anybody
    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    assert (tmp_path / "a.txt").read_text() == "half" and names(tmp_path) == ["a.txt"]


def test_a_hard_link_to_a_users_file_is_replaced_and_the_users_file_kept(tmp_path):
    users, output = tmp_path / "users", tmp_path / "output"
    users.write_text("scan")
    for content in ("scan", "other"):
        with written_beside(output) as beside:
            os.link(users, beside) if content == "scan" else beside.write_text(content)
        assert (output.read_text(), users.read_text()) == (content, "scan")


def test_json_comes_back_and_damage_is_none(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "ä"})
    assert list(read_json(tmp_path / "a.json").items()) == [("b", [1, None]), ("a", "ä")]
    (tmp_path / "a.json").write_text("{")
    assert read_json(tmp_path / "a.json") is None and read_json(tmp_path / "b.json") is None


def test_an_error_names_the_file_to_be_and_not_the_one_beside(tmp_path):
    with pytest.raises(OSError) as told, written_beside(tmp_path / "a.txt") as beside:
        raise OSError(28, "No space left on device", str(beside))
    assert told.value.filename == str(tmp_path / "a.txt") and told.value.errno == 28
    with pytest.raises(OSError) as told, written_beside(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
    assert told.value.filename == str(tmp_path / "other")
    with pytest.raises(UserError) as told, written_beside(tmp_path / "masks") as beside:
        raise UserError(f"{beside / 'liver.nii.gz'}: cannot be written whole")
    assert str(told.value) == f"{tmp_path / 'masks' / 'liver.nii.gz'}: cannot be written whole"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as raised, written_beside(tmp_path / "a.txt"):
        Path("/dev/full").write_text("x")
    assert raised.value.filename == str(tmp_path / "a.txt") and names(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, a folder in which no file can be made")
def test_a_folder_in_which_no_file_can_be_made_is_named():
    with pytest.raises(OSError, match="no file can be made there.*/proc'"):
        write_text(Path("/proc/new.json"), "")
