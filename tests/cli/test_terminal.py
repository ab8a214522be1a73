"""What a command shows beside its answer: warnings of libraries, --quiet, JSON for programs."""

import json
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from nnunetv2_cdpd.cli import main as cli
from nnunetv2_cdpd.cli.commands import COMMANDS, Command
from nnunetv2_cdpd.cli.flags import report_failed
from nnunetv2_cdpd.cli.terminal import LIBRARY_WARNINGS, print_json, quiet, without_library_warnings
from nnunetv2_cdpd.conversion.registry import public_datasets
from nnunetv2_cdpd.doctor import FAIL, NOTE, Row
from nnunetv2_cdpd.errors import UserError

WARN = "import warnings; warnings.warn_explicit({message!r}, {category}, 'x.py', 1, module={module!r})"


def stderr_of(*code, **variables):
    """What a Python of its own says on stderr."""
    started = [subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True) for text in code]
    return [process.communicate()[1] for process in started]


def test_warnings_of_libraries_are_left_out_and_no_others():
    row = LIBRARY_WARNINGS[0]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        warnings.resetwarnings()
        with without_library_warnings():
            for begins, module in ((row.begins, row.module), (row.begins, f"{row.module}_of_ours"), ("Another", row.module)):
                warnings.warn_explicit(f"{begins}: it is so", row.category, "x.py", 1, module=module)
            warnings.warn_explicit(row.begins, UserWarning, "x.py", 1, module=row.module)
    assert [(str(warning.message), warning.category) for warning in told] == [
        (f"{row.begins}: it is so", row.category),
        ("Another: it is so", row.category),
        (row.begins, UserWarning),
    ]


def test_processes_that_a_command_starts_leave_them_out_too(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:mine")
    row = LIBRARY_WARNINGS[0]
    facts = {"category": row.category.__name__, "module": row.module}
    with without_library_warnings():
        told = stderr_of(*(WARN.format(message=message, **facts) for message in (row.begins, "mine", "other")))
    assert told[:2] == ["", ""] and "FutureWarning: other" in told[2]
    assert os.environ["PYTHONWARNINGS"] == "ignore:mine"


def test_who_asks_for_all_warnings_as_errors_gets_them():
    row = LIBRARY_WARNINGS[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with without_library_warnings(), pytest.raises(FutureWarning):
            warnings.warn_explicit(row.begins, row.category, "x.py", 1, module=row.module)


@pytest.mark.parametrize("row", LIBRARY_WARNINGS)
def test_a_row_can_be_said_in_pythons_variable(row):
    assert not set(":,") & set(row.begins + row.module)


# ---- quiet -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch):
    """A function that makes `cdpd test` run another function."""

    def register(run):
        module = SimpleNamespace(DESCRIPTION="A test.", EXAMPLES=(), add_arguments=lambda parser: None, run=run)
        monkeypatch.setitem(sys.modules, "nnunetv2_cdpd.cli.test", module)
        monkeypatch.setitem(COMMANDS, "test", Command("a test"))

    return register


def noisy(args):
    print("much")
    warnings.warn("beware", stacklevel=1)
    for _ in tqdm(range(2), "bar"):
        print("more", file=sys.stderr)
    script = "import sys; from tqdm import tqdm; print('child'); [None for _ in tqdm(range(2))]; print('broken', file=sys.stderr)"
    subprocess.run([sys.executable, "-c", script], check=True)
    return report_failed([("a", "odd"), ("b", "odd")], args.flags)


def test_quiet_shows_errors_only_and_keeps_the_exit_code(command, capfd):
    command(noisy)
    assert cli.main(["test", "--quiet"]) == 1
    assert capfd.readouterr() == ("", "broken\ncdpd: error: case a, b: odd\n")
    with pytest.warns(UserWarning, match="beware"):
        assert cli.main(["test"]) == 1
    out, err = capfd.readouterr()
    assert "much" in out and "child" in out and "bar: 100%" in err and "more" in err


def test_quiet_shows_a_users_mistake_and_what_else_went_wrong(command, capsys):
    def mistaken(args):
        raise UserError("wrong; do this")

    def broken(args):
        raise RuntimeError("a mistake of ours")

    command(mistaken)
    assert cli.main(["test", "-q"]) == 1
    assert capsys.readouterr() == ("", "cdpd: error: wrong; do this\n")
    command(broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.main(["test", "-q"])


def test_all_is_as_before_afterwards(capfd):
    variables = dict(os.environ)
    with quiet():
        print("nothing")
    os.write(1, b"shown\n")
    print("told")
    assert capfd.readouterr().out == "shown\ntold\n" and dict(os.environ) == variables


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_what_is_printed_on_the_way_to_json_goes_to_stderr(capsys):
    def make():
        print("nnUNet_raw is not defined")
        return {"a": [1]}

    print_json(make)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": [1]} and err == "nnUNet_raw is not defined\n"


def test_doctor_as_json(monkeypatch, capsys):
    monkeypatch.setattr("nnunetv2_cdpd.cli.doctor.examine", lambda: iter([Row(NOTE, "a", "so"), Row(FAIL, "b", "it is")]))
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "rows": [{"status": "note", "name": "a", "text": "so"}, {"status": "FAIL", "name": "b", "text": "it is"}],
        "broken": ["b"],
    }
    monkeypatch.setattr("nnunetv2_cdpd.cli.doctor.examine", lambda: iter([Row(NOTE, "a", "so")]))
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["broken"] == []


def test_sources_as_json(capsys):
    assert cli.main(["sources", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [dataset["name"] for dataset in told] == list(public_datasets())
    assert all(dataset["license"] and dataset["link"] and dataset["structures"] for dataset in told)
    assert cli.main(["sources", "kits23", "--json"]) == 0
    (kits,) = json.loads(capsys.readouterr().out)
    assert kits["name"] == "KITS23" and kits["num_cases"] == 489
    assert kits["merged_labels"] == {"kidney": ["right_kidney", "left_kidney"]}
    assert kits["annotates"] == {"KITS23": ["kidney", "kidney_tumor", "kidney_cyst"]}
