"""`cdpd complete`: what is typed reaches the library, and mistakes are told with the flags."""

import pytest

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.completion.settings import CompletionSettings


@pytest.fixture
def called(monkeypatch):
    calls = []

    def complete(*given, report, **named):
        report("argument dataset_id")
        calls.append((given, named))
        return "FOLDER"

    monkeypatch.setattr("nnunetv2_cdpd.completion.run.complete_dataset", complete)
    return calls


def test_what_is_typed_reaches_the_library(called, capsys):
    typed = "complete -d 400 -o 410 --teachers m n --without outlier --low 0.1 --margin 3 --disable_tta --allow-seen -np 2"
    assert main([*typed.split(), "-device", "cpu", "--name", "N"]) == 0
    (given, named), *_ = called
    assert given[0] == "400" and [str(path) for path in given[1]] == ["m", "n"] and given[2:] == (410, "N")
    filters = ("confidence", "agreement", "reliability")
    assert named["settings"] == CompletionSettings(filters, low=0.1, margin_mm=3.0, tta=False)
    assert named["allow_seen"] and named["device"] == "cpu" and named["num_processes"] == 2
    told = capsys.readouterr().out
    assert told.startswith("-o\n\nFOLDER\n\nNext:\n  nnUNetv2_plan_and_preprocess -d 410")


def test_defaults_are_the_librarys_and_the_help_tells_them(called, capsys):
    assert main(["complete", "400", "--id", "410", "--teachers", "m"]) == 0
    assert called[0][0][2] == 410 and called[0][1]["settings"] == CompletionSettings()
    with pytest.raises(SystemExit):
        main(["complete", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in (
        "low",
        "high",
        "least_probability",
        "least_agreement",
        "most_outlying",
        "least_dice",
        "plausible",
        "margin_mm",
        "border_mm",
    ):
        flag = f"--{name.removesuffix('_mm').replace('_', '-')}"
        place = text.index(f"{flag} ", text.index("filters:"))
        assert f"(default: {getattr(CompletionSettings(), name):g})" in text[place : place + 120], name


def test_mistakes_are_told_with_the_flags(nnunet_folders, capsys):
    assert main(["complete", "400", "-o", "410", "--teachers", "m", "--filters", "place"]) == 1
    assert "--filters: no filter place; there are confidence, agreement" in capsys.readouterr().err
    assert main(["complete", "400", "-o", "410", "--teachers", "m", "--high", "0.4"]) == 1
    assert "--low 0.25 and --high 0.4: give one below and one above 0.5" in capsys.readouterr().err
