"""Pictures, contours and volumes of the report: radiological planes, square pixels, values where they belong."""

import base64
import io
import re

import numpy as np
import pytest
import SimpleITK as sitk
from builders.report import ANNOTATION, SHAPE, SPACING
from PIL import Image

from nnunetv2_cdpd.classes import class_key
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pages.layers import Layers, names_by_value, regions_of
from nnunetv2_cdpd.pages.palette import COLOURS, Palette
from nnunetv2_cdpd.pages.pictures import CT_WINDOW, PANEL_PIXELS, Volume, _areas, case_pictures, read_label_map, read_volume
from nnunetv2_cdpd.pages.viewer import MOST_PIXELS, MOST_SLICES, volume_sheets
from nnunetv2_cdpd.report.cases import DrawJob, ReportCase, draw_case


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
    assert layers.seen(np.array([0, 2, 5]), np.array([0, 3])) == {
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
    (plane,) = case_pictures(None, Volume(label, (9.0, 1.0, 1.0)), label, regions, {})
    assert list(plane.reference) == ["liver", "ring", "tumor"]
    assert [path.count("M") for path in plane.reference.values()] == [1, 2, 1]
    assert len(points(plane.reference["liver"])) <= 9  # straight sides need no points between
    assert plane.image == ""


def test_the_slice_that_shows_most_classes_is_chosen_and_air_is_cut_away():
    image, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.int32)
    image[2:9, 4:12, 6:18] = 40
    label[3:8, 5, 7], label[6, 6:9, 8], label[6, 6, 9] = 1, 2, 3
    axial = case_pictures(image, Volume(label, (3.0, 2.0, 1.0)), label, {"a": [1], "b": [2], "c": [3]}, {})[0]
    assert (axial.slice_number, axial.num_slices) == (7, 10)
    assert (axial.height, axial.width) == (PANEL_PIXELS, round(PANEL_PIXELS * 12 / 16))


def test_a_single_slice_gives_one_picture():
    flat = Volume(np.zeros((1, 9, 12), int), (999.0, 1.0, 1.0))
    assert len(case_pictures(np.random.default_rng(0).normal(size=(1, 9, 12)), flat, flat.array, {}, {})) == 1


def test_label_maps_off_the_grid_are_refused():
    reference = Volume(np.zeros(SHAPE, int), SPACING[::-1])
    with pytest.raises(UserError, match="shape of reference .* and prediction .* differ"):
        case_pictures(None, reference, np.zeros((1, 2, 3), int), {}, {})
    with pytest.raises(UserError, match="shape of reference .* and image .* differ"):
        volume_sheets(np.zeros((1, 2, 3)), reference, reference.array, {}, {})


def test_a_label_map_of_floats_is_read_as_integers(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full(SHAPE, 2.0, np.float32)), str(tmp_path / "x.nii.gz"))
    assert read_label_map(tmp_path / "x.nii.gz").array.dtype == np.int32


# ---- volumes -------------------------------------------------------------------------------------------------------------


def slices_of(uri, sheets):
    sheet = decoded(uri)
    depth, height, width = sheets.shape
    tiles = [sheet[z // sheets.columns * height :, z % sheets.columns * width :][:height, :width] for z in range(depth)]
    return np.stack(tiles)


def test_the_sheets_of_a_small_volume_hold_every_voxel():
    generator = np.random.default_rng(0)
    reference, prediction = generator.integers(0, 4, (2, 7, 12, 18))
    volume = Volume(reference, (3.0, 1.0, 1.0))
    image = np.linspace(-160, 240, 7)[:, None, None] * np.ones((7, 12, 18))
    sheets = volume_sheets(image, volume, prediction, {1: 9, 2: 200}, {3: 9}, CT_WINDOW)
    assert sheets.shape == (7, 12, 18) and sheets.spacing == pytest.approx((3, 1, 1))
    np.testing.assert_array_equal(slices_of(sheets.reference, sheets), np.array([0, 9, 200, 0])[reference])
    np.testing.assert_array_equal(slices_of(sheets.prediction, sheets), np.array([0, 0, 0, 9])[prediction])
    assert slices_of(sheets.image, sheets).mean((1, 2)) == pytest.approx(np.linspace(0, 255, 7), abs=6)  # a JPEG


def test_a_large_volume_is_downsampled_with_square_pixels():
    label = np.zeros((200, 300, 150), np.uint8)
    label[50:100, 60:120, 30:60] = 1
    label[0, 0, 0] = label[-1, -1, -1] = 1  # so that nothing is cut away
    sheets = volume_sheets(None, Volume(label, (2.0, 0.5, 1.5)), label, {1: 1}, {})
    assert sheets.shape == (MOST_SLICES, round(MOST_PIXELS * 150 / 225), MOST_PIXELS)
    assert sheets.spacing[1] == pytest.approx(sheets.spacing[2], rel=0.01) and sheets.spacing[0] == pytest.approx(2.5)
    assert sheets.image == "" and not decoded(sheets.prediction).any()
    inside = slices_of(sheets.reference, sheets) == 1
    assert inside.mean() == pytest.approx((label == 1).mean(), rel=0.03)


def test_more_than_255_classes_are_no_volume():
    label = np.zeros(SHAPE, int)
    with pytest.raises(UserError, match="more than 255 classes"):
        volume_sheets(None, Volume(label, (1.0, 1.0, 1.0)), label, {1: 256}, {})


@pytest.mark.parametrize("damaged", ["image", "reference", "prediction"])
def test_a_file_that_cannot_be_read_is_told_by_what_it_is_and_without_its_path(damaged, tmp_path):
    files = {what: tmp_path / f"{what}.nii.gz" for what in ("image", "reference", "prediction")}
    for file in files.values():
        sitk.WriteImage(sitk.GetImageFromArray(np.ones(SHAPE, np.uint8)), str(file))
    files[damaged].write_bytes(files[damaged].read_bytes()[:40])
    job = DrawJob(ReportCase("a", *files.values()), Layers.of(ANNOTATION, ANNOTATION), None, False)
    with pytest.raises(UserError, match=f"^its {damaged} cannot be read; is the file damaged.$"):
        draw_case(job)
