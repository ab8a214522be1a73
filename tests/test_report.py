"""The report page: every class and case on it, nothing from outside, radiological pictures with square pixels."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.evaluation.palette import COLOURS, colours_of, rgb
from nnunetv2_cdpd.evaluation.pictures import CT_WINDOW, PANEL_PIXELS, Volume, case_pictures, read_volume
from nnunetv2_cdpd.evaluation.report import write_report
from nnunetv2_cdpd.evaluation.results import CaseScores, Results

SHAPE = (10, 16, 24)  # z, y, x
SPACING = (1.0, 2.0, 3.0)  # x, y, z in mm

ANNOTATION = read_annotation(
    {
        "labels": {"background": 0, "liver": [1, 2], "liver_tumor": 2, "right_kidney": [3, 5], "left_kidney": [4, 5], "<b>": 6},
        "regions_class_order": [1, 2, 3, 4, 6],
        "cdpd": {
            "version": 1,
            "sources": {
                "A & B": {"annotated_classes": ["liver", "liver_tumor"]},
                "C": {"annotated_classes": [], "merged_labels": ["kidney"]},
            },
            "merged_labels": {"kidney": {"value": 5, "classes": ["right_kidney", "left_kidney"]}},
        },
    }
)


def scores(dice, n_ref=10, n_pred=10):
    counts = dict(TP=5, FP=5, FN=5, TN=5, n_ref=n_ref, n_pred=n_pred)
    return {"Dice": dice, "IoU": dice, "HD95_mm": 2.5, "SurfaceDice": 0.875, **counts}


def make_files(folder, case, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """An image of water in air with a bright corner, and label maps with the liver in that corner."""
    image, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    image[1:9, 2:14, 2:22] = 0
    label[2:5, 3:7, 3:9] = 1
    label[3, 4, 4:6] = 2
    image[label > 0] = 200
    files = []
    for name, array in (("image", image), ("reference", label), ("prediction", label[:, :, ::1])):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(SPACING)
        volume.SetDirection(direction)
        files.append(folder / f"{case}_{name}.nii.gz")
        sitk.WriteImage(volume, str(files[-1]))
    return (case, *files)


class Page(HTMLParser):
    """Text, tags and addresses of a page; checks that tags close in order."""

    VOID = {"meta", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.addresses = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(tmp_path):
    cases = [make_files(tmp_path, "case_1"), make_files(tmp_path, "case <2>"), ("case_3", *["/secret/place/x.nii.gz"] * 3)]
    results = Results(
        ANNOTATION,
        ANNOTATION,
        (
            CaseScores("case_1", "A & B", "/r/1", "/p/1", {"liver": scores(0.9), "liver_tumor": scores(0.0, n_pred=0)}),
            CaseScores("case <2>", "C", "/r/2", "/p/2", {"kidney": scores(0.5)}),
        ),
        tolerance_mm=2.0,
        problems={"case_9": "shape of /secret/place differs"},
    )
    intro = ["Vision weights: random, small", "Nothing here was trained for long."]
    return write_report(tmp_path / "report.html", title="Demo & more", intro_lines=intro, results=results, cases=cases)


def test_the_page_holds_every_class_source_case_and_fact(page):
    html = page.read_text()
    parsed = Page(html)
    text = " ".join(parsed.text)
    assert html.startswith("<!DOCTYPE html>") and ("html", {"lang": "en"}) in parsed.tags
    for expected in (*ANNOTATION.classes, "kidney", "A & B", "C", "case_1", "case <2>", "case_3", "case_9", "Demo & more",
                     "random, small", "Nothing here was trained for long.", "not annotated", "0.900", "2.50", "0.875"):  # fmt: skip
        assert expected in text, expected
    assert "No pictures: one of its files cannot be read." in text
    ids = [tag for tag, _ in parsed.tags]
    assert ids.count("img") == 2 * 3 * 3 and all(attrs["alt"] for tag, attrs in parsed.tags if tag == "img")


def test_the_page_needs_and_tells_nothing_else(page):
    html = page.read_text()
    parsed = Page(html)
    assert parsed.addresses and all(address.startswith("data:image/png;base64,") for address in parsed.addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:image/png;base64,[^\"]*", "", html))
    assert "/secret" not in html and str(page.parent) not in html and "/r/1" not in html
    assert not list(page.parent.glob("*.tmp"))


def test_a_class_keeps_its_colour_through_the_page(page):
    html = page.read_text()
    for name in ("liver", "liver_tumor", "kidney"):
        swatches = re.findall(rf'class="swatch" style="background: (#\w+)"></span>{name}<', html)
        assert len(swatches) >= 3 and len(set(swatches)) == 1


def test_forty_classes_have_forty_colours():
    assert len(set(COLOURS)) == 40
    assert len(set(colours_of(f"class {number}" for number in range(40)).values())) == 40
    assert colours_of(["Left Kidney", "left_kidney", "spleen"]) == {"leftkidney": COLOURS[0], "spleen": COLOURS[1]}
    assert rgb("#ff8001") == (255, 128, 1)


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def red(picture):
    return (picture[..., 0] - picture[..., 1]) > 60


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 1, 0, 0, 0, 1, 1, 0, 0)])
def test_pictures_are_radiological_whatever_the_axes_of_the_file(tmp_path, direction):
    # In a volume whose axes run to the patient's left, back and head, the liver lies right, front and low.
    oriented = sitk.GetImageFromArray(np.zeros(SHAPE, np.uint8))
    oriented.SetSpacing(SPACING)
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

    image = Volume(np.full(SHAPE, 50, np.int16), read.spacing)
    axial, coronal, sagittal = case_pictures(image, read.array, read.array, {1: "#ff0000"}, {}, window=CT_WINDOW)
    assert [picture.plane for picture in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    for picture, rows_mm, columns_mm, rows_of_liver, columns_of_liver in (
        (axial, 32, 24, (2 * 2, 6 * 2), (3, 9)),  # front up, right to the left
        (coronal, 30, 24, (30 - 4 * 3, 30 - 1 * 3), (3, 9)),  # head up
        (sagittal, 30, 32, (30 - 4 * 3, 30 - 1 * 3), (2 * 2, 6 * 2)),  # front to the left
    ):
        painted = decoded(picture.reference)
        scale = PANEL_PIXELS / 32
        assert painted.shape[:2] == (round(rows_mm * scale), round(columns_mm * scale))
        rows, columns = (np.flatnonzero(red(painted).any(axis)) for axis in (1, 0))
        assert np.allclose([rows[0], rows[-1] + 1], np.array(rows_of_liver) * scale, atol=1)
        assert np.allclose([columns[0], columns[-1] + 1], np.array(columns_of_liver) * scale, atol=1)
        assert not red(decoded(picture.prediction)).any() and not red(decoded(picture.image)).any()


def test_the_slice_that_shows_most_classes_is_chosen_and_air_is_cut_away():
    image, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.int32)
    image[2:9, 4:12, 6:18] = 40
    label[3:8, 5, 7], label[6, 6:9, 8], label[6, 6, 9] = 1, 2, 3
    axial = case_pictures(Volume(image, (3.0, 2.0, 1.0)), label, label, {1: "#ff0000", 2: "#00ff00", 3: "#0000ff"}, {})[0]
    assert (axial.slice_number, axial.num_slices) == (7, 10)
    assert decoded(axial.image).shape[:2] == (PANEL_PIXELS, round(PANEL_PIXELS * 12 / 16))


def test_a_single_slice_gives_one_picture():
    flat = Volume(np.random.default_rng(0).normal(size=(1, 9, 12)), (999.0, 1.0, 1.0))
    assert len(case_pictures(flat, np.zeros((1, 9, 12), int), np.zeros((1, 9, 12), int), {}, {})) == 1


def test_label_maps_off_the_grid_are_refused():
    with pytest.raises(ValueError, match="shape of image .* and prediction .* differ"):
        case_pictures(Volume(np.zeros(SHAPE), SPACING), np.zeros(SHAPE, int), np.zeros((1, 2, 3), int), {}, {})
