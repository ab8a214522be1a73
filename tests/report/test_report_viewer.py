"""The viewer of volumes in a real browser, by its pixels: left is left, colours are ours, windows, keys, and no WebGL."""

import numpy as np
import pytest
from builders.browser import BROWSER, WITHOUT
from builders.report import ANNOTATION, SHAPE, SPACING, make_files, make_flat_files, make_turned_files, scores
from builders.viewer import CANVAS, VIEWER, ViewerTab, edge_letters, pixels_of

from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.mistakes import MISTAKE_KINDS
from nnunetv2_cdpd.report.page import write_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason=WITHOUT)

TURNS = {"RAS": (0, 0, 0), "LPS": (0, 0, 0), "LAI": (0, 0, 0), "PIR": (0, 0, 0), "SLA": (12, -8, 25), "LPI": (-10, 15, -30)}
PALETTE = Layers.of(ANNOTATION, ANNOTATION).palette
LIVER, TUMOR, OTHER = (PALETTE.colour(name) for name in ("liver", "liver_tumor", "<b>"))
MISSED, SPURIOUS, _ = (kind.colour for kind in MISTAKE_KINDS)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Cases "a" and "b" with mistakes, and one of each of TURNS, which is not scored, so that the middle is shown first."""
    folder = tmp_path_factory.mktemp("report")
    cases = tuple(
        CaseScores(case, "A & B", "", "", {"liver": scores(dice), "liver_tumor": scores(1.0)})
        for case, dice in (("a", 0.25), ("b", 0.5))
    )
    turned = [make_turned_files(folder, axes, axes, degrees)[0] for axes, degrees in TURNS.items()]
    files = [make_files(folder, "a"), make_files(folder, "b"), *turned, make_flat_files(folder, "flat")]
    results = Results(ANNOTATION, ANNOTATION, cases, tolerance_mm=2.0)
    return write_report(folder / "r.html", title="T", results=results, cases=files, volumes=["a", "b", *TURNS, "flat"])


@pytest.fixture(scope="module")
def opened(browser, page):
    with browser.open(page, width=560, height=520, offline=True) as tab:
        yield ViewerTab(tab)


@pytest.fixture
def viewer(opened):
    """Case "a" in one axial slice, the prediction half shown."""
    opened.show("a")
    opened.choose("View", "axial")
    opened.choose("Window", "soft")
    opened.overlays(prediction=50)
    opened.focus()
    opened.tab.press("Home")
    return opened


def grey_at(viewer, rows=slice(0.3, 0.4), columns=slice(0.6, 0.7)):
    """The grey of a part of the canvas without a label, by shares of its height and width."""
    picture = viewer.picture()
    height, width = picture.shape[:2]
    part = picture[int(rows.start * height) : int(rows.stop * height), int(columns.start * width) : int(columns.stop * width)]
    assert (part.max(-1) - part.min(-1)).max() <= 1
    return part.mean()


def test_nothing_is_fetched_and_nothing_said_with_no_network(viewer, page):
    assert viewer.tab.run(f"{VIEWER}.dataset.ready") == "yes"
    for view in ("planes and 3D", "3D"):
        viewer.choose("View", view)
        assert len(np.unique(viewer.picture().reshape(-1, 3), axis=0)) > 50
    viewer.show("b")
    assert viewer.tab.requests == [page.as_uri()] and viewer.tab.messages == []


@pytest.mark.parametrize("axes", TURNS)
def test_left_is_left_whatever_the_axes_of_the_file(opened, axes, tmp_path):
    _, grid = make_turned_files(tmp_path, axes, axes, TURNS[axes])
    viewer = opened
    viewer.show(axes)
    viewer.overlays(reference=100)
    middle = [length // 2 for length in grid.shape]
    assert viewer.position == pytest.approx(grid.position(middle) * (-1, -1, 1), abs=0.11)
    # (liver, class <b>) are right and left, front and back, low and high
    for view, down, across in (("axial", -1, -1), ("coronal", 1, -1), ("sagittal", 1, -1)):
        viewer.choose("View", view)
        picture = viewer.picture()
        liver, other = (pixels_of(picture, colour).mean(0) for colour in (LIVER, OTHER))
        assert np.sign(liver - other).tolist() == [down, across], view


def test_the_sides_are_written_at_the_edges(viewer):
    viewer.overlays()
    for key in ("PageUp", "ArrowLeft", "ArrowUp"):  # the crosshair away from the letters
        viewer.tab.press(key, modifiers=8)
    letters = {}
    for view in ("axial", "coronal", "sagittal"):
        viewer.choose("View", view)
        letters[view] = edge_letters(viewer.picture())
    assert letters == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


def test_colours_are_ours_to_the_bit_and_blend_by_opacity(viewer):
    assert len(pixels_of(viewer.picture(), LIVER)) == 0
    for key in 2 * ["ArrowRight", "ArrowDown"]:  # the crosshair away from the liver
        viewer.tab.press(key, modifiers=8)
    viewer.tab.press("PageUp")  # to where the tumor is too
    viewer.overlays(prediction=100)
    viewer.tab.run("document.activeElement.blur()")  # and its outline
    solid = viewer.picture()
    liver = pixels_of(solid, LIVER)
    assert len(liver) > 500
    inside = tuple(np.median(liver, axis=0).astype(int))
    viewer.overlays(prediction=50)
    half = viewer.picture()[inside].astype(int)
    viewer.overlays()
    none = viewer.picture()[inside].astype(int)
    assert none[0] == none[1] == none[2] and np.abs(half - (solid[inside] + none) / 2).max() <= 2
    bright = solid[np.ptp(solid, axis=-1) > 60]
    assert {"#" + bytes(colour).hex() for colour in bright} == {LIVER, TUMOR}  # up to the edges


def test_reference_and_prediction_are_switched_one_by_one(viewer):
    rows = {}
    for what in ("reference", "prediction"):
        viewer.overlays(**{what: 100})
        rows[what] = pixels_of(viewer.picture(), LIVER)[:, 0].mean()
    viewer.overlays()
    assert len(pixels_of(viewer.picture(), LIVER)) == 0
    assert rows["prediction"] > rows["reference"] + 20  # two voxels to the back


def test_mistakes_have_their_two_colours_where_they_are(viewer):
    viewer.overlays(mistakes=100)
    picture = viewer.picture()
    missed, spurious = pixels_of(picture, MISSED), pixels_of(picture, SPURIOUS)
    assert len(missed) > 200 and len(spurious) > 200 and missed[:, 0].max() < spurious[:, 0].min()
    assert np.ptp(missed[:, 0]) == pytest.approx(np.ptp(spurious[:, 0]), rel=0.1)  # two rows of voxels
    assert "missed" in viewer.where.split(" · ") or "spurious" in viewer.where.split(" · ")  # the largest one is shown first
    assert not viewer.tab.run(f"{VIEWER}.querySelector('.legend').hidden")


def test_windows_are_those_of_radiology(viewer):
    viewer.overlays()
    for name, low, high in (("soft", -160, 240), ("lung", -1350, 150), ("bone", -500, 1300)):
        viewer.choose("Window", name)
        assert grey_at(viewer) == pytest.approx(255 * (0 - low) / (high - low), abs=1.5), name  # water
    viewer.choose("Window", "soft")
    viewer.tab.press("w")
    assert grey_at(viewer) == pytest.approx(229.5, abs=1.5)


def test_a_class_can_be_hidden(viewer):
    viewer.overlays(prediction=100)
    chip = f"[...{VIEWER}.querySelectorAll('.chips button')].find((it) => it.textContent === 'liver')"
    viewer.tab.run(f"{chip}.click()")
    assert viewer.tab.run(f"{chip}.ariaPressed") == "false" and len(pixels_of(viewer.picture(), LIVER)) == 0
    viewer.tab.run(f"{chip}.click()")
    assert len(pixels_of(viewer.picture(), LIVER)) > 500


def test_keys_move_the_crosshair_as_seen(viewer):
    viewer.tab.press("Home")
    start = viewer.position
    x, y, z = SPACING
    for view, key, step in (
        ("axial", "ArrowLeft", (x, 0, 0)), ("axial", "ArrowRight", (-x, 0, 0)), ("axial", "ArrowUp", (0, y, 0)),
        ("axial", "PageUp", (0, 0, z)), ("coronal", "ArrowUp", (0, 0, z)), ("coronal", "ArrowLeft", (x, 0, 0)),
        ("sagittal", "ArrowLeft", (0, y, 0)), ("sagittal", "ArrowDown", (0, 0, -z)), ("sagittal", "PageDown", (-x, 0, 0)),
    ):  # fmt: skip
        viewer.choose("View", view)
        viewer.tab.press("Home")
        assert viewer.position == pytest.approx(start, abs=0.11)
        viewer.tab.press(key)
        assert viewer.position - start == pytest.approx(step, abs=0.11), (view, key)
    viewer.choose("View", "axial")
    viewer.tab.press("Home")
    viewer.tab.press("ArrowLeft", modifiers=8)  # Shift
    assert viewer.position[0] - start[0] == pytest.approx(5 * x, abs=0.11)


def test_other_keys_do_what_the_page_says(viewer):
    run = viewer.tab.run
    boxes = f"[...{VIEWER}.querySelectorAll('input[type=checkbox]')].map((it) => it.checked)"
    assert run(boxes) == [False, True, False]
    for key in "rpe":
        viewer.tab.press(key)
    assert run(boxes) == [True, False, True]
    opacity = f"Number({VIEWER}.querySelector('input[type=range]').value)"
    before = run(opacity)
    viewer.tab.press("+")
    assert run(opacity) == before + 10
    viewer.tab.press("-")
    assert run(opacity) == before
    viewer.tab.press("v")
    assert run(f"{VIEWER}.querySelectorAll('select')[1].value") == "coronal"
    viewer.tab.press("n")
    viewer.tab.wait(f"{VIEWER}.dataset.case === 'b'")
    viewer.tab.press("b")
    viewer.tab.wait(f"{VIEWER}.dataset.case === 'a'")
    assert run(f"{CANVAS}.getAttribute('aria-label')") == "volume of a"
    viewer.choose("View", "3D")
    before = viewer.picture()
    viewer.tab.press("ArrowLeft")
    turned = viewer.picture()
    viewer.tab.press("c")
    assert (before != turned).any() and (turned != viewer.picture()).any()
    # a page's letters are not taken while something else has the focus
    run("document.querySelector('a').focus()")
    viewer.tab.press("r")
    assert run(boxes) == [True, False, True] and viewer.tab.messages == []


def test_a_click_tells_class_value_and_place(viewer):
    viewer.overlays(reference=100)
    liver = pixels_of(viewer.picture(), LIVER)
    row, column = np.median(liver, axis=0)
    left, top = viewer.tab.run(f"(({{x, y}}) => [x, y])({CANVAS}.getBoundingClientRect())")
    viewer.tab.click(left + column, top + row)
    place, reference, *_, value = viewer.where.split(" · ")
    assert reference == "reference: liver" and place.startswith("RAS ") and value == "200 HU"
    # the liver of the files lies in voxels 3 to 8, 3 to 6 and 2 to 4 of x, y and z
    index = viewer.position * (-1, -1, 1) / SPACING
    assert (index > (2.4, 2.4, 1.9)).all() and (index < (8.6, 6.6, 4.1)).all() and SHAPE == (10, 16, 24)


def test_the_wheel_scrolls_the_page_until_the_viewer_is_meant(viewer):
    viewer.picture()
    x, y, width, height = viewer.tab.run(
        f"(({{x, y, width, height}}) => [x, y, width, height])({CANVAS}.getBoundingClientRect())"
    )
    viewer.tab.run("document.activeElement.blur()")
    scrolled, place = viewer.tab.run("window.scrollY"), viewer.where
    viewer.tab.wheel(x + width / 2, y + height / 2, 100)
    viewer.tab.wait(f"window.scrollY > {scrolled}")
    assert viewer.where == place
    viewer.picture()
    viewer.tab.click(x + width / 2, y + height / 2)
    scrolled, place = viewer.tab.run("window.scrollY"), viewer.position
    viewer.tab.wheel(x + width / 2, y + height / 2, 100)
    viewer.tab.run("new Promise((done) => setTimeout(done, 100))")
    assert viewer.tab.run("window.scrollY") == scrolled and abs(viewer.position[2] - place[2]) == pytest.approx(
        SPACING[2], abs=0.11
    )


def test_every_control_has_a_name_and_the_keys_are_told(viewer):
    nodes = viewer.tab.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"checkbox", "slider", "combobox", "application", "button"}
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if node.get("role", {}).get("value") in roles]
    assert all(name for _, name in named)
    names = {name.strip() for _, name in named}
    assert {
        "Case",
        "View",
        "Window",
        "reference",
        "prediction",
        "mistakes",
        "opacity of reference",
        "volume of a",
        "liver",
    } <= names
    assert (
        viewer.tab.run(f"{CANVAS}.tabIndex") == 0
        and viewer.tab.run(f"{VIEWER}.querySelector('.where').role || 'status'") == "status"
    )
    told = viewer.tab.run("document.getElementById('viewer-keys').textContent")
    for key in ("Page Up", "Home", "r, p, e", "w", "v", "n, b", "c"):
        assert key in told


def test_a_window_is_kept_from_case_to_case_and_a_single_slice_has_one_view(viewer):
    viewer.choose("Window", "bone")
    viewer.choose("View", "coronal")
    viewer.show("flat")  # without an image
    assert viewer.tab.run(f"[...{VIEWER}.querySelectorAll('select')[1].options].map((it) => it.value)") == ["axial"]
    viewer.overlays(prediction=100)
    picture = viewer.picture()
    liver = pixels_of(picture, LIVER)
    assert len(liver) > 500 and (liver.mean(0) < np.array(picture.shape[:2]) / 2).all()  # front and right
    assert viewer.position == pytest.approx((-6 * 2, -5 * 2, 0), abs=1.01) and "HU" not in viewer.where
    viewer.show("b")
    assert viewer.tab.run(f"{VIEWER}.querySelectorAll('select')[2].value").startswith("soft") and viewer.tab.messages == []
    viewer.choose("Window", "bone")
    viewer.show("a")
    assert viewer.tab.run(f"{VIEWER}.querySelectorAll('select')[2].value").startswith("bone")


def test_the_link_of_a_case_shows_its_volume(viewer):
    viewer.tab.run("document.querySelector('a[data-case=b]').click()")
    viewer.tab.wait(f"{VIEWER}.dataset.case === 'b'")


NO_WEBGL = """
    const all = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        return kind === 'webgl2' ? null : all.call(this, kind, ...rest);
    };
"""


def test_without_webgl_a_plain_message_and_the_pictures_remain(browser, page):
    with browser.open(page, before=NO_WEBGL) as tab:
        tab.run(f"{VIEWER}.scrollIntoView()")
        tab.wait(f"{VIEWER}.dataset.ready")
        assert tab.run(f"{VIEWER}.textContent") == (
            "No volumes: this browser has no WebGL 2, or it is switched off. The pictures below do not need them."
        )
        assert tab.run("document.querySelectorAll('.pictures svg image').length") >= 8 * 3 and tab.messages == []


def test_a_lost_context_ends_in_the_same_message(browser, page):
    with browser.open(page, width=500, height=500) as tab:
        viewer = ViewerTab(tab)
        tab.run(f"{CANVAS}.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
        tab.wait(f"{VIEWER}.dataset.ready === 'failed'")
        assert viewer.tab.run(f"{VIEWER}.textContent").startswith("No volumes: the browser has taken back its graphics")
