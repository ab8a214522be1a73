"""`cdpd pretrain`: what the library gets of its flags, its exit code, and messages in the words of the command line."""

import pytest
from builders.pretraining import write_cts

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.pretraining.settings import PretrainingSettings


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr("nnunetv2_cdpd.pretraining.pretrain", lambda output, **given: found.append((output, given)) or {})
    return found


def test_flags_become_arguments(calls, tmp_path):
    arguments = ["-d", "400", "410", "-i", str(tmp_path), "-o", "vit.safetensors", "--from", "dinov2.pth", "--encoder", "v"]
    arguments += ["--epochs", "3", "--batch-size", "8", "--lr", "1e-4", "--seed", "5", "--window", "-100", "240"]
    arguments += ["--slices-per-image", "9", "--slices", "kept", "--continue", "-device", "cpu", "-np", "2"]
    assert main(["pretrain", *arguments]) == 0
    ((output, given),) = calls
    assert output.name == "vit.safetensors"
    assert given["settings"] == PretrainingSettings(
        encoder="v", epochs=3, batch_size=8, lr=1e-4, seed=5, window_hu=(-100.0, 240.0), slices_per_image=9
    )
    assert (given["datasets"], given["folders"], given["weights"]) == (["400", "410"], [tmp_path], "dinov2.pth")
    assert given["resume"] and not given["from_nothing"] and given["progress"]
    assert (given["device"], given["num_processes"], str(given["slices"])) == ("cpu", 2, "kept")


def test_defaults_are_the_library_s(calls):
    main(["pretrain", "-d", "400", "-o", "vit.safetensors", "--from-nothing", "-q"])
    ((_, given),) = calls
    assert given["settings"] == PretrainingSettings() and given["from_nothing"] and not given["progress"]
    assert not {"device", "num_processes", "slices"} & given.keys()


def test_images_that_were_left_out_are_told_in_the_end(monkeypatch, capsys):
    monkeypatch.setattr("nnunetv2_cdpd.pretraining.pretrain", lambda output, **given: {"a": "torn", "b": "torn"})
    assert main(["pretrain", "-d", "400", "-o", "vit.safetensors"]) == 1
    assert capsys.readouterr().err == "cdpd: error: case a, b: torn\n"


def test_messages_name_flags(tmp_path, capsys):
    cts = str(write_cts(tmp_path / "cts", 1))
    output = tmp_path / "vit.safetensors"
    output.write_bytes(b"mine")
    common = ["pretrain", "-i", cts, "--encoder", "vit_tiny_patch16_224", "--from-nothing", "-device", "cpu"]
    assert main([*common, "-o", str(output)]) == 1
    assert "go on with it by --continue, remove it, or give another -o; nothing was changed" in capsys.readouterr().err
    assert main([*common, "-o", str(tmp_path / "new.safetensors"), "--batch-size", "1"]) == 1
    assert "--batch-size 1: slices are compared with each other" in capsys.readouterr().err
    assert main(["pretrain", "-o", str(tmp_path / "new.safetensors"), "--from-nothing", "-device", "cpu"]) == 1
    assert "no images; give -d or -i" in capsys.readouterr().err
    assert not (tmp_path / "new.safetensors").exists()
