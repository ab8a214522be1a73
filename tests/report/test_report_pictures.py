"""Pictures and contours of the report: radiological planes, square pixels, the worst class and what is wrong in it."""

import base64
import io
import re

import numpy as np
import pytest
import SimpleITK as sitk
from builders.report import ANNOTATION, SHAPE, SPACING, scores, volume_of
from PIL import Image

from nnunetv2_cdpd.classes import class_key
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.pages.body import CT_WINDOW, read_label_map, read_volume
from nnunetv2_cdpd.pages.layers import Layers, names_by_value, regions_of
from nnunetv2_cdpd.pages.mistakes import MISSED, SPURIOUS, Mistakes, looked_up
from nnunetv2_cdpd.pages.palette import COLOURS, Palette
from nnunetv2_cdpd.pages.pictures import PANEL_PIXELS, _areas, case_pictures
from nnunetv2_cdpd.pages.viewer import viewer_volume
from nnunetv2_cdpd.report.cases import DrawJob, ReportCase, draw_case
from nnunetv2_cdpd.report.mistakes import mistakes_of


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def points(path):
    """All points of path data of M, l and z."""
    found = []
    for start, steps in re.findall(r"M([^lz]*)l([^z]*)z", path):
        moves = [np.array(start.split(), float), *np.array(steps.split(), float).reshape(-1, 2)]
        found.append(np.cumsum(moves, axis=0))
    return np.concatenate(found)


def test_forty_classes_have_forty_colours():
    assert len(set(COLOURS)) == 40
    assert len(set(Palette.of(f"class {number}" for number in range(40)).colours.values())) == 40
    palette = Palette.of(["Left Kidney", "kidney_l", "left_kidney", "spleen"])
    assert list(palette.colours.values()) == list(COLOURS[:2])
    assert palette.colour("Kidney_L") == COLOURS[0] and palette.colour("spleen") == COLOURS[1]


def test_a_nested_class_is_drawn_in_its_parent_and_a_merged_label_as_itself():
    assert next(iter(regions_of(ANNOTATION).items())) == ("liver", (1, 2)) and regions_of(ANNOTATION)["kidney"] == (5,)
    named = {1: "liver", 2: "liver_tumor", 3: "right_kidney", 4: "left_kidney", 5: "kidney", 6: "<b>"}
    assert names_by_value(ANNOTATION) == named
    layers = Layers.of(ANNOTATION, ANNOTATION)
    assert layers.seen(np.array([[[0, 2, 5]]]), np.array([[[0, 3]]])) == {
        class_key(name) for name in ("liver_tumor", "kidney", "right_kidney")
    }
    assert len({layers.palette.colour(name) for name in (*ANNOTATION.classes, "kidney")}) == 6


@pytest.mark.parametrize("axis", range(3))
def test_areas_of_values_are_counted_slice_by_slice(axis):
    label_map = np.random.default_rng(0).integers(0, 6, (4, 5, 3)).astype(np.uint8)
    values = [2, 5, 3, 300]  # the last one is more than the map's type holds
    others = tuple({0, 1, 2} - {axis})
    expected = np.stack([(label_map.astype(int) == value).sum(others) for value in values], 1)
    assert np.array_equal(_areas(label_map, values, axis), expected) and expected[:, :3].any(0).all()
    assert _areas(label_map, [], axis).shape == (label_map.shape[axis], 0)


# ---- planes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 1, 0, 0, 0, 1, 1, 0, 0)])
def test_pictures_are_radiological_whatever_the_axes_of_the_file(tmp_path, direction):
    # In a volume whose axes run to the patient's left, back and head, the liver lies right, front and low.
    label = np.zeros(SHAPE, np.uint8)
    label[1:4, 2:6, 3:9] = 1
    volume = sitk.GetImageFromArray(label)
    volume.SetSpacing(SPACING)
    grid = sitk.DICOMOrient(volume, "LPS")
    turned = sitk.PermuteAxes(grid, [1, 2, 0]) if direction[0] == 0 else sitk.Flip(grid, [direction[0] < 0] * 2 + [False])
    path = tmp_path / "label.nii.gz"
    sitk.WriteImage(turned, str(path))
    read = read_volume(path)
    assert read.array.shape == SHAPE and read.spacing == SPACING[::-1]
    np.testing.assert_array_equal(read.array, label)

    planes = case_pictures(np.full(SHAPE, 50, np.int16), read, np.zeros(SHAPE, int), {"liver": [1]}, {"liver": [1]}, CT_WINDOW)
    assert [picture.plane for picture in planes] == ["axial", "coronal", "sagittal"]
    for picture, rows_mm, columns_mm, rows_of_liver, columns_of_liver in zip(
        planes,
        (32, 30, 30),
        (24, 24, 32),
        ((2 * 2, 6 * 2), (30 - 4 * 3, 30 - 1 * 3), (30 - 4 * 3, 30 - 1 * 3)),  # front up; head up
        ((3, 9), (3, 9), (2 * 2, 6 * 2)),  # right to the left; front to the left
    ):
        scale = PANEL_PIXELS / 32
        assert (picture.height, picture.width) == (round(rows_mm * scale), round(columns_mm * scale))
        assert decoded(picture.image).shape == (picture.height, picture.width)
        contour = points(picture.reference["liver"])
        assert np.allclose([contour[:, 0].min(), contour[:, 0].max()], np.array(columns_of_liver) * scale, atol=0.5)
        assert np.allclose([contour[:, 1].min(), contour[:, 1].max()], np.array(rows_of_liver) * scale, atol=0.5)
        assert picture.prediction == {}


def test_a_contour_goes_around_its_region_and_around_holes():
    label = np.zeros((1, 16, 24), int)
    label[0, 4:12, 4:20], label[0, 6:9, 8:12] = 1, 2
    regions = {"liver": [1, 2], "ring": [1], "tumor": [2], "other": [7]}
    (plane,) = case_pictures(None, volume_of(label, (9.0, 1.0, 1.0)), label, regions, {})
    assert list(plane.reference) == ["liver", "ring", "tumor"]
    assert [path.count("M") for path in plane.reference.values()] == [1, 2, 1]
    assert len(points(plane.reference["liver"])) <= 9  # straight sides need no points between
    assert plane.image == ""


def test_the_slice_that_shows_most_classes_is_chosen_and_air_is_cut_away():
    image, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.int32)
    image[2:9, 4:12, 6:18] = 40
    label[3:8, 5, 7], label[6, 6:9, 8], label[6, 6, 9] = 1, 2, 3
    axial = case_pictures(image, volume_of(label, (3.0, 2.0, 1.0)), label, {"a": [1], "b": [2], "c": [3]}, {})[0]
    assert (axial.slice_number, axial.num_slices) == (7, 10)
    assert (axial.height, axial.width) == (PANEL_PIXELS, round(PANEL_PIXELS * 12 / 16))


def test_a_single_slice_gives_one_picture():
    flat = volume_of(np.zeros((1, 9, 12), int), (999.0, 1.0, 1.0))
    assert len(case_pictures(np.random.default_rng(0).normal(size=(1, 9, 12)), flat, flat.array, {}, {})) == 1


def test_label_maps_off_the_grid_are_refused():
    reference = volume_of(np.zeros(SHAPE, int), SPACING[::-1])
    with pytest.raises(UserError, match="shape of reference .* and prediction .* differ"):
        case_pictures(None, reference, np.zeros((1, 2, 3), int), {}, {})
    with pytest.raises(UserError, match="shape of reference .* and image .* differ"):
        viewer_volume(np.zeros((1, 2, 3)), reference, reference.array, {}, {})


def test_a_label_map_of_floats_is_read_as_integers(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full(SHAPE, 2.0, np.float32)), str(tmp_path / "x.nii.gz"))
    assert read_label_map(tmp_path / "x.nii.gz").array.dtype == np.int32


@pytest.mark.parametrize("damaged", ["image", "reference", "prediction"])
def test_a_file_that_cannot_be_read_is_told_by_what_it_is_and_without_its_path(damaged, tmp_path):
    files = {what: tmp_path / f"{what}.nii.gz" for what in ("image", "reference", "prediction")}
    for file in files.values():
        sitk.WriteImage(sitk.GetImageFromArray(np.ones(SHAPE, np.uint8)), str(file))
    files[damaged].write_bytes(files[damaged].read_bytes()[:40])
    job = DrawJob(ReportCase("a", *files.values()), Layers.of(ANNOTATION, ANNOTATION), None)
    with pytest.raises(UserError, match=f"^its {damaged} cannot be read; is the file damaged.$"):
        draw_case(job)


# ---- mistakes ------------------------------------------------------------------------------------------------------------


def results_of(metrics, source="C"):
    return Results(ANNOTATION, ANNOTATION, (CaseScores("a", source, "", "", metrics),), tolerance_mm=2.0)


def test_mistakes_follow_the_rules_of_the_scores():
    """Of source C, which annotates `kidney`, either side is right, and a liver that it does not annotate is no mistake."""
    results = results_of({"kidney": scores(0.5)})
    codes = mistakes_of(results, results.cases[0]).codes
    background, liver, tumor, right, left, kidney = range(6)
    for predicted in (right, left, kidney):
        assert codes[kidney, predicted] == 0 and codes[background, predicted] == SPURIOUS and codes[kidney, background] == MISSED
    assert codes[background, liver] == codes[liver, background] == 0 and codes[kidney, liver] == MISSED
    # of source "A & B", a tumor is liver too
    results = results_of({"liver": scores(0.9), "liver_tumor": scores(0.2)}, "A & B")
    mistakes = mistakes_of(results, results.cases[0])
    assert mistakes.codes[tumor, liver] == MISSED and mistakes.codes[liver, tumor] == SPURIOUS and mistakes.worst == "liver_tumor"
    assert mistakes.codes[tumor, background] == MISSED and mistakes.codes[background, right] == 0
    assert mistakes.wrong[tumor, liver] and not mistakes.wrong[liver, background]
    assert mistakes_of(results, None) is None


def test_counts_of_mistakes_are_those_of_the_scores():
    generator = np.random.default_rng(0)
    reference, prediction = (generator.choice([0, 1, 2, 6], (4, 9, 9)) for _ in range(2))
    (source,) = (index for index, its in enumerate(ANNOTATION.sources) if its.name == "A & B")
    metrics = case_metrics(
        reference, prediction, (1, 1, 1), reference=ANNOTATION, source=source, prediction=ANNOTATION, tolerance_mm=None
    )
    its = mistakes_of(results_of(metrics, "A & B"), CaseScores("a", "A & B", "", "", metrics))
    wrong = looked_up(its.wrong, reference, prediction)
    assert wrong.sum() == metrics[its.worst]["FP"] + metrics[its.worst]["FN"] > 0
    assert its.worst == min(metrics, key=lambda name: metrics[name]["Dice"])
    liver, predicted_liver = np.isin(reference, (1, 2)), np.isin(prediction, (1, 2))
    tumor, predicted_tumor = reference == 2, prediction == 2
    expected = ((liver & ~predicted_liver) | (tumor & ~predicted_tumor)) * MISSED
    expected |= ((predicted_liver & ~liver) | (predicted_tumor & ~tumor)) * SPURIOUS
    np.testing.assert_array_equal(looked_up(its.codes, reference, prediction), expected)


def test_values_that_nothing_declares_count_as_background():
    table = np.arange(6, dtype=np.uint8).reshape(2, 3)
    values = np.array([[[0, 1, -1, 300]]])
    assert looked_up(table, values, values).tolist() == [[[0, 4, 0, 0]]]
    assert looked_up(table, values.astype(np.uint16), values[..., ::-1]).tolist() == [[[0, 3, 1, 0]]]


def test_slices_go_through_the_mistakes_of_the_worst_class():
    reference = np.zeros((20, 24, 28), np.uint8)
    reference[1:12, 2:20, 2:26] = 1  # a large liver, of which much is missed in one slice
    reference[15:19, 18:22, 5:9] = 6
    prediction = reference.copy()
    prediction[3, 2:20] = 0
    prediction[17, 18:22, 5:9], prediction[15:18, 20, 5:9], prediction[15:19, 18:22, 7] = 0, 0, 0
    classes = {"liver": [1], "<b>": [6]}
    good, bad = {**scores(0.9), "FN": 400, "FP": 0}, {**scores(0.3), "FN": 30, "FP": 0}
    table = np.zeros((7, 7), bool)
    for worst, expected in (("<b>", (18, 21, 8)), ("liver", (4, None, None))):
        value = classes[worst][0]
        wrong, touched = table.copy(), table.copy()
        wrong[value, 0] = touched[value] = touched[:, value] = True
        codes = np.zeros((7, 7), np.uint8)
        codes[[1, 6], 0] = MISSED
        planes = case_pictures(
            None, volume_of(reference, (1, 1, 1)), prediction, classes, classes, None, Mistakes(codes, worst, wrong, touched)
        )
        for plane, number in zip(planes, expected):
            assert number is None or plane.slice_number == number
        assert set(planes[0].mistakes) == {"missed"}
    results = Results(
        ANNOTATION, ANNOTATION, (CaseScores("a", "A & B", "", "", {"liver": bad, "liver_tumor": good}),), tolerance_mm=2.0
    )
    assert mistakes_of(results, results.cases[0]).worst == "liver"


def test_of_a_class_without_mistakes_the_slice_shows_most_of_it():
    label = np.zeros(SHAPE, np.uint8)
    label[4, 3:9, 3:9], label[7, 3:5, 3:5], label[2] = 1, 1, 6
    results = results_of({"liver": scores(1.0)}, "A & B")
    planes = case_pictures(
        None, volume_of(label, (1, 1, 1)), label, {"liver": [1]}, {"liver": [1]}, None, mistakes_of(results, results.cases[0])
    )
    assert planes[0].slice_number == 5 and planes[0].mistakes == {}


def test_each_kind_of_mistake_has_its_contour():
    reference, prediction = np.zeros((2, 1, 30, 30), np.uint8)
    reference[0, 5:10, 5:10], prediction[0, 15:20, 5:10] = 1, 1
    reference[0, 15:20, 20:25], prediction[0, 15:20, 20:25] = 1, 6
    codes = np.zeros((7, 7), np.uint8)
    codes[1, 0], codes[0, 1], codes[1, 6] = MISSED, SPURIOUS, MISSED | SPURIOUS
    nothing = np.zeros((7, 7), bool)
    (plane,) = case_pictures(
        None, volume_of(reference, (1, 1, 1)), prediction, {}, {}, None, Mistakes(codes, "", nothing, nothing)
    )
    scale = PANEL_PIXELS / 20  # from 5 to 25
    for name, rows, columns in (
        ("missed", (0, 5), (0, 5)),
        ("spurious", (10, 15), (0, 5)),
        ("another class", (10, 15), (15, 20)),
    ):
        found = points(plane.mistakes[name])
        assert np.allclose([found.min(0), found.max(0)], np.array([columns, rows]).T * scale, atol=0.5), name
