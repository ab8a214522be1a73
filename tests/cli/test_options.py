"""Places that are given by position or by nnU-Net's flag, and that what could be typed before can be typed still."""

import argparse

import pytest

from nnunetv2_cdpd.cli.main import COMMANDS, main, module_of
from nnunetv2_cdpd.cli.options import by_position
from nnunetv2_cdpd.link import DEFAULT_PLANS


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
        ("report", ["x", "--images", "i", "--output", "o"], ["x", "--images", "i", "--out", "o"]),
        ("import-official", ["x.pth", "-o", "x"], ["-i", "x.pth", "-o", "x"]),
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


@pytest.mark.parametrize(
    ("argv", "folder", "images"),
    [
        (["x"], "x", None),
        (["-i", "x"], "x", None),
        (["-i", "x", "--images", "y"], "x", "y"),
        (["x", "--images", "y"], "x", "y"),
        (["x", "-i", "y"], "x", "y"),  # as it was spelled first
        (["-i", "y", "x"], "x", "y"),
    ],
)
def test_folder_and_images_of_a_report(argv, folder, images, monkeypatch):
    calls = []
    monkeypatch.setattr("nnunetv2_cdpd.report.folder.report_folder", lambda *given, **named: calls.append((*given, named)))
    assert main(["report", *argv]) == 0
    assert str(calls[0][0]) == folder and str(calls[0][1].get("images")) == str(images)


@pytest.mark.parametrize("argv", [[], ["x", "-i", "y", "--images", "z"]])
def test_report_without_one_folder_is_refused(argv, capsys):
    assert main(["report", *argv]) == 1
    assert "give one folder, FOLDER or -i FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "name", "folder"),
    [
        (["KITS23", "x"], "KITS23", "x"),
        (["KITS23", "-i", "x"], "KITS23", "x"),
        (["-i", "x", "KITS23"], "KITS23", "x"),
        (["--spec", "s.yaml", "x"], "s.yaml", "x"),
        (["--spec", "s.yaml", "-i", "x"], "s.yaml", "x"),
    ],
)
def test_name_and_folder_of_a_conversion(argv, name, folder, monkeypatch):
    class Stop(Exception):
        pass

    def convert(dataset, folder, *rest, **options):
        raise Stop(dataset, str(folder))

    monkeypatch.setattr("nnunetv2_cdpd.conversion.registry.public_dataset", lambda name: name)
    monkeypatch.setattr("nnunetv2_cdpd.conversion.declaration_file.read_declaration", str)
    monkeypatch.setattr("nnunetv2_cdpd.conversion.run.convert", convert)
    with pytest.raises(Stop) as stop:
        main(["convert", *argv])
    assert stop.value.args == (name, folder)


@pytest.mark.parametrize("argv", [["KITS23"], ["-i", "x"], ["--spec", "s.yaml"], ["KITS23", "x", "-i", "y"]])
def test_conversion_without_a_name_or_a_folder_is_refused(argv, capsys):
    assert main(["convert", *argv]) == 1
    assert "give the name of a public dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "by_positions"),
    [
        ("400 2d 0 -p X", "400 2d 0 -p X"),
        ("-d 400 -c 2d -f 0 -p X", "400 2d 0 -p X"),
        ("-p X -f 0 -d 400 -c 2d", "400 2d 0 -p X"),
        ("-d 400 2d 0 --c", "400 2d 0 --c"),
        ("400 0 -c 2d", "400 2d 0"),
        ("400 2d -f all", "400 2d all"),
        ("-p X 400 2d -f 0", "-p X 400 2d 0"),
        ("400 2d 0 -device cpu -d", "400 2d 0 -device cpu -d"),
    ],
)
def test_positions_of_nnunets_commands_by_flags(given, by_positions):
    assert " ".join(by_position(given.split(), "-d", "-c", "-f")) == by_positions


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["train", "400", "3d_fullres", "0"], {"plans_identifier": "nnUNetCDPDPlans", "trainer_class_name": "nnUNetTrainerCDPD"}),
        (["train", "-d", "400", "-c", "2d", "-f", "1", "-p", "P"], {"plans_identifier": "P", "configuration": "2d", "fold": "1"}),
    ],
)
def test_training_gets_what_was_given_and_our_defaults(argv, expected, monkeypatch):
    from nnunetv2.run import run_training

    calls = []

    def training(
        dataset_name_or_id, configuration, fold, trainer_class_name="nnUNetTrainer", plans_identifier="nnUNetPlans",
        pretrained_weights=None, num_gpus=1, export=False, continue_training=False, only_run_validation=False, disable=False,
        best=False, device=None,
    ):  # fmt: skip
        calls.append(locals())

    monkeypatch.setattr(run_training, "run_training", training)
    monkeypatch.setattr("nnunetv2_cdpd.cli.host_checks.check_training_inputs", lambda *given: None)
    assert main([*argv, "-device", "cpu"]) == 0
    assert calls[0]["dataset_name_or_id"] == "400" and expected.items() <= calls[0].items()
    assert parsed("predict", "-i", "i", "-o", "o", "-d", "400")["plans"] == DEFAULT_PLANS == "nnUNetCDPDPlans"
