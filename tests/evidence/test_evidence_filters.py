"""benchmarks/evidence, filters of a completion: what they write is counted beside the truth, and networks are asked once."""

import json
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk


def test_the_table_of_filters_counts_what_is_taught_beside_the_truth(evidence, patients, tmp_path, monkeypatch):
    """A mandible of 8 voxels: 5 taught right, 2 not at all, 1 as something else; 4 voxels wrong. Real organs do not count."""
    truth = np.zeros((4, 4, 8), np.uint8)
    truth[:2, :2, :2] = evidence.patients.ORGANS["Mandible"]
    truth[3] = evidence.patients.ORGANS["Larynx"]
    made = np.zeros_like(truth)
    made[:2, :2, :2] = 1
    made[0, 0, :2], made[0, 1, 0], made[2, :2, :2] = 9, 0, 1
    case = patients.complete[0]
    for folder, array in ((tmp_path / "truth", truth), (tmp_path / "made" / "labelsTr", made)):
        folder.mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{case}.nii.gz"))
    # as `cdpd merge` names them
    names = ["Brainstem", "SpinalCord", "parotid_gland_right", "parotid_gland_left", "esophagus", "Larynx"]
    labels = {"background": 0, "Mandible": 1, "ignore": 9} | {name: value for value, name in enumerate(names, start=2)}
    completion = {"cases": {case: {"real": names, "completed": {"Mandible": {}}}}}
    (tmp_path / "made" / "dataset.json").write_text(json.dumps({"labels": labels, "cdpd": {"completion": completion}}))
    counts = evidence.filters.counted(tmp_path / "made", tmp_path / "truth", patients)
    its = {"completed": True, "truth": 8, "right": 5, "wrong": 4, "elsewhere": 1, "ignored": 2}
    assert counts == {"Mandible": {case: its}}

    monkeypatch.setattr(evidence.filters, "FOLDER", tmp_path)
    assert evidence.filters.filters_table() == ""
    other = {"completed": False, "truth": 8, "right": 0, "wrong": 0, "elsewhere": 0, "ignored": 8}
    found = {"organs": {"Mandible": {case: its, "b": other}}}
    evidence.results.write_json(tmp_path / "filters" / "none_split0_seed0.json", found)
    row = evidence.filters.filters_table().splitlines()[2]
    assert row == "| one network per source | no filter | 2 | 50.0% | 31.2% | 25.0% | 6.2% | 62.5% | 0.667 |"


def test_networks_are_asked_once_about_an_image(evidence, monkeypatch):
    asked = []
    monkeypatch.setattr(
        evidence.filters.Networks, "answers", lambda self, teacher, *_: asked.append(teacher.folder) or iter("ab")
    )
    monkeypatch.setattr(evidence.filters.KnownNetworks, "known", {})
    for _ in range(2):
        networks = evidence.filters.KnownNetworks(evidence.filters.CompletionSettings(), "cpu")
        for teacher in (SimpleNamespace(folder="A"), SimpleNamespace(folder="B")):
            assert [*networks.answers(teacher, (0,), ["image"], (1,))] == ["a", "b"]
    assert asked == ["A", "B"]
    networks.answers(SimpleNamespace(folder="A"), (0,), ["image"], (1, 2))
    networks.answers(SimpleNamespace(folder="A"), (1,), ["image"], (1,))
    assert asked == ["A", "B", "A", "A"], "of other classes, and by another fold, nothing was told yet"


def test_a_completion_that_a_run_left_is_counted_as_it_is(evidence, tmp_path, monkeypatch):
    """The others are made, each once, by their teachers."""
    monkeypatch.setattr(evidence.filters, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(evidence.filters.Patients, "read", lambda data: None)
    monkeypatch.setattr(evidence.filters.completion, "Networks", evidence.filters.Networks)
    monkeypatch.setattr(evidence.runs.os, "environ", {})
    made, counted, trained = [], [], []

    def complete(dataset, teachers, *_, settings, allow_seen, **__):
        made.append((len(teachers), allow_seen, settings))
        return tmp_path / "made"

    monkeypatch.setattr(evidence.filters.completion, "complete_dataset", complete)
    monkeypatch.setattr(evidence.filters, "train_fold", lambda model, dataset, fold, device: trained.append((model, fold)))
    monkeypatch.setattr(evidence.filters, "counted", lambda folder, *_: counted.append(folder.name) or {})
    left = evidence.raw_data.dataset_folder(tmp_path, "CompletedBorders2")
    left.mkdir(parents=True)
    (left / "dataset.json").touch()
    for _ in range(2):
        evidence.filters.measure_filters(evidence.runs.Run("equal_contours", "student", 0, 2, tmp_path, tmp_path))
    choices = evidence.filters.CHOICES
    assert counted == [left.name if name == "borders" else "made" for name in choices]
    asked = {"per_source": (3, False), "with_one_of_all": (4, True), "cross_validated": (1, False)}
    assert made == [(*asked[choice.teachers], choice.settings) for name, choice in choices.items() if name != "borders"]
    assert {fold for _, fold in trained} == {*evidence.cross_validation.FOLDS}
    assert {model.parts[-4] for model, _ in trained} == {"masked_folds"}, "a folder of its own"
    assert evidence.runs.os.environ["nnUNet_results"] == str(trained[-1][0].parents[1])
