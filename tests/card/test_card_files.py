"""Where the files of a card lie, what is never overwritten, nnU-Net's export, and what `cdpd card --check` finds."""

import json
import os
import shutil
import zipfile

import pytest
from builders.card import model_place, write_fold, write_summary, write_trained

from nnunetv2_cdpd.card import components
from nnunetv2_cdpd.card.check import check_card
from nnunetv2_cdpd.card.files import card_if_possible, card_of, recorded_card, write_card
from nnunetv2_cdpd.cli.main import main

FILES = ["cdpd_card.json", "cdpd_card.md", "cdpd_components.cdx.json"]
DICE = {"LIV_0001": {"liver": 0.9, "liver_tumor": 0.5}}


@pytest.fixture
def model(nnunet_folders):
    folder = write_trained(model_place(nnunet_folders.results))
    write_summary(folder / "fold_0/validation", DICE)
    return folder


def checked(folder):
    return [line.removeprefix(f"{folder}/") for line in check_card(folder)]


def test_the_command_shows_writes_and_checks(model, capsys, tmp_path):
    assert main(["card", str(model)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("---\n") and "## Sources" in shown and not list(model.glob("cdpd_*"))
    assert main(["card", str(model), "--check"]) == 1
    assert "has no card; make one: cdpd card" in capsys.readouterr().err
    assert main(["card", str(model), "-o", str(model)]) == 0
    assert sorted(path.name for path in model.glob("cdpd_*")) == FILES
    assert json.loads((model / "dataset_fingerprint.json").read_text())["spacings"] == [[1, 1, 1]]
    capsys.readouterr()
    assert main(["card", str(model), "--check"]) == 0
    assert main(["card", "-m", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["model"]["dataset"] == "Dataset850_Tiny"
    assert main(["card", str(model), "--components"]) == 0
    assert json.loads(capsys.readouterr().out)["bomFormat"] == "CycloneDX"
    assert main(["card", str(model), "-o", str(tmp_path / "new/place")]) == 0
    assert sorted(os.listdir(tmp_path / "new/place")) == FILES
    assert (tmp_path / "new/place/cdpd_card.md").read_text() == (model / "cdpd_card.md").read_text()


def test_nnunets_export_takes_the_card_along(model, tmp_path, capsys):
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    write_card(card_of(model)[1], model, model, pytest.fail)
    archive = tmp_path / "m.zip"
    export_pretrained_model("Dataset850_Tiny", str(archive), ("3d_fullres",), "nnUNetTrainerCDPD", "nnUNetTinyPlans", folds=(0,))
    before, _ = recorded_card(model)
    shutil.rmtree(model)
    install_model_from_zip_file(str(archive))
    assert not (model / "cdpd_card.json").exists()
    after, where = recorded_card(model)
    assert after == before and where.name == "dataset_fingerprint.json"
    assert checked(model) == []
    # debug.json comes along too; without it the packages are still known, from the card
    (model / "fold_0/debug.json").unlink()
    assert card_of(model)[1]["made_with"] == before["made_with"] and card_of(model)[1]["weights"] == before["weights"]
    # and all files can be put into the zip, again and again
    for _ in range(2):
        capsys.readouterr()
        assert main(["card", str(model), "-o", str(archive)]) == 0
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        assert opened.testzip() is None and len(names) == len(set(names))
        place = f"Dataset850_Tiny/{model.name}"
        assert {f"{place}/{name}" for name in FILES} <= set(names)
        assert opened.read(f"{place}/cdpd_card.md").decode().startswith("---\n")
        assert f"{place}/fold_0/checkpoint_final.pth" in names


@pytest.mark.parametrize("content", [b"no zip", None])
def test_a_zip_of_something_else_stays_as_it_is(model, tmp_path, content, capsys):
    archive = tmp_path / "x.zip"
    if content is None:
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("Dataset001_X/T__P__C/dataset.json", "{}")
    else:
        archive.write_bytes(content)
    before = archive.read_bytes()
    assert main(["card", str(model), "-o", str(archive)]) == 1
    message = capsys.readouterr().err
    assert ("no such zip" if content else f"holds T__P__C, not {model.name}") in message and message.count("\n") == 1
    assert archive.read_bytes() == before


def test_what_is_stale_is_told_one_line_each(model):
    write_card(card_of(model)[1], model, model, pytest.fail)
    write_fold(model, "1")
    with (model / "fold_0/checkpoint_final.pth").open("ab") as file:
        file.write(b"\0" * 10)
    write_summary(model / "fold_0/validation", {"LIV_0001": {"liver": 0.8, "liver_tumor": 0.5}})
    content = json.loads((model / "dataset.json").read_text())
    content["cdpd"]["sources"]["New"] = {"annotated_classes": ["liver"]}
    content["cdpd"]["sources"]["Organs"]["license"] = "MIT"
    content["labels"]["gland"] = 7
    content["regions_class_order"].append(7)
    content["cdpd"]["sources"]["New"]["annotated_classes"].append("gland")
    (model / "dataset.json").write_text(json.dumps(content))
    lines = checked(model)
    assert "cdpd_card.json: class gland: not in the card" in lines
    assert "cdpd_card.json: class liver: annotated by differ" in lines
    assert "cdpd_card.json: source New: not in the card" in lines
    assert any(line.startswith("cdpd_card.json: source Organs: license") for line in lines)
    assert "cdpd_card.json: fold 1: not in the card" in lines
    assert "cdpd_card.json: fold 0: sha256 differ" in lines
    assert "cdpd_card.json: scores: stale, fold_0/validation/summary.json" in lines
    write_card(card_of(model)[1], model, model, pytest.fail)
    assert checked(model) == []


def test_files_of_another_card_are_told(model):
    write_card(card_of(model)[1], model, model, pytest.fail)
    path = model / "cdpd_card.json"
    made = json.loads(path.read_text())
    made["sources"][0]["cases"] = 99
    path.write_text(json.dumps(made))
    lines = checked(model)
    assert "cdpd_card.json: source LiTS: cases differ" in lines
    assert "cdpd_card.md: of another card" in lines and "cdpd_components.cdx.json: of another card" in lines
    assert any(line.startswith("dataset_fingerprint.json: holds another card or none") for line in lines)
    (model / "cdpd_card.md").unlink()
    assert "cdpd_card.md: missing" in checked(model)


def test_words_changed_by_hand_are_never_overwritten(model, capsys):
    write_card(card_of(model)[1], model, model, pytest.fail)
    page = model / "cdpd_card.md"
    page.write_text(page.read_text().replace("## Limits", "My words.\n\n## Limits"))
    mine = page.read_text()
    assert "cdpd_card.md: changed by hand" in checked(model)
    assert main(["card", str(model), "-o", str(model)]) == 1
    assert "was changed by hand, and stays; move it away (own words go into the YAML of --words)" in capsys.readouterr().err
    told = []
    card_if_possible(model, told.append)
    assert page.read_text() == mine and told[0].startswith("No model card: ") and "changed by hand" in told[0]


def test_the_users_words_are_kept_when_the_card_is_made_anew(model, tmp_path, capsys):
    words = tmp_path / "words.yaml"
    words.write_text("license: CC BY-NC 4.0\nintended_use: Planning studies\nlimits: [Only adults, No metal]\ncontact: a@b.c\n")
    assert main(["card", str(model), "-o", str(model), "--words", str(words)]) == 0
    for _ in range(2):
        text = (model / "cdpd_card.md").read_text()
        assert all(word in text for word in ("Planning studies", "- Only adults", "- No metal", "| contact | a@b.c |"))
        assert "license: cc-by-nc-4.0" in text and checked(model) == []
        assert main(["card", str(model), "-o", str(model)]) == 0
    words.write_text("licence: x\n")
    assert main(["card", str(model), "--words", str(words)]) == 1
    assert "unknown key licence; known are description" in capsys.readouterr().err


def test_without_the_library_the_card_is_written_and_the_way_out_told(model, monkeypatch, capsys):
    import sys

    write_card(card_of(model)[1], model, model, pytest.fail)
    monkeypatch.setitem(sys.modules, "cyclonedx.model.bom", None)
    assert main(["card", str(model), "-o", str(model)]) == 0
    assert "pip install 'nnunetv2-cdpd[card]'" in capsys.readouterr().out
    assert sorted(path.name for path in model.glob("cdpd_*")) == FILES[:2]
    assert main(["card", str(model), "--components"]) == 1
    assert components.NO_LIBRARY in capsys.readouterr().err
    assert main(["card", str(model), "--check"]) == 0


def test_a_read_only_place_ends_in_one_line(model, capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["card", str(model), "-o", str(blocked)]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and blocked.read_text() == ""
