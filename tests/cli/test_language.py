"""One language of flags: a spelling means the same, and is spelled the same, in all commands."""

from collections import defaultdict

import pytest

from nnunetv2_cdpd.cli.commands import COMMANDS, parser_of

OPTIONS = [(name, action) for name in COMMANDS for action in parser_of(name)._actions if action.option_strings]
SPELLINGS = {
    "-o": ("-o", "--out", "--output"),
    "-np": ("-np", "--np"),
    "-device": ("-device", "--device"),
    "-num_parts": ("-num_parts", "--num-parts"),
    "-part_id": ("-part_id", "--part-id"),
    "-q": ("-q", "--quiet"),
}


@pytest.mark.parametrize("first", SPELLINGS)
def test_a_flag_has_the_same_spellings_everywhere(first):
    found = {name: tuple(action.option_strings) for name, action in OPTIONS if first in action.option_strings}
    assert len(found) >= 2 and set(found.values()) == {SPELLINGS[first]}


def test_a_short_flag_means_one_thing():
    meanings = defaultdict(set)
    for name, action in OPTIONS:
        for option in action.option_strings:
            meanings[option].add((name, action.metavar if action.nargs != 0 else ""))
    datasets = {metavar for _, metavar in meanings["-d"]}
    assert datasets == {"DATASET", "ID"}  # ID: of the dataset that is made
    assert {name for name, metavar in meanings["-d"] if metavar == "ID"} == {"convert"}
    assert {name for name, _ in meanings["-i"]} >= {"convert", "clean", "predict", "report", "import-official"}
    assert {name for name, _ in meanings["-d"]} >= {"audit", "merge", "labels", "embed", "predict"}
