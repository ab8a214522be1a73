"""What every `--help` shows, and that the lines which it gives as examples can be typed."""

import argparse
import re
import shlex

import pytest

from nnunetv2_cdpd.cli.commands import COMMANDS, module_of, parser_of
from nnunetv2_cdpd.cli.main import main


def commands_in(example):
    """The calls of cdpd in an example, each as its arguments."""
    lines = [line.partition(" #")[0] for line in example.replace("\\\n", " ").splitlines()]
    called = [re.search(r"\bcdpd ([^>)]*)", line) for line in lines]
    return [shlex.split(found[1]) for found in called if found]


EXAMPLES = [(name, example) for name in COMMANDS for example in module_of(name).EXAMPLES]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_can_be_typed(name, example, monkeypatch):
    called = commands_in(example)
    assert name in {command for command, *_ in called}
    for command, *arguments in called:
        if COMMANDS[command].takes_any_argument:
            parse_with_nnunets_parser(monkeypatch, command, arguments)
        else:
            parser_of(command).parse_args(arguments)


def parse_with_nnunets_parser(monkeypatch, command, arguments):
    """Run a command of nnU-Net's until it has read its arguments, which are all known to it."""

    class Parsed(Exception):
        pass

    def parse_known_args(parser, *given):
        parsed.append(parse(parser, *given))
        if len(parsed) == 1:  # ours, which hands on what it does not know
            return parsed[0]
        raise Parsed

    parsed, parse = [], argparse.ArgumentParser.parse_known_args
    with monkeypatch.context() as patch, pytest.raises(Parsed):
        patch.setattr("nnunetv2_cdpd.cli.host_checks.peeked", lambda *given, **options: None)  # there are no datasets here
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        main([command, *arguments])
    assert parsed[1][1] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_ends_with_one_to_four_examples(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    examples = module_of(name).EXAMPLES
    shown = "\n".join(f"  {line}" for example in examples for line in example.splitlines())
    assert 1 <= len(examples) <= 4 and text.endswith(f":\n{shown}\n") and f"usage: cdpd {name}" in text
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("name", COMMANDS)
def test_what_prints_progress_can_be_quiet(name):
    assert ("--quiet" in parser_of(name).format_help()) is not COMMANDS[name].answers
