"""`argument NAME`, as the library says it, becomes the flag of the command that runs."""

import argparse
import sys
from types import SimpleNamespace

import pytest

from nnunetv2_cdpd.cli import main as cli
from nnunetv2_cdpd.cli.commands import COMMANDS, Command
from nnunetv2_cdpd.cli.flags import flags_of, report_failed, with_flags
from nnunetv2_cdpd.errors import UserError


@pytest.fixture
def flags():
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("folder")
    parser.add_argument("-d", "--id", dest="dataset_id")
    parser.add_argument("--copy", action="store_true")
    parser.add_argument("--no-search", action="store_false", dest="search")
    parser.add_argument("--slow", action="store_false", dest="fast")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("-old", dest="folder", help=argparse.SUPPRESS)
    return flags_of(parser)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("argument dataset_id: 5 is taken", "-d: 5 is taken"),
        ("a.nii.gz: give argument copy, or `argument fast`", "a.nii.gz: give --copy, or `--fast`"),
        ("argument dataset 7 and argument folder x: the same", "DATASET 7 and folder x: the same"),
        ("argument search: nothing to do", "--no-search: nothing to do"),
        ("give argument allow_missing", "give argument allow_missing"),
        ("argument copyright: no", "argument copyright: no"),
        ("the arguments copy and fast; an argument", "the arguments copy and fast; an argument"),
        ("two lines\n  argument copy: x", "two lines\n  --copy: x"),
    ],
)
def test_arguments_of_the_command_become_flags_and_all_else_stays(flags, text, told):
    assert with_flags(text, flags) == told


@pytest.mark.parametrize(
    "path", ["/data/argument copy/a.nii.gz", "my argument copy/b", "argument copy.nii.gz", "/x/my-argument copy"]
)
def test_a_path_of_the_user_stays_as_it_is(path, flags):
    assert with_flags(f"{path}: give argument copy", flags) == f"{path}: give --copy"


def test_what_the_user_wrote_stays_as_it_is(flags, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cdpd", "labels", "an argument copy"])
    assert (
        with_flags("an argument copy: no such folder; give argument copy", flags)
        == "an argument copy: no such folder; give --copy"
    )


def test_failed_cases_are_a_line_each_and_exit_code_1(flags, capsys):
    assert report_failed([], flags) == 0
    assert report_failed([("a", "give argument copy"), ("b", "MemoryError")], flags) == 1
    assert capsys.readouterr() == ("", "cdpd: error: case 'a': give --copy\ncdpd: error: case 'b': MemoryError\n")


@pytest.mark.parametrize(
    ("failed", "lines"),
    [
        # in the order of the cases, each reason once
        ([("b", "odd"), ("a", "even"), ("c", "odd")], ["case b, c: odd", "case 'a': even"]),
        ([(str(number), "no space") for number in range(15)], ["case 0, 1, 2 and 12 more: no space"]),
        # a path that differs by the case's name only
        (
            [("a", "/data/a_0000.nii.gz: torn; copy it again"), ("b", "/data/b_0000.nii.gz: torn; copy it again")],
            ["case a, b: /data/a_0000.nii.gz: torn; copy it again (likewise the others)"],
        ),
        (
            [("a", "/data/a/image.nii: x"), ("ab", "/data/ab/image.nii: x")],
            ["case a, ab: /data/a/image.nii: x (likewise the others)"],
        ),
        ([("1", "1 voxel"), ("2", "2 voxels")], ["case '1': 1 voxel", "case '2': 2 voxels"]),
        ([("1", "/x/12.nii: no"), ("2", "/x/22.nii: no")], ["case '1': /x/12.nii: no", "case '2': /x/22.nii: no"]),
    ],
)
def test_equal_reasons_are_one_line(flags, failed, lines, capsys):
    assert report_failed(failed, flags) == 1
    assert capsys.readouterr().err.splitlines() == [f"cdpd: error: {line}" for line in lines]


@pytest.fixture
def failing(monkeypatch):
    """A function that makes `cdpd test` raise an error."""

    def register(error, **flags):
        def run(args):
            raise error

        def add_arguments(parser):
            parser.add_argument("-d", dest="dataset_id")

        module = SimpleNamespace(DESCRIPTION="A test.", EXAMPLES=(), add_arguments=add_arguments, run=run)
        module.NNUNET_FLAGS = {"device": "-device"}
        monkeypatch.setitem(sys.modules, "nnunetv2_cdpd.cli.test", module)
        monkeypatch.setitem(COMMANDS, "test", Command("a test", **flags))

    return register


@pytest.mark.parametrize("takes_any_argument", [False, True])
def test_a_users_mistake_names_the_flag(failing, takes_any_argument, capsys):
    failing(UserError("argument dataset_id: 5 is taken; argument device: cuda"), takes_any_argument=takes_any_argument)
    assert cli.main(["test"]) == 1
    assert capsys.readouterr().err == "cdpd: error: -d: 5 is taken; -device: cuda\n"


def test_a_mistake_without_words_is_not_an_empty_line(failing, capsys):
    failing(UserError())
    assert cli.main(["test"]) == 1
    assert capsys.readouterr().err == "cdpd: error: UserError\n"
