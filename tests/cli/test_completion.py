"""`cdpd completion`: a script that bash understands and that knows commands and flags; without shtab, the way to it."""

import subprocess
import sys

import pytest

from nnunetv2_cdpd.cli.commands import COMMANDS
from nnunetv2_cdpd.cli.main import main


def test_without_shtab_the_way_to_it_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    told = "cdpd: error: completion needs shtab, which is not installed; run: pip install shtab\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_script_knows_every_command(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS) and ("--list-classes" in script or shell == "tcsh")
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, "")
