"""Cases annotated in part, labels in other forms, images that are no HU: declared by YAML, as users would."""

import json

import nibabel
import numpy as np
import pytest
from builders.replica_files import SHAPE, label_of, make_truth, write_dicom, write_nifti

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.conversion.declaration_file import read_declaration
from nnunetv2_cdpd.conversion.describe import describe
from nnunetv2_cdpd.conversion.run import Options, convert
from nnunetv2_cdpd.errors import UserError

BASE = "name: CLINIC\nimages: img/{case}.nii.gz\nlabels: lab/{case}.nii.gz\n"


@pytest.fixture
def folder(tmp_path, nnunet_folders):
    """Four cases: liver and aorta; liver; nothing; liver and a lesion."""
    for case, names in {"a": {1: "liver", 2: "aorta"}, "b": {1: "liver"}, "c": {}, "d": {1: "liver", 7: "lesion"}}.items():
        truth = make_truth(names.values(), ord(case))
        write_nifti(tmp_path / f"data/img/{case}.nii.gz", truth.image)
        write_nifti(tmp_path / f"data/lab/{case}.nii.gz", label_of(truth, names))
    return tmp_path / "data"


def declared(folder, text):
    (folder.parent / "my.yaml").write_text(BASE + text)
    return read_declaration(folder.parent / "my.yaml")


def converted(folder, text, **options):
    dataset = declared(folder, text)
    return convert(dataset, folder, 301, options=Options(**options), num_processes=1, progress=False, report=lambda line: None)


def annotation_of(outcome):
    return read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))


def voxels(outcome, case, kind="labelsTr"):
    ending = "_0000.nii.gz" if kind == "imagesTr" else ".nii.gz"
    return np.asanyarray(nibabel.load(outcome.folder / kind / f"CLINIC_{case}{ending}").dataobj)


BY_CONTENT = """
values: {1: liver, 2: aorta}
ignore_values: [7]
sources: {BOTH: [liver, aorta], LIVER: [liver]}
sources_by_content: true
"""


def test_value_that_means_not_annotated_becomes_the_ignore_label(folder):
    outcome = converted(folder, "values: {1: liver, 2: aorta}\nignore_values: [7]\n")
    source = np.asanyarray(nibabel.load(folder / "lab/d.nii.gz").dataobj)
    assert annotation_of(outcome).ignore_value == 3
    assert np.array_equal(voxels(outcome, "d") == 3, source == 7) and (source == 7).any()
    assert np.array_equal(voxels(outcome, "d") == 1, source == 1)


def test_source_of_a_case_is_the_smallest_that_annotates_what_it_holds(folder):
    outcome = converted(folder, BY_CONTENT)
    annotation = annotation_of(outcome)
    assert outcome.complete and outcome.skipped == {
        "CLINIC_c": "its label holds no structure, so nothing tells what it annotates"
    }
    assert annotation.case_source == {"CLINIC_a": "BOTH", "CLINIC_b": "LIVER", "CLINIC_d": "LIVER"}
    assert {source.name: source.annotated_classes for source in annotation.sources} == {
        "BOTH": ("liver", "aorta"), "LIVER": ("liver",)
    }  # fmt: skip
    assert len(list((outcome.folder / "imagesTr").iterdir())) == 3


def test_case_that_was_left_out_is_not_looked_at_again(folder):
    converted(folder, BY_CONTENT)
    (folder / "lab/c.nii.gz").chmod(0)  # cannot be read now
    outcome = converted(folder, BY_CONTENT)
    assert outcome.complete and not outcome.done and not outcome.failed and set(outcome.skipped) == {"CLINIC_c"}
    assert outcome.before == ["CLINIC_a", "CLINIC_b", "CLINIC_d"]


def test_parts_know_of_cases_that_others_left_out(folder):
    first = converted(folder, BY_CONTENT, part_id=0, num_parts=2)
    assert not first.complete and first.remaining == 2
    second = converted(folder, BY_CONTENT, part_id=1, num_parts=2)
    assert not second.remaining and set(second.skipped) == {"CLINIC_c"}
    last = converted(folder, BY_CONTENT)
    assert last.complete and annotation_of(last).case_source.keys() == {"CLINIC_a", "CLINIC_b", "CLINIC_d"}


def test_sides_that_were_told_apart_count_as_what_the_label_calls_them(folder):
    """Two kidneys well apart, and no liver: the smallest source that annotates kidneys."""
    label = np.zeros((60, 24, 18), np.uint8)
    label[5:12, 8:14, 4:12] = label[48:55, 8:14, 4:12] = 1
    image = np.where(label, 60, 0).astype(np.int16)
    for case in "abcd":
        write_nifti(folder / f"img/{case}.nii.gz", image)
        write_nifti(folder / f"lab/{case}.nii.gz", label)
    text = """
values: {1: kidney, 2: liver}
merged_labels: {kidney: [right_kidney, left_kidney]}
sources: {LIVER: [liver], KIDNEYS: [kidney], BOTH: [liver, kidney]}
sources_by_content: true
"""
    outcome = converted(folder, text, split_sides=True)
    (source,) = annotation_of(outcome).sources
    assert source.name == "KIDNEYS" and set(source.annotated_classes) == {"left_kidney", "right_kidney"}


def test_a_source_that_annotates_a_union_knows_its_members(folder):
    for case, names in {"b": {1: "upper", 2: "lower", 3: "liver"}, "d": {3: "liver"}}.items():
        truth = make_truth(names.values(), ord(case))
        write_nifti(folder / f"img/{case}.nii.gz", truth.image)
        write_nifti(folder / f"lab/{case}.nii.gz", label_of(truth, names))
    text = "values: {1: upper, 2: lower, 3: liver}\nunions: {left_lung: [upper, lower]}\nsources_by_content: true\nsources: "
    sources = annotation_of(converted(folder, text + "{LUNGS: [left_lung, liver], LIVER: [liver]}\n")).case_source
    assert (sources["CLINIC_b"], sources["CLINIC_d"]) == ("LUNGS", "LIVER")
    own = "{LUNGS: [left_lung, liver], LOBES: [upper, lower, liver]}\n"  # of these names the label holds more
    assert annotation_of(converted(folder, text + own)).case_source["CLINIC_b"] == "LOBES"


def test_undeclared_value_is_no_reason_to_leave_a_case_out(folder):
    write_nifti(folder / "lab/c.nii.gz", np.full(SHAPE, 9, np.uint8))
    assert "holds 9, which is not declared" in converted(folder, BY_CONTENT).failed["CLINIC_c"]


def test_nothing_is_written_where_all_cases_are_left_out(folder):
    for case in "abd":
        (folder / f"lab/{case}.nii.gz").unlink()
        (folder / f"img/{case}.nii.gz").unlink()
    outcome = converted(folder, BY_CONTENT)
    assert not outcome.complete and not (outcome.folder / "dataset.json").exists() and set(outcome.skipped) == {"CLINIC_c"}


def test_case_without_label_file_is_read_from_its_masks(folder):
    truth = make_truth(["liver", "aorta"], 5)
    for case in "bcd":
        (folder / f"lab/{case}.nii.gz").unlink()
    for name in truth.masks:
        write_nifti(folder / f"lab/b/{name.upper()}.nii.gz", truth.masks[name].astype(np.uint8))
    text = (
        "mask_files: 'lab/{case}/{structure}.nii.gz'\nvalues: {1: liver, 2: aorta, LIVER: liver, AORTA: aorta}\n"
        "unlabelled_images: true\n"
    )
    outcome = converted(folder, text)
    assert sorted(outcome.done) == ["CLINIC_a", "CLINIC_b"]
    assert np.array_equal(voxels(outcome, "b"), label_of(truth, {1: "liver", 2: "aorta"}))
    assert annotation_of(outcome).values == (1, 2)


def test_labels_without_image_are_passed_over_where_that_is_said(folder):
    (folder / "img/b.nii.gz").unlink()
    with pytest.raises(UserError, match="no image for the label of b"):
        converted(folder, BY_CONTENT)
    assert sorted(converted(folder, BY_CONTENT + "imageless_labels: true\n").done) == ["CLINIC_a", "CLINIC_d"]


def test_stored_values_become_hu(folder):
    stored = (np.asanyarray(nibabel.load(folder / "img/a.nii.gz").dataobj).astype(int) + 1024).astype(np.uint16)
    expected = voxels(converted(folder, BY_CONTENT), "a", "imagesTr")
    for case in "bcd":
        (folder / f"lab/{case}.nii.gz").unlink()
        (folder / f"img/{case}.nii.gz").unlink()
    write_nifti(folder / "img/a.nii.gz", stored)
    outcome = converted(folder, BY_CONTENT + "hu_offset: -1024\n")
    assert np.array_equal(voxels(outcome, "a", "imagesTr"), expected) and expected.min() < 0
    assert voxels(outcome, "a", "imagesTr").dtype == np.int16


def test_image_that_is_in_hu_already_is_refused_where_it_would_be_shifted(folder):
    failed = converted(folder, BY_CONTENT + "hu_offset: -1024\n").failed
    assert "img/a.nii.gz holds -" in failed["CLINIC_a"] and "is it in HU already?" in failed["CLINIC_a"]


def test_files_of_another_collection_are_left_alone(folder):
    write_nifti(folder / "other/lab/a.nii.gz", np.ones(SHAPE, np.uint8))
    with pytest.raises(UserError, match="case a has two labels"):
        converted(folder, BY_CONTENT)
    assert "CLINIC_a" in converted(folder, BY_CONTENT + "foreign: other/lab/*\n").done


def test_later_template_asks_only_for_cases_that_no_earlier_one_has(folder):
    for name in ("x", "y"):
        write_nifti(folder / f"copies/{name}/a.nii.gz", np.ones(SHAPE, np.uint8))
    text = BY_CONTENT + "foreign: []\n"
    (folder.parent / "my.yaml").write_text(
        BASE.replace("labels: lab/{case}.nii.gz", "labels: ['lab/{case}.nii.gz', 'copies/*/{case}.nii.gz']") + text
    )
    outcome = convert(
        read_declaration(folder.parent / "my.yaml"), folder, 301, num_processes=1, progress=False, report=lambda line: None
    )
    assert annotation_of(outcome).case_source["CLINIC_a"] == "BOTH"


def test_name_of_the_given_folder_may_stand_in_a_template(folder):
    (folder.parent / "my.yaml").write_text(BASE.replace("img/{case}", "data/img/{case}") + BY_CONTENT)
    dataset = read_declaration(folder.parent / "my.yaml")
    for given in (folder, folder.parent):
        outcome = convert(dataset, given, 301, num_processes=1, progress=False, report=lambda line: None)
        assert outcome.complete and len(outcome.done) + len(outcome.before) == 3


def test_name_of_the_given_folder_is_no_case(folder):
    write_nifti(folder / "a/ct.nii.gz", make_truth(["liver"], 1).image)
    write_nifti(folder / "a/seg.nii.gz", np.ones(SHAPE, np.uint8))
    write_nifti(folder / "ct.nii.gz", make_truth(["liver"], 1).image)  # of no case, though it lies in a folder
    base = BASE.replace("img/{case}", "'{case}/ct").replace("lab/{case}.nii.gz", "'{case}/seg.nii.gz'")
    (folder.parent / "my.yaml").write_text(base.replace("/ct.nii.gz", "/ct.nii.gz'") + "values: {1: liver}\n")
    dataset = read_declaration(folder.parent / "my.yaml")
    outcome = convert(dataset, folder, 301, num_processes=1, progress=False, report=lambda line: None)
    assert list(outcome.done) == ["CLINIC_a"]


def test_scaled_masks_are_integers_where_they_are_that_near(folder):
    label = np.asanyarray(nibabel.load(folder / "lab/a.nii.gz").dataobj)
    write_nifti(folder / "lab/a.nii.gz", label * 1.0000000591)
    outcome = converted(folder, BY_CONTENT)
    assert np.array_equal(voxels(outcome, "a"), label)
    write_nifti(folder / "lab/a.nii.gz", label * 1.01)
    assert "values that are no integers (1.01, 2.02)" in converted(folder, BY_CONTENT).failed["CLINIC_a"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("values: {1: liver}\nignore_values: [1]\n", "`ignore_values`: 1 is liver; keep it in one of the two"),
        ("values: {1: liver}\nignore_values: [0]\n", "ignore_values: 0 is no label value"),
        ("values: {1: liver}\nignore_values: x\n", "ignore_values: 'x' is no label value"),
        ("values: {1: liver}\nsources: {A: liver}\n", "add `sources_by_content: true`"),
        ("values: {1: liver}\nsources_by_content: true\n", "`sources_by_content` needs `sources`"),
        ("values: {1: liver}\nsources: {A: spleen}\nsources_by_content: true\n", "`sources` names spleen"),
        ("values: {1: liver}\nhu_offset: much\n", "hu_offset: expected a number, got 'much'"),
        ("values: {1: liver}\nmask_files: lab/{case}/liver.nii.gz\n", "mask_files: masks need {structure}"),
        ("values: {liver: liver}\n", "'liver' is no label value"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(text, words, folder):
    with pytest.raises(UserError) as caught:
        declared(folder, text)
    assert words in str(caught.value) and "my.yaml" in str(caught.value)


def test_masks_are_declared_once(folder):
    text = "values: {liver: liver}\nmasks: true\nmask_files: 'lab/{case}/{structure}.nii.gz'\n"
    (folder.parent / "my.yaml").write_text(BASE.replace("lab/{case}", "lab/{case}/{structure}") + text)
    with pytest.raises(UserError, match="`masks` says that `labels` are mask files already"):
        read_declaration(folder.parent / "my.yaml")


def test_description_says_what_becomes_of_them(folder):
    text = describe(declared(folder, BY_CONTENT + "hu_offset: -1024\n"))
    assert "label value 7 becomes the ignore label" in text and "-1024 is added to the stored values" in text
    assert "belongs to the smallest of these sources" in text


# ---- NIfTI copies of DICOM collections --------------------------------------------------------------------------------

SERIES = """
name: CLINIC
images: ['{case}/series', 'ct/{case}.nii.gz']
case: P\\d+
dicom: true
labels: lab/{case}.nii.gz
values: {1: liver}
"""


def test_collection_of_series_may_hold_nifti_copies(tmp_path, nnunet_folders):
    (tmp_path / "my.yaml").write_text(SERIES)
    for case in ("P1", "P2"):
        truth = make_truth(["liver"], int(case[1]))
        write_nifti(tmp_path / f"data/lab/{case}.nii.gz", label_of(truth, {1: "liver"}))
        if case == "P1":
            write_dicom(tmp_path / f"data/{case}/series", truth.image)
            write_nifti(tmp_path / f"data/{case}/series/{case}_converted.nii.gz", truth.image)  # left by a tool, no slice
        else:
            write_nifti(tmp_path / f"data/ct/{case}.nii.gz", truth.image, "LAS")
    dataset = read_declaration(tmp_path / "my.yaml")
    outcome = convert(dataset, tmp_path / "data", 301, num_processes=1, progress=False, report=lambda line: None)
    assert outcome.complete and list(outcome.done) == ["CLINIC_P1", "CLINIC_P2"]
    for case in ("P1", "P2"):
        label, image = (
            nibabel.as_closest_canonical(nibabel.load(outcome.folder / kind))
            for kind in (f"labelsTr/CLINIC_{case}.nii.gz", f"imagesTr/CLINIC_{case}_0000.nii.gz")
        )
        assert np.array_equal(np.asanyarray(label.dataobj), label_of(make_truth(["liver"], int(case[1])), {1: "liver"}))
        assert np.asanyarray(image.dataobj)[np.asanyarray(label.dataobj) == 1].min() >= 60
