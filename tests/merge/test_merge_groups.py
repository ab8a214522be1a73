"""Merging with the same scan in several cases: kept in one fold that nnU-Net reads, or left out because a test set holds it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from builders.audit import ORGANS, changed, image_of, label_of, mirrored, phantoms, write_dataset
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import _maybe_copy_splits_file
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge import merge_datasets
from nnunetv2_cdpd.merge.folds import make_folds


@pytest.fixture
def two(raw):
    """Phantoms 1 to 4 and 5 to 7, with copies of 2 and 3 in the second dataset: cropped, and mirrored with an offset."""
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3, 4))
    cropped = tuple(image[:, :, 6:] for image in (image_of(2), label_of(2)))
    turned = changed(mirrored(image_of(3), 2), lambda array: array + 1024), mirrored(label_of(3), 2)
    write_dataset(raw / "Dataset502_B", {**phantoms(5, 6, 7), "copy2": cropped, "copy3": turned})
    return raw


def merge(*datasets, **options):
    messages = []
    folder = merge_datasets(datasets, 510, "M", **{"num_processes": 1, "progress": False, "report": messages.append} | options)
    return folder, messages


def splits_of(nnunet_folders):
    return json.loads((nnunet_folders.preprocessed / "Dataset510_M/splits_final.json").read_text())


def do_split(nnunet_folders, cases, fold):
    """What nnU-Net's own trainer makes of the file."""
    base = nnunet_folders.preprocessed / "Dataset510_M"
    stub = SimpleNamespace(
        dataset_class=lambda folder, **options: SimpleNamespace(identifiers=sorted(cases)),
        preprocessed_dataset_folder=str(base / "nnUNetPlans_3d_fullres"),
        preprocessed_dataset_folder_base=str(base),
        folder_with_segs_from_previous_stage=None,
        fold=fold,
        print_to_log_file=lambda *text: None,
    )
    return nnUNetTrainer.do_split(stub)


ALL = {"p1", "p2", "p3", "p4", "p5", "p6", "p7", "copy2", "copy3"}


def test_the_same_scan_is_in_one_fold_of_what_nnunets_trainer_reads(two, nnunet_folders):
    folder, messages = merge(501, 502)
    assert (folder / "splits_final.json").read_text() == (
        nnunet_folders.preprocessed / "Dataset510_M/splits_final.json"
    ).read_text()
    validated = []
    for fold in range(5):
        train, val = do_split(nnunet_folders, ALL, fold)
        assert set(train) | set(val) == ALL and not set(train) & set(val) and val
        for group in ({"p2", "copy2"}, {"p3", "copy3"}):
            assert group <= set(train) or group <= set(val)
        validated += val
    assert sorted(validated) == sorted(ALL)
    assert any(
        "2 scan(s) are in several cases (p2 = copy2; p3 = copy3)" in text and "in one fold (5 folds)" in text for text in messages
    )
    found = json.loads((folder / "cdpd_duplicates.json").read_text())
    assert found["groups"] == [["p2", "copy2"], ["p3", "copy3"]] and found["left_out"] == {}
    assert {(pair["first"], pair["second"]): pair["mirrored"] for pair in found["pairs"]}.keys() == {
        ("p2", "copy2"),
        ("p3", "copy3"),
    }


def test_nnunets_planner_accepts_the_two_files(two, nnunet_folders):
    folder, _ = merge(501, 502)
    preprocessed = nnunet_folders.preprocessed / "Dataset510_M/splits_final.json"
    _maybe_copy_splits_file(str(folder / "splits_final.json"), str(preprocessed))  # raises where the two differ
    merge(501, update=True)
    merge(501, 502, update=True)
    before = preprocessed.read_text()
    _maybe_copy_splits_file(str(folder / "splits_final.json"), str(preprocessed))
    preprocessed.unlink()
    _maybe_copy_splits_file(str(folder / "splits_final.json"), str(preprocessed))
    assert preprocessed.read_text() == before


@pytest.mark.slow
def test_folds_survive_planning_and_preprocessing(two, nnunet_folders):
    merge(501, 502)
    before = splits_of(nnunet_folders)
    extract_fingerprints([510], num_processes=1, check_dataset_integrity=True)
    plan_experiments([510])
    preprocess([510], configurations=["3d_fullres"], num_processes=[1])
    assert splits_of(nnunet_folders) == before
    assert list((nnunet_folders.preprocessed / "Dataset510_M").glob("*/copy2*"))
    shutil.rmtree(nnunet_folders.preprocessed / "Dataset510_M")
    (nnunet_folders.preprocessed / "Dataset510_M").mkdir()
    extract_fingerprints([510], num_processes=1)
    plan_experiments([510])  # from the raw dataset, as on another machine
    assert splits_of(nnunet_folders) == before


def test_no_folds_are_written_where_no_scan_is_there_twice(raw, nnunet_folders):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    folder, messages = merge(501)
    assert not (folder / "splits_final.json").exists() and not (nnunet_folders.preprocessed / "Dataset510_M").exists()
    assert not any("scan" in text for text in messages)


def test_second_call_changes_nothing_and_a_copy_that_goes_takes_the_folds_along(two, nnunet_folders):
    folder, _ = merge(501, 502)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    merge(501, 502)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    merge(501, update=True)
    assert not (folder / "splits_final.json").exists()
    assert not (nnunet_folders.preprocessed / "Dataset510_M/splits_final.json").exists()


def write_splits(nnunet_folders, splits):
    path = nnunet_folders.preprocessed / "Dataset510_M/splits_final.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(splits))
    return path


def test_folds_that_keep_scans_together_already_stay(two, nnunet_folders):
    mine = [{"train": sorted(ALL - {"p1", "p2", "copy2"}), "val": ["p1", "p2", "copy2"]}]
    write_splits(nnunet_folders, mine)
    folder, messages = merge(501, 502)
    assert splits_of(nnunet_folders) == mine == json.loads((folder / "splits_final.json").read_text())
    assert any("its folds stay" in text for text in messages)


@pytest.mark.parametrize("bad", [[{"train": sorted(ALL - {"p2"}), "val": ["p2"]}], [{"train": ["p1"], "val": ["p4"]}], {"no": 1}])
def test_folds_that_tear_a_scan_apart_are_set_aside_with_a_warning(two, nnunet_folders, bad):
    path = write_splits(nnunet_folders, bad)
    folder, messages = merge(501, 502)
    assert splits_of(nnunet_folders) == json.loads((folder / "splits_final.json").read_text()) != bad
    assert json.loads((path.parent / "splits_before_merge_1.json").read_text()) == bad
    assert any("moved to splits_before_merge_1.json" in text and "trained again" in text for text in messages)


def test_folds_of_others_stay_where_nothing_is_there_twice(raw, nnunet_folders):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2))
    mine = [{"train": ["p1"], "val": ["p2"]}]
    write_splits(nnunet_folders, mine)
    merge(501)
    assert splits_of(nnunet_folders) == mine


@pytest.mark.parametrize("search", [True, False])
def test_new_cases_are_in_a_fold_after_an_update(raw, nnunet_folders, search):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    write_dataset(raw / "Dataset502_B", phantoms(5, 6, 7))
    merge(501, search_duplicates=search)
    old = [{"train": ["p1", "p2"], "val": ["p3"]}, {"train": ["p2", "p3"], "val": ["p1"]}]
    path = write_splits(nnunet_folders, old)
    _, messages = merge(501, 502, update=True, search_duplicates=search)
    assert json.loads((path.parent / "splits_before_merge_1.json").read_text()) == old
    assert len([text for text in messages if "listed other cases; it was moved to splits_before_merge_1.json" in text]) == 1
    cases = {f"p{number}" for number in (1, 2, 3, 5, 6, 7)}
    train, val = do_split(nnunet_folders, cases, 0)
    assert set(train) | set(val) == cases


def test_new_cases_are_in_a_fold_after_an_update_that_took_two_calls(raw, nnunet_folders):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    write_dataset(raw / "Dataset502_B", phantoms(5, 6, 7))
    folder, _ = merge(501, search_duplicates=False)
    before = (folder / "dataset.json").read_text()
    path = write_splits(nnunet_folders, [{"train": ["p1", "p2"], "val": ["p3"]}])
    label = raw / "Dataset502_B/labelsTr/p7.nii.gz"
    label.write_bytes(label.read_bytes()[:60])
    with pytest.raises(UserError, match="is damaged"):
        merge(501, 502, update=True, search_duplicates=False)
    assert not (folder / "dataset.json").exists() and (folder / "cdpd_dataset_before.json").read_text() == before
    for file in (label, raw / "Dataset502_B/imagesTr/p7_0000.nii.gz"):  # the user takes the bad case out
        file.unlink()
    merge(501, 502, update=True, search_duplicates=False)
    cases = {f"p{number}" for number in (1, 2, 3, 5, 6)}
    train, val = do_split(nnunet_folders, cases, 0)
    assert set(train) | set(val) == cases and (path.parent / "splits_before_merge_1.json").is_file()
    assert (folder / "dataset.json").exists() and not (folder / "cdpd_dataset_before.json").exists()


@pytest.mark.parametrize("search", [True, False])
def test_folds_that_keep_cases_out_stay_as_long_as_there_are_no_new_ones(raw, nnunet_folders, search):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3, 4))
    merge(501, search_duplicates=search)
    mine = [{"train": ["p1", "p2"], "val": ["p3"]}]  # p4 is a test
    write_splits(nnunet_folders, mine)
    _, messages = merge(501, search_duplicates=search)
    assert splits_of(nnunet_folders) == mine and not any("moved" in text for text in messages)
    assert len([text for text in messages if "keeps some cases out of its folds and stays" in text]) == 1


def test_folds_stay_without_a_search_until_the_cases_change(two, nnunet_folders):
    folder, _ = merge(501, 502)
    before = splits_of(nnunet_folders)
    merge(501, 502, search_duplicates=False)
    assert splits_of(nnunet_folders) == before
    merge(501, update=True, search_duplicates=False)
    for place in (folder, nnunet_folders.preprocessed / "Dataset510_M"):
        assert not (place / "splits_final.json").exists()
        assert json.loads((place / "splits_before_merge_1.json").read_text()) == before


def test_sources_are_spread_over_the_folds_and_few_groups_make_few_folds():
    cases = {f"a{k}": "A" for k in range(20)} | {f"b{k}": "B" for k in range(10)}
    folds = make_folds(cases, [("a0", "b0", "b1"), ("a5", "a6")])
    assert len(folds) == 5
    for fold in folds:
        sources = [cases[case] for case in fold["val"]]
        assert 3 <= sources.count("A") <= 5 and 1 <= sources.count("B") <= 3
    assert folds == make_folds(cases, [("a0", "b0", "b1"), ("a5", "a6")])
    assert [len(fold["val"]) for fold in make_folds({"a": "A", "b": "A", "c": "B"}, [("a", "b")])] in ([2, 1], [1, 2])
    assert make_folds({"a": "A", "b": "B"}, [("a", "b")]) == []


def test_one_scan_only_makes_no_folds_but_a_warning(raw, nnunet_folders):
    write_dataset(raw / "Dataset501_A", {name: phantoms(1)["p1"] for name in ("x", "y")})
    folder, messages = merge(501)
    assert any(text.startswith("warning: all cases show the same scan (x = y)") for text in messages)
    assert not (folder / "splits_final.json").exists()


def test_two_cases_of_one_image_file_are_one_scan(raw, nnunet_folders):
    write_dataset(raw / "Dataset501_A", phantoms(1, 2, 3))
    listed = {
        case: {"images": ["../Dataset501_A/imagesTr/p1_0000.nii.gz"], "label": "../Dataset501_A/labelsTr/p1.nii.gz"}
        for case in ("again", "more")
    }
    write_dataset(raw / "Dataset502_B", {}, dataset=listed)
    folder, _ = merge(501, 502)
    assert json.loads((folder / "cdpd_duplicates.json").read_text())["groups"] == [["p1", "again", "more"]]


# ---- test sets -------------------------------------------------------------------------------------------------------


def test_scans_of_a_test_set_are_left_out_by_name(two, raw, tmp_path):
    test_set = tmp_path / "imagesTs"
    test_set.mkdir()
    sitk.WriteImage(mirrored(image_of(6), 0), str(test_set / "t6_0000.nii.gz"))
    sitk.WriteImage(image_of(2), str(test_set / "t2_0000.nii.gz"))
    sitk.WriteImage(image_of(1), str(test_set / "t2_0001.nii.gz"))  # a second channel is no scan of its own
    folder, messages = merge(501, 502, exclude_duplicates_of=[test_set])
    dataset_json = json.loads((folder / "dataset.json").read_text())
    assert set(dataset_json["dataset"]) == ALL - {"p2", "copy2", "p6"} == set(dataset_json["cdpd"]["case_source"])
    left_out = [text for text in messages if text.startswith("left out")]
    assert len(left_out) == 3
    assert any("case 'p6' shows the same scan as imagesTs/t6_0000.nii.gz (score 0." in text for text in left_out)
    assert not (folder / "labelsTr/copy2.nii.gz").exists()
    found = json.loads((folder / "cdpd_duplicates.json").read_text())
    assert set(found["left_out"]) == {"p2", "copy2", "p6"} and found["groups"] == [["p3", "copy3"]]
    assert all("p2" not in fold["train"] + fold["val"] for fold in found["splits"])


def test_a_dataset_holds_back_its_training_and_test_images(two, raw):
    folder = write_dataset(raw / "Dataset503_T", {"t": phantoms(5)["p5"]})
    (folder / "imagesTs").mkdir()
    sitk.WriteImage(image_of(7), str(folder / "imagesTs/u_0000.nii.gz"))
    merged, _ = merge(501, 502, exclude_duplicates_of=[503], search_duplicates=False)
    assert set(json.loads((merged / "dataset.json").read_text())["dataset"]) == ALL - {"p5", "p7"}
    merged, _ = merge(501, 502, exclude_duplicates_of=[folder / "imagesTs"])
    assert set(json.loads((merged / "dataset.json").read_text())["dataset"]) == ALL - {"p7"}  # p5 is back


def test_the_very_same_file_is_named_as_such(two, raw):
    listed = {"t": {"images": ["../Dataset501_A/imagesTr/p1_0000.nii.gz"], "label": "../Dataset501_A/labelsTr/p1.nii.gz"}}
    write_dataset(raw / "Dataset504_L", {}, dataset=listed)
    _, messages = merge(501, 502, exclude_duplicates_of=[504])
    assert "left out: case 'p1' is the same file as Dataset504_L/p1_0000.nii.gz" in messages


def test_a_source_that_would_be_left_out_as_a_whole_is_refused(two, raw):
    with pytest.raises(UserError, match="leaves out every case of source A; take that dataset out"):
        merge(501, 502, exclude_duplicates_of=[raw / "Dataset501_A/imagesTr"])
    assert not (raw / "Dataset510_M").exists()


def test_what_holds_no_image_is_named(two, tmp_path):
    with pytest.raises(UserError, match="holds no image that ends in .nii.gz"):
        merge(501, exclude_duplicates_of=[tmp_path])
    with pytest.raises(UserError, match="no nnU-Net raw dataset here"):
        merge(501, exclude_duplicates_of=[tmp_path / "nowhere"])


def test_images_that_cannot_be_compared_are_named(raw):
    small = np.zeros((4, 5, 6), np.int16)
    write_dataset(raw / "Dataset501_A", {**phantoms(1), "tiny": (sitk.GetImageFromArray(small), sitk.GetImageFromArray(small))})
    _, messages = merge(501)
    assert any("note: not searched for the same scan" in text and text.endswith(": tiny") for text in messages)


@pytest.mark.parametrize("damaged", ["[1]", "5", '"text"', "{}"])
def test_a_damaged_list_of_copies_is_written_anew(two, nnunet_folders, damaged):
    folder, _ = merge(501, 502)
    was = (folder / "cdpd_duplicates.json").read_text()
    (folder / "cdpd_duplicates.json").write_text(damaged)
    merge(501, 502)
    assert (folder / "cdpd_duplicates.json").read_text() == was


def test_search_can_be_left_out(two, nnunet_folders):
    folder, _ = merge(501, 502, search_duplicates=False)
    assert not (folder / "cdpd_duplicates.json").exists() and not (folder / "splits_final.json").exists()
    assert not (nnunet_folders.preprocessed / "cdpd_fingerprints").exists()


def test_command_hands_both_options_on(two, tmp_path, capsys):
    (tmp_path / "test").mkdir()
    sitk.WriteImage(image_of(4), str(tmp_path / "test/t.nii.gz"))
    given = ["-d", "501", "502", "--id", "510", "--name", "M", "-np", "1"]
    assert main(["merge", *given, "--exclude-duplicates-of", str(tmp_path / "test")]) == 0
    assert "left out: case 'p4' shows the same scan as test/t.nii.gz" in capsys.readouterr().out
    assert main(["merge", *given, "--no-duplicates-search"]) == 0
    assert "case 'p4'" not in capsys.readouterr().out
    assert set(ORGANS) <= set(json.loads((two / "Dataset510_M/dataset.json").read_text())["labels"])
