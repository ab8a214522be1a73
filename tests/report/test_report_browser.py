"""The report in a real browser without a window: no message in its console, tables sort, volumes are drawn and scroll."""

import os
import re
import shutil
import subprocess
from html import escape

import numpy as np
import pytest
from builders.report import ANNOTATION, make_files, scores
from PIL import Image

from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.report.page import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=100000",
    "--window-size=1200,6000",
)  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of these browsers is on PATH: {', '.join(NAMES)}")


def browse(page, tmp_path, *options):
    """Output of the browser, and the messages of the page's console."""
    as_root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [BROWSER, *OPTIONS, *as_root, profile, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def after_loading(page, script):
    """A copy of a page that runs a script once its volumes are there.

    The browser's time is virtual and runs on while pictures are decoded, so each round of waiting also does some work.
    """
    wait = """while (document.querySelector('.viewer:not([data-ready])')) {
        await new Promise((done) => setTimeout(done, 50));
        new Float64Array(1e6).fill(1).map(Math.sqrt);
    }"""
    copy = page.with_name("copy.html")
    added = f"<script>(async () => {{ {wait} {script} }})();</script>"
    copy.write_text(page.read_text().replace("</body>", f"{added}</body>"))
    return copy


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    dice = {"b": 0.5, "a": 0.75, "c": 0.25}
    cases = tuple(
        CaseScores(case, "A & B", "", "", {"liver": scores(value), "liver_tumor": scores(value)}) for case, value in dice.items()
    )
    results = Results(ANNOTATION, ANNOTATION, cases, tolerance_mm=2.0)
    files = [make_files(folder, case) for case in dice]
    return write_report(folder / "report.html", title="Browser", results=results, cases=files, volumes=["a", "c"])


def rows_of_cases(html):
    table = re.search(r'<table class="sortable cases">.*?</table>', html, re.DOTALL)[0]
    return re.findall(r'<th scope="row"><a [^>]*>(\w+)</a>', table)


def test_the_page_opens_without_a_message_and_shows_its_volumes(page, tmp_path):
    html, messages = browse(after_loading(page, ""), tmp_path, "--dump-dom")
    assert messages == []
    assert html.count('data-ready="yes"') == 2 and html.count("<canvas") == 2 * 3
    assert rows_of_cases(html) == ["c", "b", "a"]


def test_a_message_would_be_seen(page, tmp_path):
    _, messages = browse(after_loading(page, "nowhere();"), tmp_path, "--dump-dom")
    assert len(messages) == 1 and "nowhere is not defined" in messages[0]


def test_a_click_on_the_head_sorts_and_a_second_click_turns_the_order_around(page, tmp_path):
    click = "const head = (n) => document.querySelectorAll('table.cases thead button')[n];"
    html, messages = browse(after_loading(page, f"{click} head(0).click();"), tmp_path, "--dump-dom")
    assert messages == [] and rows_of_cases(html) == ["a", "b", "c"] and 'aria-sort="ascending"' in html
    html, _ = browse(after_loading(page, f"{click} head(3).click(); head(3).click();"), tmp_path, "--dump-dom")
    assert rows_of_cases(html) == ["a", "b", "c"] and 'aria-sort="descending"' in html
    # classes that are not scored stay at the end, whatever the order
    click = "const heads = document.querySelectorAll('table.sortable')[0].querySelectorAll('thead button'); heads[3].click();"
    html, _ = browse(after_loading(page, click + "heads[3].click();"), tmp_path, "--dump-dom")
    names = re.findall(r'<tr><th scope="row"><span[^>]*></span>(.*?)</th>', html.partition("</tbody>")[0])
    assert set(names[:2]) == {"liver", "liver_tumor"} and len(names) == 5


def test_a_volume_scrolls_and_hides_what_is_switched_off(page, tmp_path):
    script = """
        const viewer = document.querySelector('.viewer');
        const [canvas] = viewer.querySelectorAll('canvas');
        const coloured = () => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 1]) > 30;
            return count;
        };
        const seen = [];
        const look = (what) => seen.push(`${what}:${viewer.querySelector('figcaption span').textContent}:${coloured() > 0}`);
        const slider = viewer.querySelector('input[type=range]');
        const moveTo = (value) => { slider.value = value; slider.dispatchEvent(new Event('input')); };
        moveTo(2); look('liver');
        canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 })); look('wheel');
        moveTo(8); look('none');
        moveTo(2);
        const [reference, prediction] = viewer.querySelectorAll('input[type=checkbox]');
        reference.click(); look('prediction');
        prediction.click(); look('hidden');
        prediction.click(); viewer.querySelectorAll('.controls button').forEach((button) => button.click()); look('classes');
        document.body.dataset.seen = seen.join(' ');
    """
    html, messages = browse(after_loading(page, script), tmp_path, "--dump-dom")
    assert messages == []
    seen = re.search(r'data-seen="([^"]*)"', html)[1]
    # the body, slices 2 to 9 of 10, is what the volume holds; the liver lies in the second to fourth of them
    expected = ("liver:axial 2 of 8:true", "wheel:axial 3 of 8:true", "none:axial 8 of 8:false", "prediction:axial 2 of 8:true",
                "hidden:axial 2 of 8:false", "classes:axial 2 of 8:false")  # fmt: skip
    assert seen == " ".join(expected)


WIDER = """
    const scrolls = (it) => it.closest('.table, .scrolled') !== null;
    const beyond = [...document.querySelectorAll('body *')].filter(
        (it) => !scrolls(it) && it.getBoundingClientRect().right > window.innerWidth + 0.5);
    const widths = [window.innerWidth, document.documentElement.scrollWidth];
    parent.document.body.dataset.seen = [...widths, ...beyond.map((it) => `${it.tagName} ${it.className}`)].join(' ');
"""


@pytest.mark.parametrize("width", [420, 1200])
def test_nothing_is_wider_than_the_window(page, tmp_path, width):
    long = page.with_name("long.html")
    long.write_text(page.read_text().replace("Browser</h1>", f"Browser</h1><p>{'nnUNetTrainerCDPD__' * 9}</p>"))
    # in a frame, because a window of its own is 500 pixels wide at least; so high that all is seen
    frame = escape(after_loading(long, WIDER).read_text())
    style = f"width: {width}px; height: 20000px; border: 0"
    framed = tmp_path / "framed.html"
    framed.write_text(f'<!DOCTYPE html><body style="margin: 0"><iframe style="{style}" srcdoc="{frame}"></iframe></body>')
    html, messages = browse(framed, tmp_path, "--dump-dom", "--window-size=1300,20000")
    assert messages == [] and re.search(r'data-seen="([^"]*)"', html)[1] == f"{width} {width}"


def test_the_page_is_dark_where_the_reader_wants_it(page, tmp_path):
    browse(page, tmp_path, "--blink-settings=preferredColorScheme=0", f"--screenshot={tmp_path / 'dark.png'}")
    picture = np.asarray(Image.open(tmp_path / "dark.png").convert("RGB")).astype(int)
    assert (picture.max(-1) < 40).mean() > 0.4 and (picture.min(-1) > 180).mean() > 0.001  # ground and text
    assert (picture == 255).all(-1).mean() < 0.05


def test_the_page_can_be_looked_at_and_printed(page, tmp_path):
    browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    assert picture.shape == (6000, 1200, 3)
    assert (picture.max(-1) - picture.min(-1) > 60).mean() > 0.001 and (picture == 255).all(-1).mean() > 0.3
    _, messages = browse(page, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert messages == [] and (tmp_path / "page.pdf").stat().st_size > 20_000
