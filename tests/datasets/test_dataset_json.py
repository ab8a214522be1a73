"""dataset_json_of: a dataset.json by file, folder, name or id."""

import json

import pytest

from nnunetv2_cdpd.datasets.dataset_json import dataset_json_of
from nnunetv2_cdpd.errors import UserError


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    folder = tmp_path / "raw" / "Dataset400_X"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1}}))
    monkeypatch.setenv("nnUNet_raw", str(folder.parent))
    return folder


def test_a_dataset_is_found_by_id_name_folder_and_file(dataset):
    for given in (400, "400", "Dataset400_X", dataset, dataset / "dataset.json"):
        assert dataset_json_of(given).path == dataset / "dataset.json"


def test_without_nnunet_raw_a_folder_or_file_is_enough_and_ids_are_those_of_this_folder(dataset, monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.chdir(tmp_path)
    assert dataset_json_of(dataset).annotation.classes == dataset_json_of(dataset / "dataset.json").annotation.classes
    with pytest.raises(UserError, match="400: .* nnUNet_raw is not set; set it, or give"):
        dataset_json_of(400)
    monkeypatch.chdir(dataset.parent)
    assert dataset_json_of(400).path == dataset / "dataset.json"


def test_what_is_missing_is_named_with_the_file(dataset):
    with pytest.raises(UserError, match=r"dataset.json: `file_ending` missing"):
        dataset_json_of(400, ("labels", "file_ending"))
    with pytest.raises(UserError, match="no dataset has this id, 401; .*Dataset400_X"):
        dataset_json_of(401)
    (dataset.parent / "Dataset400_Y").mkdir()
    with pytest.raises(UserError, match="more than one dataset has this id, 400; .*Dataset400_X, Dataset400_Y"):
        dataset_json_of(400)
