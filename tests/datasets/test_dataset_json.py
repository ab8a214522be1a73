"""dataset_json_of: a dataset.json by file, folder, name or id."""

import json

import pytest

from nnunetv2_cdpd.datasets.dataset_json import channel_names, dataset_json_of, read_dataset_json
from nnunetv2_cdpd.datasets.names import dataset_name
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
    with pytest.raises(UserError, match="400: .* nnUNet_raw is not set; `export nnUNet_raw=.*`, or give"):
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


GOOD = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2}, "file_ending": ".nii.gz"}
SOURCE = {"annotated_classes": ["liver", "spleen"]}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        *[({"labels": value}, "`labels` is ") for value in (None, 5, "liver", ["liver"])],
        *[({"labels": {"background": 0, "liver": value}}, "'liver'") for value in (None, [], {}, 1.5, True)],
        *[({"labels": {"background": 0, "liver": value}}, "'liver'") for value in ("1", -1, 10**30, [[1]])],
        *[({"file_ending": value}, "`file_ending` is ") for value in (None, 5, [], "", ".", "..")],
        *[({"file_ending": value}, "`file_ending` is ") for value in (".nii.", "nii.gz", "../x", ".a/b")],
        *[
            ({"overwrite_image_reader_writer": value}, "`overwrite_image_reader_writer` names ")
            for value in (5, ["SimpleITKIO"], "", "os.system", "SimpleITKIOx", "BaseReaderWriter")
        ],
        *[({"channel_names": value}, "`channel_names") for value in (None, 5, "CT", [0], {}, {"x": "CT"}, {"0": 5}, {"0": {}})],
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_kind_is_told_by_file_and_key(changes, key, tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(GOOD | changes))
    with pytest.raises(UserError) as error:
        _ = (read := read_dataset_json(path)).annotation, read.channel_names
    told = str(error.value)
    assert told.startswith(f"{path}: ") and key in told and "Error" not in told and "\n" not in told and len(told) < 500


def test_what_reads_images_is_one_of_nnunets_readers(tmp_path):
    path = tmp_path / "dataset.json"
    for good in ("SimpleITKIO", "NibabelIOWithReorient", "Tiff3DIO", "None"):
        path.write_text(json.dumps(GOOD | {"overwrite_image_reader_writer": good}))
        assert read_dataset_json(path).image_reader == (None if good == "None" else good)
    path.write_text(json.dumps(GOOD | {"overwrite_image_reader_writer": "os.system"}))
    with pytest.raises(UserError, match="'os.system', no reader .*; give one of .*SimpleITKIO, .*NibabelIO.*, or take it out"):
        read_dataset_json(path)


@pytest.mark.parametrize(
    ("block", "key"),
    [
        (5, "`cdpd` is 5, not an object"),
        ([], "`cdpd` is [], not an object"),
        ({"version": []}, "version []"),
        ({"sources": ["S"]}, "`cdpd: sources` is ['S'], not an object of sources"),
        ({"sources": {}}, "`cdpd: sources` is {}"),
        ({"sources": {"S": 5}}, "`cdpd: sources: S` is 5, not an object"),
        ({"sources": {"S": {"annotated_classes": "liver"}}}, "`cdpd: sources: S: annotated_classes` is 'liver', not a list"),
        ({"sources": {"S": SOURCE | {"task_prompt": 5}}}, "`cdpd: sources: S: task_prompt` is 5, not a text or null"),
        ({"merged_labels": 5}, "`cdpd: merged_labels` is 5"),
        ({"merged_labels": {"m": {"value": "x", "classes": []}}}, "`cdpd: merged_labels: m: value` is 'x', not a value"),
        ({"compatible": 5}, "`cdpd: compatible` is 5, not a list"),
        ({"compatible": [[["a"]]]}, "`cdpd: compatible: 0: 0` is ['a'], not a text"),
        ({"case_source": ["a"]}, "`cdpd: case_source` is ['a']"),
        ({"case_source": {"a": ["S"]}}, "`cdpd: case_source: a` is ['S'], not a text"),
        ({"possible_parents": 5}, "`cdpd: possible_parents` is 5"),
        ({"possible_parents": {"liver": [["x"]]}}, "`cdpd: possible_parents: liver: 0` is ['x'], not a text"),
    ],
)
def test_a_damaged_cdpd_block_is_told_by_its_key(block, key, tmp_path):
    path = tmp_path / "dataset.json"
    block = {"version": 1, "sources": {"S": SOURCE}} | block if isinstance(block, dict) else block
    path.write_text(json.dumps(GOOD | {"cdpd": block}))
    with pytest.raises(UserError) as error:
        _ = read_dataset_json(path).annotation
    told = str(error.value)
    assert told.startswith(f"{path}: ") and key in told and "Error" not in told and "\n" not in told


def test_channels_are_in_the_order_of_their_numbers():
    assert channel_names({"channel_names": {"10": "c", "2": "b", "0": "a"}}) == ("a", "b", "c")
    assert channel_names({"modality": {"0": "MR"}}) == ("MR",)


@pytest.mark.parametrize("digits", ["\u00b2", "1" * 200, "\u0664\u0660\u0660"])  # a superscript; too long; Arabic
def test_digits_that_are_no_id_are_told(dataset, digits):
    with pytest.raises(UserError, match="give an id, a name or a folder"):
        dataset_json_of(digits)
    with pytest.raises(UserError, match="none of this id or name"):
        dataset_name(digits)


@pytest.mark.parametrize("number", ["\u00b2", "1" * 5000, "-1", "x"])
def test_channels_that_cannot_be_counted_are_told(number):
    with pytest.raises(UserError, match="`channel_names` numbers the channels"):
        channel_names({"channel_names": {number: "CT"}})
