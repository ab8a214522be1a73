"""The report in a real browser without a window: no message in its console, nothing fetched, tables sort, it fits and prints."""

import base64

import pytest
from builders.report import ANNOTATION, make_files, scores

from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.pages.mistakes import MISTAKE_KINDS
from nnunetv2_cdpd.report.page import write_report

CASES = """[...document.querySelectorAll('table.cases tbody th a')].map((it) => it.textContent)"""


def written(folder, volumes):
    dice = {"b": 0.5, "a": 0.75, "c": 0.25}
    cases = tuple(
        CaseScores(case, "A & B", "", "", {"liver": scores(value), "liver_tumor": scores(value)}) for case, value in dice.items()
    )
    results = Results(ANNOTATION, ANNOTATION, cases, tolerance_mm=2.0)
    files = [make_files(folder, case) for case in dice]
    return write_report(folder / "report.html", title="Browser", results=results, cases=files, volumes=volumes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), ["a", "c"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The page without its viewer, for what has nothing to do with it."""
    return written(tmp_path_factory.mktemp("plain"), [])


def test_the_page_opens_without_a_message_and_asks_for_nothing(browser, page):
    with browser.open(page) as tab:
        assert tab.messages == [] and tab.requests == [page.as_uri()] and tab.run(CASES) == ["c", "b", "a"]


def test_a_message_or_a_request_would_be_seen_and_is_refused(browser, page):
    added = "<script>nowhere()</script><img src='https://localhost:9/x.png'></body>"
    copy = page.with_name("copy.html")
    copy.write_text(page.read_text().replace("</body>", added))
    with browser.open(copy) as tab:
        tab.run("fetch('https://localhost:9/y').catch(() => null)")
        said = " ".join(tab.messages)
        assert "nowhere is not defined" in said
        for name in ("x.png", "9/y"):
            assert any("violates" in message and name in message for message in tab.messages), (name, tab.messages)


def test_a_click_on_the_head_sorts_and_a_second_click_turns_the_order_around(browser, plain):
    heads = "[...document.querySelectorAll('table.cases thead button')]"
    with browser.open(plain) as tab:
        tab.run(f"{heads}[0].click()")
        assert tab.run(CASES) == ["a", "b", "c"]
        assert tab.run("document.querySelector('table.cases thead th').ariaSort") == "ascending"
        tab.run(f"{heads}[3].click(), {heads}[3].click()")
        assert tab.run(CASES) == ["a", "b", "c"]
        assert tab.run("document.querySelectorAll('table.cases thead th')[3].ariaSort") == "descending"
        # classes that are not scored stay at the end, whatever the order
        tab.run("document.querySelectorAll('table.sortable')[0].querySelectorAll('thead button')[3].click()")
        names = tab.run(
            "[...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map((it) => it.cells[0].textContent)"
        )
        assert set(names[:2]) == {"liver", "liver_tumor"} and len(names) == 5
        assert tab.messages == []


def test_mistakes_stand_beside_the_prediction_in_the_colours_of_their_legend(browser, plain):
    of = "getComputedStyle(document.querySelector('article').querySelector('{}')).{}"
    with browser.open(plain) as tab:
        for kind in MISTAKE_KINDS[:2]:
            colour = "rgb({}, {}, {})".format(*(int(kind.colour[at : at + 2], 16) for at in (1, 3, 5)))
            assert tab.run(of.format(f"path.mistake-{kind.code}", "fill")) == colour, kind.name
            assert tab.run(of.format(f".swatch.mistake-{kind.code}", "backgroundColor")) == colour, kind.name
        heads = tab.run("[...document.querySelector('article').querySelectorAll('.head')].map((it) => it.textContent)")
        assert heads == ["image", "reference", "prediction, reference dashed", "mistakes"]
        lefts = tab.run(
            "[...document.querySelectorAll('article figure')].slice(0, 4).map((it) => it.getBoundingClientRect().left)"
        )
        assert lefts == sorted(set(lefts))  # side by side


WIDER = """
    (() => {
        const scrolls = (it) => it.closest('.table, .scrolled') !== null;
        const beyond = [...document.querySelectorAll('body *')].filter(
            (it) => !scrolls(it) && it.getBoundingClientRect().right > window.innerWidth + 0.5);
        return [document.documentElement.scrollWidth, ...beyond.map((it) => `${it.tagName} ${it.className}`)];
    })()
"""


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(browser, page, width):
    long = page.with_name("long.html")
    long.write_text(page.read_text().replace("Browser</h1>", f"Browser</h1><p>{'nnUNetTrainerCDPD__' * 9}</p>"))
    with browser.open(long, width=width, height=20_000) as tab:  # so high that all is seen
        tab.wait("document.getElementById('viewer').dataset.ready === 'yes'")
        assert tab.run(WIDER) == [width] and tab.messages == []


def test_the_page_is_dark_where_the_reader_wants_it(browser, plain):
    with browser.open(plain, height=600, dark=True) as tab:
        picture = tab.picture().astype(int)
    assert (picture.max(-1) < 40).mean() > 0.4 and (picture.min(-1) > 180).mean() > 0.001  # ground and text
    assert (picture == 255).all(-1).mean() < 0.05


def test_the_page_can_be_looked_at_and_printed(browser, plain):
    with browser.open(plain) as tab:
        tab.run("document.querySelector('article').scrollIntoView({behavior: 'instant'})")
        picture = tab.picture().astype(int)
        assert (picture.max(-1) - picture.min(-1) > 60).mean() > 0.001 and (picture == 255).all(-1).mean() > 0.1
        printed = base64.b64decode(tab.send("Page.printToPDF")["data"])
        assert printed.startswith(b"%PDF") and len(printed) > 20_000 and tab.messages == []
