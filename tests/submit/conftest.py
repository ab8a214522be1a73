import os

import pytest
from builders.submit import write_probe


@pytest.fixture
def place(tmp_path, nnunet_folders, monkeypatch):
    """A working folder of its own with a name of hard letters, and a program to submit in PATH."""
    folder = tmp_path / "it's 50%d work"
    folder.mkdir()
    write_probe(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("nnunetv2_cdpd.link.ensure_linked", lambda: None)
    for name in ("CDPD_SAVE_MINUTES", "nnUNet_def_n_proc", "nnUNet_n_proc_DA"):
        monkeypatch.delenv(name, raising=False)
    return folder
