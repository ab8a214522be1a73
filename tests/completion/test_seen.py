"""Which cases a fold of a teacher was trained on: from validations, splits and the raw dataset, by image and by name."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders.merge import make_dataset, make_two, merge

from nnunetv2_cdpd.completion.seen import same_scans, training_cases
from nnunetv2_cdpd.datasets.raw import RawCase, read_dataset
from nnunetv2_cdpd.errors import UserError

PLANS = {"dataset_name": "Dataset301_LITS", "configurations": {}}
CONTENT = {"file_ending": ".nii.gz"}


@pytest.fixture
def model(tmp_path):
    """Of two folds, each with its validation."""
    for fold, cases in {0: ("a1", "a2"), 1: ("a3",)}.items():
        folder = tmp_path / "model" / f"fold_{fold}" / "validation"
        folder.mkdir(parents=True)
        for case in cases:
            (folder / f"{case}.nii.gz").touch()
    return tmp_path / "model"


def unseen(found, case, *files, source="S"):
    return found.unseen_by(RawCase(case, (), ""), files, source)


def test_a_fold_has_not_seen_what_it_validated(model):
    found = training_cases(model, PLANS, CONTENT, [0, 1])
    assert unseen(found, "a1") == (0,) and unseen(found, "a3") == (1,)
    assert unseen(found, "b1") == (0, 1)  # of another dataset


def test_names_with_the_prefix_of_a_merge_are_known(model):
    found = training_cases(model, PLANS, CONTENT, [0, 1])
    assert unseen(found, "My_LITS_a1", source="My LITS") == (0,)


def test_fold_all_has_seen_every_case(model):
    found = training_cases(model, {**PLANS}, {**CONTENT, "cdpd": {"case_source": {"a1": "LITS"}}}, ["all"])
    assert unseen(found, "a1") == () and unseen(found, "b1") == ("all",)


def test_an_extended_model_has_seen_every_case(model):
    plans = {**PLANS, "configurations": {"3d_fullres": {"architecture": {"arch_kwargs": {"extensions": [{}]}}}}}
    assert unseen(training_cases(model, plans, CONTENT, [0, 1]), "a1") == ()


def test_a_case_that_no_fold_kept_back_was_seen_by_all(model):
    found = training_cases(model, PLANS, {**CONTENT, "dataset": {"a9": {}}}, [0, 1])
    assert unseen(found, "a9") == ()


def test_splits_tell_where_there_is_no_validation(model, nnunet_folders):
    splits = [{"train": ["a3"], "val": ["a1", "a2"]}, {"train": ["a1"], "val": ["a2"]}]
    path = nnunet_folders.preprocessed / "Dataset301_LITS" / "splits_final.json"
    path.parent.mkdir()
    path.write_text(json.dumps(splits))
    found = training_cases(Path("elsewhere"), PLANS, CONTENT, [0, 1])
    assert unseen(found, "a2") == (0, 1) and unseen(found, "a1") == (0,) and unseen(found, "a3") == ()
    assert unseen(training_cases(model, PLANS, CONTENT, [1]), "a3") == (1,)  # its validation says what it really was
    path.write_text("[1]")
    with pytest.raises(UserError, match="splits_final.json: `0` is 1, not an object"):
        training_cases(model, PLANS, CONTENT, [0])


def test_where_nothing_tells_the_teacher_is_refused(tmp_path, nnunet_folders):
    with pytest.raises(UserError, match="nothing tells which cases fold 0 was not trained on: .* or give argument allow_seen"):
        training_cases(tmp_path, PLANS, CONTENT, [0])
    with pytest.raises(UserError, match="nothing tells which cases it was trained on; have its raw dataset Dataset301_LITS"):
        training_cases(tmp_path, PLANS, CONTENT, ["all"])
    found = training_cases(tmp_path, PLANS, CONTENT, [0], allow_seen=True)
    assert unseen(found, "a1") == (0,)


def test_a_teacher_of_whose_cases_some_are_not_known_is_refused(model, nnunet_folders):
    """Two of its five folds are there: a4 would pass for a case of another dataset, though both were trained on it."""
    with pytest.raises(UserError, match="3 of its 5 cases are known; have its raw dataset Dataset301_LITS in nnUNet_raw"):
        training_cases(model, PLANS, {**CONTENT, "numTraining": 5}, [0, 1])
    assert unseen(training_cases(model, PLANS, {**CONTENT, "numTraining": 3}, [0, 1]), "a3") == (1,)
    assert unseen(training_cases(model, PLANS, {**CONTENT, "numTraining": 5}, [0, 1], allow_seen=True), "a3") == (1,)
    make_dataset(nnunet_folders.raw / "Dataset301_LITS", {"liver": 1}, ["a1", "a2", "a3", "a4"])  # which tells of all
    assert unseen(training_cases(model, PLANS, {**CONTENT, "numTraining": 5}, [0, 1]), "a4") == ()


def test_a_case_is_found_by_its_image_whatever_it_is_called(model, raw):
    make_dataset(raw / "Dataset301_LITS", {"liver": 1}, ["a1", "a2", "a3"])
    found = training_cases(model, PLANS, CONTENT, [0, 1])
    assert unseen(found, "another name", raw / "Dataset301_LITS/imagesTr/a1_0000.nii.gz") == (0,)
    link = raw / "link.nii.gz"
    link.symlink_to(raw / "Dataset301_LITS/imagesTr/a3_0000.nii.gz")
    assert unseen(found, "another name", link) == (1,)
    assert unseen(found, "another name", raw / "b.nii.gz") == (0, 1)


def test_cases_of_the_same_scan_are_one(raw):
    folder, _ = merge(*make_two(raw).iterdir(), search_duplicates=False)
    dataset = read_dataset(folder)
    assert same_scans(dataset)["a1"] == {"a1"}
    (folder / "cdpd_duplicates.json").write_text(json.dumps({"groups": [["a1", "b2", "gone"], 3]}))
    assert same_scans(dataset)["a1"] == same_scans(dataset)["b2"] == {"a1", "b2"}
    alone = [case for case in dataset.cases if case.identifier == "a1"]
    assert same_scans(SimpleNamespace(folder=folder, cases=alone))["a1"] == {"a1"}
