"""RawDataset: what it and its sources are called, which cases it has, and what its list of cases gets wrong."""

import json
from pathlib import Path

import pytest

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.raw import RawDataset, read_dataset, read_datasets
from nnunetv2_cdpd.errors import UserError

CONTENT = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))

    def written(name="Dataset301_KITS", files=(), **extra):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "dataset.json").write_text(json.dumps(CONTENT | extra))
        for file in files:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).touch()
        return folder

    return written


@pytest.mark.parametrize(
    "name, short", [("Dataset301_KITS", "KITS"), ("Dataset301_A_B", "A_B"), ("KITS", "KITS"), ("DatasetX_KITS", "DatasetX_KITS")]
)
def test_the_only_source_of_a_plain_dataset_has_the_short_name_of_the_dataset(name, short):
    plain = RawDataset(name, DatasetJson(Path(name) / "dataset.json", CONTENT), (), ())
    (source,) = plain.annotation.sources
    assert plain.short_name == short and plain.source_name(source) == short
    block = {"version": 1, "sources": {"LITS": {"annotated_classes": ["liver"]}}}
    merged = RawDataset(name, DatasetJson(Path(name) / "dataset.json", CONTENT | {"cdpd": block}), (), ())
    assert merged.source_name(*merged.annotation.sources) == "LITS"


def test_cases_of_the_folders_are_found_and_labels_without_image_named(write, tmp_path):
    files = ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTr/.b_0000.nii.gz", "imagesTr/note.txt"]
    write(files=[*files, "labelsTr/a.nii.gz", "labelsTr/c.nii.gz"], channel_names={"0": "CT", "1": "PET"})
    found = read_dataset(301)
    (case,) = found.cases
    assert case.images == ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz") and case.label == "labelsTr/a.nii.gz"
    (problem,) = found.problems
    assert "case 'c'" in problem
    assert found.path(case.label) == tmp_path / "Dataset301_KITS/labelsTr/a.nii.gz"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a_0001"], "case 'a': imagesTr has its channel 0001; they are counted"),
        (["a_0000", "a_0001"], "case 'a': imagesTr has its channels 0000, 0001; they are counted"),
    ],
)
def test_a_channel_without_the_first_or_beyond_the_last_is_a_problem(write, names, told):
    write(files=[*(f"imagesTr/{name}.nii.gz" for name in (*names, "b_0000")), "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"])
    (problem,) = read_dataset(301).problems
    assert problem.startswith(told)


def test_files_of_no_case_are_named(write):
    files = ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.NII.GZ", "imagesTr/c.nii.gz", "imagesTr/note.txt", "imagesTr/d_0000.mha"]
    dataset = read_dataset(write(files=[*files, "labelsTr/a.nii.gz", "labelsTr/b.NII.GZ"]))
    assert [case.identifier for case in dataset.cases] == ["a"] and dataset.problems == ()
    images, labels = dataset.folder / "imagesTr", dataset.folder / "labelsTr"
    assert dataset.strays == (
        f"{images}: not taken, because nnU-Net takes what ends in .nii.gz, letter by letter: b_0000.NII.GZ, d_0000.mha",
        f"{images}: not taken, because they are of no case: c.nii.gz",
        f"{labels}: not taken, because nnU-Net takes what ends in .nii.gz, letter by letter: b.NII.GZ",
    )


def test_listed_cases_count_alone(write, tmp_path):
    listed = {"x": {"images": ["../y.nii.gz"], "label": "labelsTr/x.nii.gz"}, "no/name": {"images": ["a"], "label": "b"}}
    found = read_dataset(write(dataset=listed, files=["imagesTr/a_0000.nii.gz"]))
    assert [case.identifier for case in found.cases] == ["x", "no/name"] and "no/name" in found.problems[0]
    assert found.path(found.cases[0].images[0]) == tmp_path / "y.nii.gz"
    assert found.strays[0].endswith("imagesTr: not taken, because they are of no case: a_0000.nii.gz")


@pytest.mark.parametrize(
    "extra", [{"dataset": None}, {"labels": {"background": 0}}, {"channel_names": ["CT"]}, {"file_ending": 1}]
)
def test_what_is_wrong_is_told_with_the_name_of_the_file_when_it_is_read(write, extra):
    folder = write(**extra)
    with pytest.raises(UserError, match=str(folder / "dataset.json")):
        read_dataset(folder)


def test_datasets_are_given_once(write):
    folder = write()
    assert [dataset.given for dataset in read_datasets([301])] == ["301"]
    with pytest.raises(UserError, match="Dataset301_KITS: given twice"):
        read_datasets([301, folder])
