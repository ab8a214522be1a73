"""Places that are given by position or by nnU-Net's flag, and that what could be typed before can be typed still."""

import argparse

import pytest

from nnunetv2_cdpd.cli.main import COMMANDS, module_of


def parsed(command, *argv):
    parser = argparse.ArgumentParser(command)
    module_of(command).add_arguments(parser)
    return vars(parser.parse_args(argv))


@pytest.mark.parametrize(
    "argv",
    [["A", "B"], ["-i", "A", "B"], ["-i", "A", "-o", "B"], ["A", "-o", "B"], ["-o", "B", "A"], ["-np", "2", "A", "--out", "B"]],
)
def test_folders_by_position_or_by_flag(argv):
    args = parsed("clean", *argv)
    assert (str(args["in_dir"]), str(args["out_dir"])) == ("A", "B")


@pytest.mark.parametrize("argv", [[], ["A"], ["-i", "A"], ["-o", "B"], ["-i", "A", "B", "C"], ["A", "-i", "B", "C"]])
def test_missing_and_repeated_places_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed("clean", *argv)
    assert stop.value.code == 2 and "usage: clean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "one", "other"),
    [
        ("labels", ["400", "--check"], ["-d", "400", "--check"]),
        ("embed", ["400"], ["-d", "400"]),
        ("audit", ["301", "302", "-o", "x"], ["-d", "301", "302", "--output", "x"]),
        ("audit", ["301", "--pictures", "3"], ["-d", "301", "--pictures", "3"]),
        ("convert", ["KITS", "x", "--part-id", "1", "--num-parts", "2"], ["KITS", "x", "-part_id", "1", "-num_parts", "2"]),
        ("convert", ["KITS", "x", "-np", "2", "-d", "7"], ["--np", "2", "KITS", "x", "--id", "7"]),
        ("demo", ["--out", "x", "-device", "cpu"], ["-o", "x", "--device", "cpu"]),
        ("evaluate", ["p", "t", "--dataset", "7", "--output", "x"], ["p", "t", "-d", "7", "-o", "x"]),
        ("merge", ["-d", "1", "2", "--id", "3", "--name", "N"], ["--datasets", "1", "2", "--id", "3", "--name", "N"]),
        ("import-official", ["x.pth", "-o", "x"], ["x.pth", "--out", "x"]),
        ("report", ["x", "--images", "i", "--output", "o"], ["x", "-i", "i", "--out", "o"]),
        ("predict", ["-i", "i", "-o", "o", "-m", "m", "--c"], ["-i", "i", "--out", "o", "-m", "m", "--continue_prediction"]),
    ],
)
def test_spellings_that_mean_the_same(command, one, other):
    assert parsed(command, *one) == parsed(command, *other)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    parser = argparse.ArgumentParser(command)
    module_of(command).add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []
    assert all(action.metavar or action.choices or action.nargs == 0 for action in parser._actions)
