"""cdpd predict --bids: images of a BIDS dataset become a derivatives dataset, as the standard's own schema says it."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from bidsschematools import rules, schema
from bidsschematools.types import Namespace
from builders import model as tiny_model
from builders.prediction import predict, read

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.bids import BidsCase, find_bids_cases

pytestmark = pytest.mark.usefixtures("one_thread")
FIRST = "sub-01/ses-a/anat/sub-01_ses-a_acq-thin_desc-cdpd_dseg"
SECOND = "sub-02/anat/sub-02_desc-cdpd_dseg"


def bids_dataset(folder, images, *paths):
    """A raw dataset with an image at each path."""
    for path, image in zip(paths, sorted(images.iterdir())):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / path)
    (folder / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.8.0"}')
    return folder


@pytest.fixture(scope="module")
def dataset(images, tmp_path_factory):
    paths = ("sub-01/ses-a/anat/sub-01_ses-a_acq-thin_ct.nii.gz", "sub-02/anat/sub-02_ct.nii.gz")
    folder = bids_dataset(tmp_path_factory.mktemp("bids") / "raw", images, *paths)
    shutil.copy(folder / paths[1], folder / "sub-02/anat/sub-02_desc-old_dseg.nii.gz")  # no image
    return folder


@pytest.fixture(scope="module")
def predicted(dataset, model):
    return predict(dataset, dataset / "derivatives/cdpd", model, "--bids")


def test_every_file_has_a_name_of_the_standard(predicted):
    """The expressions are those of the BIDS schema; what is none of BIDS is listed in .bidsignore."""
    of_standard = schema.load_schema()
    rule = of_standard.rules.files.deriv.imaging.anat_discrete_segmentation
    expressions = rules.regexify_filename_rules(Namespace({"dseg": rule}), of_standard, level=1)
    ignored = (predicted / ".bidsignore").read_text().split()
    files = [file.relative_to(predicted).as_posix() for file in predicted.rglob("*") if file.is_file()]
    images = [name for name in files if name not in (*ignored, "dataset_description.json", ".bidsignore")]
    assert sorted(images) == sorted(f"{case}{end}" for case in (FIRST, SECOND) for end in (".nii.gz", ".tsv"))
    for name in images:
        assert any(re.fullmatch(expression["regex"], name) for expression in expressions), name


def test_the_dataset_says_what_it_is(predicted):
    description = json.loads((predicted / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "nnunetv2_cdpd"
    assert {"Name", "BIDSVersion"} <= description.keys() and re.fullmatch(r"\d+\.\d+\.\d+", description["BIDSVersion"])


def test_the_label_maps_are_those_of_the_images_with_a_name_and_a_colour_for_each_value(
    predicted, dataset, images, model, tmp_path
):
    plain = predict(images, tmp_path / "plain", model)
    for case, name in ((FIRST, "case_0"), (SECOND, "case_1")):
        np.testing.assert_array_equal(read(predicted / f"{case}.nii.gz"), read(plain / f"{name}.nii.gz"))
        with open(predicted / f"{case}.tsv", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        values = {int(row["index"]): row["name"] for row in rows}
        assert set(values.values()) == set(tiny_model.CLASSES) and values[6] == "spleen"
        assert set(np.unique(read(predicted / f"{case}.nii.gz"))) - {0} <= set(values)
        assert len({row["color"] for row in rows}) == len(rows) and all(
            re.fullmatch("#[0-9a-f]{6}", row["color"]) for row in rows
        )
        assert list(rows[0]) == ["index", "name", "color"]
    size = sitk.ReadImage(str(dataset / "sub-02/anat/sub-02_ct.nii.gz")).GetSize()
    assert sitk.ReadImage(str(predicted / f"{SECOND}.nii.gz")).GetSize() == size


def test_finished_cases_are_left_alone_and_colours_stay_with_fewer_classes(dataset, predicted, model, tmp_path):
    output = shutil.copytree(predicted, tmp_path / "out")
    (output / f"{SECOND}.nii.gz").unlink()
    before = (output / f"{FIRST}.nii.gz").stat().st_mtime_ns
    predict(dataset, output, model, "--bids", "--resume")
    assert (output / f"{FIRST}.nii.gz").stat().st_mtime_ns == before and (output / f"{SECOND}.nii.gz").is_file()
    fewer = predict(dataset, tmp_path / "fewer", model, "--bids", "ct", "--classes", "spleen", "-num_parts", "2", "-part_id", "1")
    (row,) = (fewer / f"{SECOND}.tsv").read_text().splitlines()[1:]
    assert row in (predicted / f"{SECOND}.tsv").read_text().splitlines() and not (fewer / f"{FIRST}.tsv").exists()


def test_another_kind_of_image_does_not_take_the_place_of_the_first(dataset, predicted, model, tmp_path, capsys):
    output, other = shutil.copytree(predicted, tmp_path / "out"), shutil.copytree(dataset, tmp_path / "pet")
    for file in other.rglob("*_ct.nii.gz"):
        file.rename(file.with_name(file.name.replace("_ct.", "_pet.")))
    before = {path: path.read_bytes() for path in output.rglob("*.nii.gz")}
    for more in ((), ("--resume",)):
        capsys.readouterr()
        predict(other, output, model, "--bids", "pet", *more, expect=1)
        assert re.search(r"there is the prediction of .*_ct\.nii\.gz, and that of .*_pet\.nii\.gz would", capsys.readouterr().err)
    assert before == {path: path.read_bytes() for path in output.rglob("*.nii.gz")}
    for path in before:
        path.unlink()
    predict(other, output, model, "--bids", "pet")  # of the first kind nothing is there any more
    assert set(output.rglob("*.nii.gz")) == set(before)


# ---- which images -----------------------------------------------------------------------------------------------------


def found(path, suffix="", ending=".nii.gz", channels=1):
    told = []
    cases = find_bids_cases(path, suffix, ending, channels, told.append)
    assert all(isinstance(case, BidsCase) for case in cases)
    return {case.identifier: case.files[0].name for case in cases}, told


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_images_of_one_kind_are_chosen_by_their_suffix(tmp_path):
    names = [f"sub-01/anat/sub-01_{what}" for what in ("T1w.nii.gz", "T2w.nii", "T1w.json", "mask.nii.gz")]
    touch(
        tmp_path, *names, "sub-01/pet/sub-01_pet.nii.gz", "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz", "sub-01/sub-01_scans.tsv"
    )
    case = "sub-01/anat/sub-01_desc-cdpd_dseg"
    with pytest.raises(UserError, match=f"T1w.nii.gz and .*T2w.nii: both would have the prediction {case}; .* --bids T1w"):
        found(tmp_path)
    assert found(tmp_path, "T1w")[0] == {case: "sub-01_T1w.nii.gz"}
    assert found(tmp_path, "T2w")[0] == {case: "sub-01_T2w.nii"}
    assert found(tmp_path, "pet")[0] == {case: "sub-01_pet.nii.gz"}


def test_entities_stay_in_their_order_and_a_former_description_goes(tmp_path):
    touch(tmp_path, "sub-1_ses-2_acq-a_run-1_space-MNI_desc-preproc_T1w.nii.gz")
    assert [*found(tmp_path)[0]] == ["sub-1/ses-2/anat/sub-1_ses-2_acq-a_run-1_space-MNI_desc-cdpd_dseg"]
    assert [*found(next(tmp_path.iterdir()))[0]] == [*found(tmp_path)[0]]


@pytest.mark.parametrize(
    "name",
    ["SUB-01_T1w", "T1w", "sub-01_acq-a_acq-b_T1w", "sub-01_acq-a_ses-1_T1w", "sub-01_sub-02_T1w", "sub-01_ses-1_ses-2_T1w"],
)
@pytest.mark.parametrize("folder", ["", "sub-01/anat/", "sub-01/ses-1/anat/"])
def test_no_name_that_bids_does_not_have_is_taken_or_passed_over_in_silence(name, folder, tmp_path):
    touch(tmp_path, f"{folder}{name}.nii.gz", f"{folder}sub-01_{'ses-1_' * ('ses' in folder)}run-2_T1w.nii.gz")
    cases, told = found(tmp_path)
    assert len(cases) == 1
    assert told == [f"{tmp_path}: not taken, being named otherwise or no image: {folder}{name}.nii.gz"]


def test_what_is_named_otherwise_is_told(tmp_path):
    touch(
        tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-02_T1w.nii.gz", "sub-01/anat/sub-01_Acq-x_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_T1w.nii.gz",
    )  # fmt: skip
    cases, told = found(tmp_path)
    assert [*cases.values()] == ["sub-01_T1w.nii.gz"]
    assert told == [
        f"{tmp_path}: not taken, being named otherwise or no image: sub-01/anat/sub-01_Acq-x_T1w.nii.gz, "
        "sub-01/anat/sub-02_T1w.nii.gz, sub-01/ses-1/anat/sub-01_T1w.nii.gz"
    ]


@pytest.mark.parametrize(
    ("paths", "options", "words"),
    [
        (["case_0000.nii.gz"], {}, r"no image with a BIDS name \(sub-\*/\[ses-\*/\]anat/sub-..._....nii.gz\)"),
        (
            ["sub-1/anat/sub-1_T1w.nii.gz"],
            {"suffix": "ct"},
            r"no image with a BIDS name \(sub-\*/\[ses-\*/\]\*/sub-..._ct.nii.gz\)",
        ),
        (["sub-1/anat/sub-1_T1w.nii.gz"], {"channels": 2}, "a file is one channel, and this model takes 2"),
        (["sub-1/anat/sub-1_T1w.nii.gz"], {"ending": ".nrrd"}, "BIDS has NIfTI only, and this model writes .nrrd"),
    ],
)
def test_what_cannot_be_is_refused(paths, options, words, tmp_path):
    with pytest.raises(UserError, match=words):
        found(touch(tmp_path, *paths), **options)
    with pytest.raises(UserError, match="no such file or folder"):
        found(tmp_path / "nowhere")


def test_nothing_of_another_dataset_is_replaced(dataset, model, tmp_path, capsys):
    before = (dataset / "dataset_description.json").read_text()
    predict(dataset, dataset, model, "--bids", expect=1)
    assert "dataset_description.json: nothing says that this command made it" in capsys.readouterr().err
    assert (dataset / "dataset_description.json").read_text() == before and not (dataset / FIRST).exists()


@pytest.mark.parametrize("flag", ["--stats", "--save_probabilities", "--one-file-per-class"])
def test_files_that_bids_has_no_names_for_are_refused(flag, dataset, model, tmp_path, capsys):
    assert main(["predict", "-i", str(dataset), "-o", str(tmp_path / "out"), "-m", str(model), "--bids", flag]) == 1
    assert f"--bids: {flag} writes or reads files that BIDS has no names for" in capsys.readouterr().err


def test_formats_of_dicom_are_no_derivatives(dataset, model, tmp_path, capsys):
    command = ["predict", "-i", str(dataset), "-o", str(tmp_path / "out"), "-m", str(model), "--bids", "--format"]
    assert main([*command, "nifti", "rtstruct"]) == 1
    assert "--bids: derivatives are nifti, and --format names others; leave one of them out" in capsys.readouterr().err
