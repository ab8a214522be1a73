"""The demo: phantoms that are what they say, sources that label what they say, and the whole workflow in small."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.demo import weights, workflow
from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES, write_raw_dataset, write_test_set
from nnunetv2_cdpd.demo.phantom import ORGANS, make_patient
from nnunetv2_cdpd.demo.schedule import Schedule
from nnunetv2_cdpd.demo.workflow import QUICK, DemoSize, run_demo
from nnunetv2_cdpd.errors import UserError

STRUCTURES = tuple(organ.name for organ in ORGANS)
PATIENTS = [make_patient(source.scanner, seed=seed, tumor_probability=1.0) for source in DEMO_SOURCES for seed in (1, 2)]


def test_same_seed_gives_the_same_patient_and_another_seed_another():
    scanner = DEMO_SOURCES[0].scanner
    assert np.array_equal(make_patient(scanner, 7).hu, make_patient(scanner, 7).hu)
    assert make_patient(scanner, 7).hu.shape != make_patient(scanner, 8).hu.shape


@pytest.mark.parametrize("patient", PATIENTS)
def test_structures_are_there_nested_paired_and_disjoint(patient):
    assert set(patient.masks) == set(STRUCTURES) and len(STRUCTURES) >= 8
    for organ in ORGANS:
        mask = patient.masks[organ.name]
        assert mask.sum() * np.prod(patient.spacing) > 5_000  # mm^3
        if organ.inside:
            assert any((mask <= patient.masks[parent]).all() for parent in organ.inside)
    organs = np.sum([patient.masks[organ.name] for organ in ORGANS if not organ.inside], axis=0)
    assert organs.max() == 1


@pytest.mark.parametrize("patient", PATIENTS)
def test_left_is_left_of_right_in_the_world(patient):
    """SimpleITK's world axes point to the patient's left, back and head."""
    steps = np.array(patient.direction).reshape(3, 3) * np.array(patient.spacing)

    def world_x(name):
        index = np.argwhere(patient.masks[name]).mean(0)[::-1]
        return (steps @ index)[0]

    assert world_x("left_kidney") > world_x("right_kidney")


@pytest.mark.parametrize("patient", PATIENTS)
def test_intensities_are_those_of_ct(patient):
    assert patient.hu.dtype == np.int16
    means = {name: patient.hu[mask].mean() for name, mask in patient.masks.items()}
    assert means["kidney_tumor"] > means["right_kidney"] > means["liver_tumor"] > means["liver"]
    assert -1024 <= patient.hu.min() < -900  # air around the body


def test_spacing_size_and_orientation_vary():
    assert len({patient.hu.shape for patient in PATIENTS}) == len(PATIENTS)
    assert len({np.round(patient.spacing, 2).tobytes() for patient in PATIENTS}) == len(PATIENTS)
    assert len({patient.direction for patient in (make_patient(DEMO_SOURCES[0].scanner, seed) for seed in range(8))}) > 1


def test_sources_annotate_different_overlapping_subsets_and_one_merges_the_kidneys():
    covered = [{structure for structures in source.labels.values() for structure in structures} for source in DEMO_SOURCES]
    assert not set.intersection(*covered)
    assert any(a & b for a in covered for b in covered if a is not b)
    assert set.union(*covered) == set(STRUCTURES)
    assert [list(s) for source in DEMO_SOURCES for s in source.labels.values() if len(s) > 1] == [["right_kidney", "left_kidney"]]


def test_written_sources_hold_nothing_that_they_do_not_label(tmp_path):
    source = DEMO_SOURCES[1]
    write_raw_dataset(source, tmp_path, num_cases=2)
    folder = tmp_path / source.folder_name
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    for path in (folder / "labelsTr").iterdir():
        label = sitk.ReadImage(str(path))
        image = sitk.ReadImage(str(folder / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")))
        assert set(np.unique(sitk.GetArrayFromImage(label))) <= set(labels.values())
        assert label.GetDirection() == image.GetDirection() and label.GetSpacing() == image.GetSpacing()


def test_test_set_is_fully_annotated_and_knows_its_looks(tmp_path):
    write_test_set(tmp_path, cases_per_scanner=1)
    annotation = read_annotation(json.loads((tmp_path / "labels" / "dataset.json").read_text()))
    assert annotation.classes == STRUCTURES
    assert all(source.annotated_classes == STRUCTURES for source in annotation.sources)
    assert sorted(annotation.case_source.values()) == sorted(source.name for source in DEMO_SOURCES)


def test_every_case_of_a_source_that_annotates_a_tumor_has_one(tmp_path):
    for source, tumor in ((DEMO_SOURCES[0], "liver_tumor"), (DEMO_SOURCES[1], "kidney_tumor")):
        write_raw_dataset(source, tmp_path, num_cases=3)
        value = 1 + list(source.labels).index(tumor)
        for path in (tmp_path / source.folder_name / "labelsTr").iterdir():
            assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == value).any()


def test_time_left_follows_the_steps_that_are_done():
    schedule = Schedule({"one": 10, "two": 20, "three": 30})
    assert schedule.left() == 60 and schedule.place("two") == "2 of 3"
    schedule.done("one", 5)  # twice as fast as expected
    assert schedule.left() == 25
    schedule.done("two", 55)  # 60 s in place of 30
    assert schedule.left() == 60
    schedule.done("three", 1)
    assert schedule.left() == 0


@pytest.mark.parametrize("size", [DemoSize(), QUICK])
def test_steps_are_told_with_the_time_left_and_a_quick_run_with_what_it_is_not(size, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(workflow, "write_raw_dataset", lambda *args: None)
    monkeypatch.setattr(workflow, "write_test_set", lambda *args: None)
    monkeypatch.setattr(workflow, "_run", lambda command, folder, environment: 60.0)
    pages = []
    monkeypatch.setattr("nnunetv2_cdpd.demo.page.write_demo_page", lambda path, **told: pages.append(told) or path)
    run_demo(tmp_path / "out", size, "cpu")
    printed = capsys.readouterr().out
    for number, step in enumerate(size.seconds, start=1):
        assert re.search(rf"== {step} \(step {number} of 7, about \d+ (s|min) left\)", printed)
    assert set(pages[0]["seconds"]) == {*size.seconds, "All"} - {"Write the page"}
    told = "Quick: this shows that every step works on this machine, not how well such a network segments."
    assert printed.count(told) == (2 if size is QUICK else 0)
    assert any(told in note for note in pages[0]["notes"]) == (size is QUICK)


def test_folder_in_use_is_refused(tmp_path):
    (tmp_path / "something").touch()
    with pytest.raises(UserError, match="argument out: .* is not empty; name another folder"):
        run_demo(tmp_path)


def test_a_refused_choice_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "/vit.pth")
    with pytest.raises(UserError, match="this network has no vision tokens"):
        run_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []  # so that the mended call is not refused


def test_failing_command_ends_the_demo_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "_executable", lambda name: sys.executable)
    with pytest.raises(UserError, match="cdpd failed with exit code"):
        run_demo(tmp_path / "out", DemoSize(training_cases_per_source=1, test_cases_per_scanner=1))


def test_weights_named_from_here_are_found_by_commands_that_run_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "vit.pth").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "vit.pth")
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", "learned")
    with pytest.raises(UserError, match="CDPD_VISION_WEIGHTS=vit.pth: this network has no vision tokens"):
        workflow._environment(tmp_path / "out", "cpu")
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    environment, _ = workflow._environment(tmp_path / "out", "cpu")
    assert environment["CDPD_VISION_WEIGHTS"] == str(tmp_path / "vit.pth") and "CDPD_TEXT_WEIGHTS" not in environment


def test_encoder_named_by_a_file_from_here_is_found_too(tmp_path, monkeypatch):
    (tmp_path / "my_ct.yaml").write_text("{model: vit_tiny_patch16_224, unit: image, mean: 0.5, std: 0.5}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "locate_vision_weights", lambda name: None)
    monkeypatch.setenv("CDPD_VISION_ENCODER", "my_ct.yaml")
    settings, words = weights.choose_weights()
    assert settings["CDPD_VISION_ENCODER"] == str(tmp_path / "my_ct.yaml") and "(my_ct)" in words[0]


def test_auto_is_no_choice(monkeypatch):
    monkeypatch.setattr(weights, "locate_vision_weights", lambda model: None)
    monkeypatch.setattr(weights, "locate_text_weights", lambda encoder: None)
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "auto")
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", "auto")
    assert weights.choose_weights()[0] == {"CDPD_VISION_WEIGHTS": "random", "CDPD_TEXT_WEIGHTS": "learned"}


def test_weights_at_hand_are_used_and_missing_ones_are_said(monkeypatch):
    monkeypatch.delenv("CDPD_VISION_WEIGHTS", raising=False)
    monkeypatch.delenv("CDPD_TEXT_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "locate_vision_weights", lambda model: None)
    monkeypatch.setattr(weights, "locate_text_weights", lambda encoder: None)
    added, words = weights.choose_weights()
    assert added == {"CDPD_TEXT_WEIGHTS": "learned"} and words[0].startswith("Vision: none")
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    added, words = weights.choose_weights()
    assert added == {"CDPD_VISION_WEIGHTS": "random", "CDPD_TEXT_WEIGHTS": "learned"}
    assert "random weights" in words[0] and "learned" in words[1]
    monkeypatch.setattr(weights, "locate_vision_weights", lambda model: "/cache/vit")
    monkeypatch.setattr(weights, "locate_text_weights", lambda encoder: "/cache/clip")
    added, words = weights.choose_weights()
    assert added == {} and "/cache/vit" in words[0] and "/cache/clip" in words[1]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.pictures, self.text = [], 0, ""

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.pictures += tag == "image"
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
@pytest.mark.timeout(1260)
def test_demo_runs_every_step_and_leaves_a_page(tmp_path):
    """As `cdpd demo --quick` does it, with two training iterations."""
    size = "replace(QUICK, trainer='nnUNetTrainerCDPDSmall_1epoch')"
    code = "from dataclasses import replace; from pathlib import Path; "
    code += f"from nnunetv2_cdpd.demo.workflow import QUICK, run_demo; run_demo(Path('out'), {size}, 'cpu')"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr[-3000:]
    for command in ("cdpd merge", "nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict", "cdpd evaluate"):
        assert f"$ {command}" in result.stdout
    assert "no pretrained weights at hand" in result.stdout
    page = Page()
    page.feed((tmp_path / "out" / "report.html").read_text())
    assert page.pictures >= 9
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert all(structure in page.text.replace(" ", "_") for structure in STRUCTURES)
    assert "no pretrained weights at hand" in page.text
