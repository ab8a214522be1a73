"""The doctor's rows: what is ok, what is worth a note, what is broken."""

import os
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from nnunetv2_cdpd import doctor, link
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.doctor import FAIL, NOTE, OK, Row
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pretrained import hub

FOUND = {
    "trainer": (True, "nnunetv2_cdpd.trainers.nnUNetTrainerCDPD"),
    "planner": (True, "nnunetv2_cdpd.planners.nnUNetPlannerCDPD"),
    "resampling": (True, "nnunetv2_cdpd.volumes.interpolation"),
}
MISSING = (False, "nnU-Net does not find it")


def rows_by_name(rows):
    return {row.name: row for row in rows}


# ---- table -----------------------------------------------------------------------------------------------------------


def test_long_text_is_wrapped_under_its_column():
    lines = str(Row(OK, "name", "word " * 60)).splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 100
    column = lines[0].index("word")
    assert all(line.index("word") == column for line in lines)


def test_a_path_is_never_broken():
    path = "/a-folder/" * 20
    assert path in str(Row(OK, "name", f"in {path} here"))


def test_exit_code_tells_whether_something_is_broken(monkeypatch, capsys):
    monkeypatch.setattr("nnunetv2_cdpd.cli.doctor.examine", lambda: [Row(OK, "a", ""), Row(NOTE, "b", "")])
    assert main(["doctor"]) == 0
    assert "Everything needed works." in capsys.readouterr().out
    monkeypatch.setattr("nnunetv2_cdpd.cli.doctor.examine", lambda: [Row(OK, "a", ""), Row(FAIL, "b", ""), Row(FAIL, "c", "")])
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "cdpd: error: broken: b, c; the rows above say how to mend each"


def test_a_check_that_fails_becomes_a_row_and_the_others_go_on(monkeypatch):
    def broken():
        raise ImportError("libcudart.so: cannot open\nshared object file")

    for name in ("_versions", "_commands", "_discovery", "_folders", "_vision_weights", "_text_weights"):
        monkeypatch.setattr(doctor, name, lambda: [Row(OK, "other", "")])
    broken.__name__ = "_device"
    monkeypatch.setattr(doctor, "_device", broken)
    rows = list(doctor.examine())
    assert [row.status for row in rows].count(OK) == 6
    assert Row(FAIL, "device", "ImportError: libcudart.so: cannot open shared object file") in rows


# ---- versions and commands -------------------------------------------------------------------------------------------


def test_packages_are_compared_with_what_we_ask_for():
    version = metadata.version("torch")
    rows = rows_by_name(doctor._packages(["torch>=1", "pytest", "no-such-package>=2", 'never-looked-at; extra == "test"']))
    assert rows["torch"] == Row(OK, "torch", version)
    assert rows["no-such-package"].status == FAIL and "pip install 'no-such-package>=2'" in rows["no-such-package"].text
    assert rows["other packages"].text == f"pytest {metadata.version('pytest')}"
    assert "never-looked-at" not in rows
    assert rows_by_name(doctor._packages(["torch<1"]))["torch"].status == FAIL


@pytest.mark.parametrize(
    ("first_line", "status"),
    [
        (f"#!{sys.executable}", OK),
        ("#!/another/environment/bin/python3.11", NOTE),
        ("#!/usr/bin/env bash", OK),  # a shim, of which we know nothing
    ],
)
def test_command_of_another_environment_is_noticed(tmp_path, monkeypatch, first_line, status):
    command = tmp_path / "nnUNetv2_train"
    command.write_text(f"{first_line}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [row.status for row in doctor._commands()] == [status]


def test_command_that_is_not_in_path_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = doctor._commands()
    assert row.status == NOTE and "not in PATH" in row.text


# ---- look-ups --------------------------------------------------------------------------------------------------------


@pytest.fixture
def discovery(monkeypatch):
    """A function: rows of the look-ups, given what nnU-Net finds and whether it can be linked."""

    def rows(answers, problem=None):
        def linked():
            if problem:
                raise UserError(problem)
            return []

        monkeypatch.setattr(link, "link", linked)
        monkeypatch.setattr(doctor, "_look_up", lambda: answers)
        return [row.status for row in doctor._discovery()]

    return rows


def test_look_ups_decide_whether_discovery_works(discovery):
    assert discovery(FOUND) == [OK, OK, OK, OK]
    assert discovery({**FOUND, "trainer": MISSING}) == [OK, FAIL, OK, OK]
    assert discovery({**FOUND, "planner": MISSING}) == [OK, OK, FAIL, OK]
    assert discovery({**FOUND, "resampling": MISSING}) == [OK, OK, OK, FAIL]


def test_read_only_nnunetv2_with_the_trainers_variable_is_worth_notes(discovery):
    only_trainers = {**FOUND, "planner": MISSING, "resampling": MISSING}
    assert discovery(only_trainers, problem="cannot be written to") == [NOTE, OK, NOTE, NOTE]
    assert discovery(dict.fromkeys(FOUND, MISSING), problem="cannot be written to") == [NOTE, FAIL, FAIL, FAIL]


def test_process_that_dies_looking_up_gives_its_last_line(monkeypatch):
    died = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nImportError: broken\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **keywords: died)
    assert doctor._look_up() == dict.fromkeys(FOUND, (False, "ImportError: broken"))


def test_class_that_nnunet_does_not_find_is_told_in_one_line():
    """nnU-Net itself is asked, in an environment that has neither link files nor our variable."""
    answers = doctor._look_up()
    for found, text in answers.values():
        assert isinstance(found, bool) and text and "\n" not in text


# ---- folders, device, weights ----------------------------------------------------------------------------------------


def test_nnunets_folders(nnunet_folders, monkeypatch):
    assert [row.status for row in doctor._folders()] == [OK, OK, OK]
    monkeypatch.delenv("nnUNet_raw")
    nnunet_folders.results.rmdir()
    rows = rows_by_name(doctor._folders())
    assert rows["nnUNet_raw"].status == FAIL and "export nnUNet_raw=" in rows["nnUNet_raw"].text
    nnunet_folders.preprocessed.rmdir()
    nnunet_folders.preprocessed.touch()
    (row,) = [row for row in doctor._folders() if row.name == "nnUNet_preprocessed"]
    assert row.status == FAIL and row.text == f"{nnunet_folders.preprocessed} is a file; run: export nnUNet_preprocessed=FOLDER"
    assert rows["nnUNet_results"].status == NOTE and f"mkdir -p '{nnunet_folders.results}'" in rows["nnUNet_results"].text


def test_folder_that_cannot_be_written_to_is_broken_unless_it_holds_raw_data(nnunet_folders, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert [row.status for row in doctor._folders()] == [NOTE, FAIL, FAIL]


def test_device_without_gpu_is_a_note(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    (row,) = doctor._device()
    assert row.status == NOTE and "-device cpu" in row.text


def test_every_gpu_has_a_row(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpu = SimpleNamespace(name="A GPU", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    assert list(doctor._device()) == [Row(OK, "device cuda:0", "A GPU, 24 GiB"), Row(OK, "device cuda:1", "A GPU, 24 GiB")]


ENCODERS = pytest.mark.parametrize(
    ("check", "variable", "without", "locate"),
    [
        (doctor._vision_weights, "CDPD_VISION_WEIGHTS", "random", "nnunetv2_cdpd.pretrained.vision.locate_vision_weights"),
        (doctor._text_weights, "CDPD_TEXT_WEIGHTS", "learned", "nnunetv2_cdpd.pretrained.text.locate_text_weights"),
    ],
)


@ENCODERS
def test_weights_that_the_user_chose(check, variable, without, locate, tmp_path, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2")
    file = tmp_path / "weights.safetensors"
    monkeypatch.setenv(variable, str(file))
    (row,) = check()
    assert row.status == FAIL and "no such file" in row.text and without in row.text
    file.touch()
    (row,) = check()
    assert row.status == OK and str(file) in row.text
    monkeypatch.setenv(variable, str(tmp_path))
    (row,) = check()
    assert row.status == (OK if without == "learned" else FAIL)  # only open_clip reads folders
    monkeypatch.setenv(variable, without)
    (row,) = check()
    assert row.status == NOTE and f"{variable}={without}" in row.text


def test_weights_of_the_encoder_that_was_named_are_looked_for(monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "rad-dino")
    monkeypatch.setattr("nnunetv2_cdpd.pretrained.vision.locate_vision_weights", lambda name: f"/cache/{name}")
    assert list(doctor._vision_weights()) == [Row(OK, "vision weights", "rad-dino: /cache/rad-dino")]


def test_without_a_named_encoder_no_vision_weights_are_needed(monkeypatch):
    monkeypatch.delenv("CDPD_VISION_WEIGHTS", raising=False)
    (row,) = doctor._vision_weights()
    assert row.status == OK and "not needed" in row.text and "CDPD_VISION_ENCODER" in row.text
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "/vit.pth")  # with which a training on default plans stops
    (row,) = doctor._vision_weights()
    assert row.status == NOTE and "/vit.pth" in row.text and "CDPD_VISION_ENCODER names no encoder" in row.text
    assert "no such file" in row.text and "unset CDPD_VISION_WEIGHTS" in row.text


@ENCODERS
def test_weights_in_the_cache_or_on_the_hub_or_nowhere(check, variable, without, locate, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2")
    monkeypatch.setattr(locate, lambda model: "/cache/weights")
    (row,) = check()
    assert row.status == OK and row.text.endswith(": /cache/weights")
    monkeypatch.setattr(locate, lambda model: None)
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    (row,) = check()
    assert row.status == NOTE and "downloaded when the first training starts" in row.text
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    (row,) = check()
    assert row.status == NOTE and f"{variable}={without}" in row.text
