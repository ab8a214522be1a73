"""Left and right of merged labels: separated where it is clear, left merged where not; the sources say which is which."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from builders.conversion import declare
from builders.replica_files import write_nifti

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED, read_annotation
from nnunetv2_cdpd.conversion.run import Options, convert
from nnunetv2_cdpd.conversion.sides import SidePair, split_sides
from nnunetv2_cdpd.merge import merge_datasets
from nnunetv2_cdpd.volumes.grid import Grid

SHAPE = (60, 40, 24)
AFFINE = np.array([[3.0, 0, 0, -90], [0, 3.5, 0, -70], [0, 0, 4, 15], [0, 0, 0, 1]])  # RAS: small x is the patient's left
KIDNEY, TUMOR, LEFT, RIGHT = 1, 2, 3, 4
PAIR = SidePair("kidney", KIDNEY, LEFT, RIGHT, inside=(TUMOR,))
LEFT_BOX, RIGHT_BOX = np.s_[10:18, 8:18, 6:16], np.s_[42:50, 9:17, 5:15]


def body():
    image = np.full(SHAPE, -1000, np.int16)
    image[4:56, 4:36] = 20
    return image


def label_of(*boxes, value=KIDNEY):
    label = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        label[box] = value
    return label


def split(label, image=None, affine=AFFINE):
    label = label.copy()
    why = split_sides(label, body() if image is None else image, Grid.of_nifti(label.shape, affine), PAIR)
    return label, why


def test_two_kidneys_get_their_sides():
    label, why = split(label_of(LEFT_BOX, RIGHT_BOX))
    assert why is None
    assert (label[LEFT_BOX] == LEFT).all() and (label[RIGHT_BOX] == RIGHT).all() and not (label == KIDNEY).any()


@pytest.mark.parametrize("axes", ["LPS", "IPL", "ASR", "RAI"])
def test_sides_are_the_patients_in_any_order_of_axes(axes, tmp_path):
    expected = label_of(LEFT_BOX, value=LEFT) + label_of(RIGHT_BOX, value=RIGHT)
    for name, array in (("image", body()), ("label", label_of(LEFT_BOX, RIGHT_BOX)), ("expected", expected)):
        write_nifti(tmp_path / f"{name}.nii", array, axes, affine=AFFINE)
    image, label, expected = (nibabel.load(tmp_path / f"{name}.nii") for name in ("image", "label", "expected"))
    result, why = split(np.asarray(label.dataobj), np.asarray(image.dataobj), label.affine)
    assert why is None and np.array_equal(result, np.asarray(expected.dataobj))


@pytest.mark.parametrize("box, side", [(LEFT_BOX, LEFT), (RIGHT_BOX, RIGHT)])
def test_a_single_kidney_gets_the_side_of_the_body_that_it_lies_in(box, side):
    label, why = split(label_of(box))
    assert why is None and (label[box] == side).all()


def test_small_parts_follow_the_plane_between_the_large_ones():
    island = np.s_[20:21, 30:32, 20:22]
    label, why = split(label_of(LEFT_BOX, RIGHT_BOX, island))
    assert why is None and (label[island] == LEFT).all()


def test_a_tumor_joins_the_parts_of_its_kidney_and_keeps_its_value():
    label = label_of(LEFT_BOX, RIGHT_BOX)
    label[44:47] = np.where(label[44:47] == KIDNEY, TUMOR, 0)  # cuts the right kidney in two
    result, why = split(label)
    assert why is None and np.array_equal(result == TUMOR, label == TUMOR)
    assert (result[RIGHT_BOX][label[RIGHT_BOX] == KIDNEY] == RIGHT).all()


@pytest.mark.parametrize(
    "label, why",
    [
        (label_of(LEFT_BOX, RIGHT_BOX, np.s_[10:50, 12:14, 8:10]), "in the middle"),  # horseshoe
        (label_of(np.s_[8:36, 8:18, 6:16]), "across the middle"),
        (label_of(LEFT_BOX, np.s_[20:28, 22:30, 6:16]), "both large parts lie on one side"),
        (label_of(np.s_[26:34, 8:18, 6:16]), "in the middle"),
        (label_of(LEFT_BOX, RIGHT_BOX, np.s_[12:18, 25:32, 6:16]), "3 large parts"),
        (label_of(*(np.s_[x : x + 2, y : y + 2, 6:8] for x in range(8, 56, 12) for y in (8, 16, 24))), "no large parts"),
    ],
)
def test_where_it_is_ambiguous_the_label_stays_merged(label, why):
    result, said = split(label)
    assert why in said and np.array_equal(result, label)


def test_without_geometry_the_label_stays_merged():
    label = label_of(LEFT_BOX, RIGHT_BOX)
    result, why = split(label, affine=np.eye(4))
    assert "no geometry" in why and np.array_equal(result, label)


def test_nothing_to_separate_is_no_reason():
    assert split(label_of(LEFT_BOX, value=TUMOR))[1] is None
    assert split(label_of())[1] is None


SHARED = Path(__file__).parents[3] / "shared" / "data" / "totalsegmentator"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the CT in ../shared/data, which is no part of the project")
@pytest.mark.parametrize("right, left", [(2, 3), (12, 13)])  # kidneys, adrenal glands
def test_sides_of_a_real_ct_are_found_again(right, left):
    truth = nibabel.load(SHARED / "TS01_btcv13.nii.gz")
    image = np.asanyarray(nibabel.load(SHARED / "TS01_ct.nii.gz").dataobj)
    values = np.asanyarray(truth.dataobj)
    expected = np.select([values == right, values == left], [RIGHT, LEFT], 0).astype(np.uint8)
    assert (expected == RIGHT).any() and (expected == LEFT).any()
    result, why = split(np.where(expected > 0, KIDNEY, 0).astype(np.uint8), image, truth.affine)
    assert why is None and np.array_equal(result, expected)


@pytest.fixture
def converted(tmp_path, nnunet_folders):
    """A dataset of a clear case and a horseshoe kidney, sides separated."""
    horseshoe = label_of(LEFT_BOX, RIGHT_BOX, np.s_[10:50, 12:14, 8:10])
    clear = label_of(LEFT_BOX, RIGHT_BOX)
    clear[11, 9, 7] = TUMOR
    for case, label in (("clear", clear), ("horseshoe", horseshoe)):
        write_nifti(tmp_path / f"img/{case}.nii", body(), "LPS", affine=AFFINE)
        write_nifti(tmp_path / f"lab/{case}.nii", label, "LPS", affine=AFFINE)
    dataset = declare(
        values={1: "kidney", 2: "kidney_tumor"},
        nested={"kidney_tumor": "kidney"},
        merged_labels={"kidney": ("right_kidney", "left_kidney")},
    )
    options = Options(split_sides=True)
    return (
        convert(dataset, tmp_path, options=options, num_processes=1, progress=False, report=lambda line: None),
        tmp_path,
        dataset,
    )


def test_cases_that_stay_merged_are_a_source_of_their_own(converted):
    outcome, _, _ = converted
    assert outcome.complete
    annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
    assert annotation.case_source == {"MINE_clear": "MINE", "MINE_horseshoe": "MINE_merged_kidney"}
    split_source, merged_source = annotation.sources
    assert set(split_source.annotated_classes) == {"right_kidney", "left_kidney", "kidney_tumor"}
    assert (merged_source.annotated_classes, merged_source.merged_labels) == (("kidney_tumor",), ("kidney",))
    value_of = dict(zip(annotation.classes, annotation.values))
    column = annotation.column_names.index
    own, merged = annotation.tables
    assert own[value_of["left_kidney"], column("right_kidney")] == NEGATIVE
    assert own[value_of["left_kidney"], column("left_kidney")] == POSITIVE
    (kidney,) = annotation.merged_labels
    assert merged[kidney.value, column("right_kidney")] == UNSUPERVISED and merged[kidney.value, column("kidney")] == POSITIVE
    assert any("not told apart" in note for note in outcome.notes["MINE_horseshoe"])


def test_case_that_stays_merged_is_taught_no_structure_that_its_source_does_not_annotate(converted):
    _, folder, dataset = converted
    only_tumor = replace(dataset, annotates=("kidney_tumor",))
    options = Options(split_sides=True)
    outcome = convert(only_tumor, folder, options=options, num_processes=1, progress=False, report=lambda line: None)
    annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
    (source,) = annotation.sources
    assert (source.name, source.annotated_classes, source.merged_labels) == ("MINE", ("kidney_tumor",), ())
    (kidney,) = annotation.merged_labels
    assert POSITIVE not in annotation.tables[0, kidney.value]


def test_separated_dataset_can_be_merged_with_others(converted, nnunet_folders):
    outcome, _, _ = converted
    folder = merge_datasets(
        [outcome.folder], 500, "Sides", num_processes=1, search_duplicates=False, progress=False, report=lambda line: None
    )
    annotation = read_annotation(json.loads((folder / "dataset.json").read_text()))
    assert set(annotation.classes) == {"right_kidney", "left_kidney", "kidney_tumor"}
    assert [label.name for label in annotation.merged_labels] == ["kidney"]
    assert set(annotation.possible_parents["kidney_tumor"]) == {"right_kidney", "left_kidney"}


def test_other_options_convert_the_cases_again(converted):
    outcome, folder, dataset = converted
    again = convert(dataset, folder, num_processes=1, progress=False, report=lambda line: None)
    assert sorted(again.done) == sorted(outcome.done) and again.complete
    block = json.loads((outcome.folder / "dataset.json").read_text())
    assert block["labels"] == {"background": 0, "kidney": [1, 2], "kidney_tumor": 2}
    assert block["cdpd"]["stands_for"] == {"kidney": ["right_kidney", "left_kidney"]}
