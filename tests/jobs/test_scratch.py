"""Scratch folders: private, removed at the end, and after a kill by the next command of the same user."""

import os
import subprocess
import sys
import tempfile

import pytest

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.jobs import remove_scratch, scratch_folder

HOLDER = """
import sys
from nnunetv2_cdpd.jobs import scratch_folder
with scratch_folder("test") as folder:
    (folder / "big").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(temporary):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stdout.readline().startswith(str(temporary))
    yield process
    process.kill()
    process.wait()


def test_a_scratch_folder_is_there_for_its_block_only(temporary):
    with scratch_folder("test") as folder:
        assert folder.parent == temporary and folder.is_dir()
        assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_command_and_what_lives_stays(temporary, holder, capsys):
    (temporary / "of_others").mkdir()
    with scratch_folder("test") as mine:
        assert main(["sources"]) == 0
        assert len([path for path in temporary.iterdir() if path.is_dir()]) == 3 and mine.is_dir()
        holder.kill()
        holder.wait()
        assert main(["sources"]) == 0
        assert mine.is_dir()
    assert [path.name for path in temporary.iterdir()] == ["of_others"]


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="gives files to another user")
def test_what_belongs_to_another_user_stays(temporary, holder):
    holder.kill()
    holder.wait()
    left = sorted(temporary.iterdir())
    for path in left:
        os.chown(path, 12345, 12345)
    remove_scratch()
    assert sorted(temporary.iterdir()) == left and len(left) == 2
