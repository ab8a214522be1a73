"""The report page: every class and case on it, the worst first, nothing from outside, nothing of a patient."""

import json
import re
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from builders.pages import articles, disagreeing_columns, without_niivue
from builders.report import ANNOTATION, make_files, make_results, make_training_log, scores

from nnunetv2_cdpd.evaluation.compare import compare_results
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import comparison_json
from nnunetv2_cdpd.report.comparison import comparison_tables
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.tables import worst_first
from nnunetv2_cdpd.report.training import read_training


class Page(HTMLParser):
    """Text, tags and addresses of a page; checks that tags close in order."""

    VOID = ("meta", "img", "br")
    ADDRESSES = ("src", "href", "data", "action", "srcset")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.addresses = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in self.ADDRESSES]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def test_the_wheel_holds_style_script_and_templates(project_wheel):
    with zipfile.ZipFile(project_wheel) as archive:
        vendored = {f"pages/vendor/{name}" for name in ("niivue.js", "LICENSE", "README.md")}
        needed = {
            "pages/style.css",
            "pages/script.js",
            "pages/viewer.js",
            "pages/base.html",
            "report/page.html",
            "audit/page.html",
        }
        assert needed | vendored <= {name.removeprefix("nnunetv2_cdpd/") for name in archive.namelist()}


@pytest.fixture
def page(tmp_path):
    results = make_results()
    cases = [make_files(tmp_path, "case_1"), make_files(tmp_path, "case <2>"), ("case_3", *["/secret/place/x.nii.gz"] * 3)]
    make_training_log(tmp_path / "fold_0" / "training_log_2025_1_1_10_00_00.txt")
    worse = Results(ANNOTATION, ANNOTATION, tuple(
        CaseScores(case.case, case.source, "", "", {name: scores(0.1) for name in case.metrics}) for case in results.cases
    ), tolerance_mm=2.0)  # fmt: skip
    return write_report(
        tmp_path / "report.html",
        title="Demo & more",
        intro_lines=["Vision weights: random, small", "Nothing here was trained for long."],
        results=results,
        cases=cases,
        volumes=["case <2>"],
        training=read_training(tmp_path),
        comparison=comparison_tables(comparison_json(compare_results(results, worse), "/secret/ours", "/secret/theirs")),
    )


def test_the_page_holds_every_class_source_case_and_fact(page):
    html = page.read_text()
    parsed = Page(html)
    text = " ".join(parsed.text)
    assert html.startswith("<!DOCTYPE html>") and ("html", {"lang": "en"}) in parsed.tags
    for expected in (*ANNOTATION.classes, "kidney", "A & B", "C", "case_1", "case <2>", "case_3", "case_9", "Demo & more",
                     "random, small", "Nothing here was trained for long.", "not annotated", "0.900", "2.50", "0.875",
                     "fold_0", "5 epochs", "+0.800", "Comparison"):  # fmt: skip
        assert expected in text, expected
    assert "No pictures: its image is not where it is looked for; give `cdpd report` the folder of the images." in text
    labels = [attrs["aria-label"] for tag, attrs in parsed.tags if tag == "svg"]
    assert sum(" slice " in label for label in labels) == 2 * 3 * 4
    assert {"Dice", "HD95 (mm)", "Loss", "Pseudo Dice", "Learning rate"} <= set(labels)


def test_the_page_needs_and_tells_nothing_else(page):
    html = page.read_text()
    parsed = Page(html)
    pictures = [address for address in parsed.addresses if not address.startswith("#")]
    assert len(pictures) == 2 * 3 and all(address.startswith("data:image/jpeg;base64,") for address in pictures)
    identifiers = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= set(identifiers)
    assert not {"link", "iframe", "object", "img"} & {tag for tag, _ in parsed.tags}
    bare = re.sub(r"data:image/\w+;base64,[A-Za-z0-9+/=]*", "", without_niivue(html))
    assert not re.search(r"url\(|@import|https?:|//[a-z]+\.", bare)
    assert "/secret" not in html and str(page.parent) not in html and "/r/1" not in html and "2025" not in bare


def test_a_class_name_cannot_end_the_data_of_a_volume(page):
    html = page.read_text()
    of_page, of_case = re.findall(r'<script type="application/json" class="\w+"(.*?)>(.*?)</script>', html, re.DOTALL)
    assert "<" not in of_page[1] + of_case[1] and of_case[0] == ' data-case="case &lt;2&gt;"'
    assert json.loads(of_case[1])["case"] == "case <2>" and "<b>" in {its["name"] for its in json.loads(of_page[1])["classes"]}


def test_a_class_keeps_its_colour_through_the_page(page):
    html = page.read_text()
    for name in ("liver", "liver_tumor", "kidney"):
        swatches = re.findall(rf'class="swatch" style="background: (#\w+)"></span>{name}<', html)
        assert len(swatches) >= 3 and len(set(swatches)) == 1
        number = re.search(rf'class="contour c(\d+)" d="[^"]*"><title>{name}<', html)
        if name != "kidney":  # nobody's kidney is in the files
            assert f".c{number[1]} {{ --colour: {swatches[0]}; }}" in html


def test_a_union_is_explained(page):
    assert '<p class="quiet">kidney: right_kidney or left_kidney, not known which.</p>' in page.read_text()
    alone = CaseScores("a", "C", "", "", {"left_kidney": scores(0.5), "kidney": scores(0.5)})
    told = Results(ANNOTATION, ANNOTATION, (alone,), tolerance_mm=2.0).unions_told()
    assert told == ["kidney: right_kidney or left_kidney, not known which; not in the mean, which has its classes"]


def test_a_heads_words_stand_above_those_of_its_column(page):
    assert page.read_text().count('<th scope="col" class="words">') == 2  # source, worst class
    assert disagreeing_columns(page.read_text()) == []


def test_the_worst_case_comes_first(page):
    assert [case.case for case in worst_first(make_results())] == ["case <2>", "case_1"]
    html = page.read_text()
    table, pictures = html.index('<h2 id="cases-the-worst-first">'), html.index('<h2 id="pictures-worst-cases-first">')
    assert html.index("case &lt;2&gt;", table) < html.index("case_1", table)
    assert html.index("case &lt;2&gt;", pictures) < html.index("case_1", pictures) < html.index("case_3", pictures)


def test_the_contents_list_every_heading(page):
    html = page.read_text()
    contents = re.findall(r'<a href="#([\w-]+)">([^<]*)</a>', re.search(r'<nav class="contents".*?</nav>', html, re.DOTALL)[0])
    assert contents == re.findall(r'<h2 id="([\w-]+)">([^<]*)</h2>', html) and len(contents) >= 8
    assert html.index("<nav") < html.index("<h2") and len(dict(contents)) == len(contents)


def test_a_difference_that_counts_is_shown_as_good_or_bad(tmp_path):
    row = {"cases": 9, "A": 0.9, "B": 0.8, "equal": 0, "p": 0.0004}
    more, less = ({"difference": gain, "low": gain - 0.05, "high": gain + 0.05} for gain in (0.1, -0.1))
    classes = {
        "liver": {**row, **more, "A_better": 8, "A_worse": 1, "p_holm": 0.0008},
        "liver_tumor": {**row, **less, "A_better": 5, "A_worse": 4, "p_holm": 0.049},  # often a little, seldom by far
        "kidney": {**row, **more, "A_better": 8, "A_worse": 1, "p_holm": 0.051},
    }
    counts = {"liver": {"missed": [0, 2], "spurious": [0, 0]}, "kidney": {"missed": [0, 0], "spurious": [0, 0]}}
    comparison = {"A": "/x/new", "B": "/x/old", "protocol": "nnunet", "cases": ["case_1"], "counts": counts}
    tables = comparison_tables({**comparison, "metrics": {"Dice": classes, "HD95_mm": {"liver": classes["liver"]}}})
    assert [row.verdict for rows in tables.metrics.values() for row in rows] == ["good", "bad", "", "bad"]
    html = write_report(tmp_path / "r.html", title="T", results=make_results(), comparison=tables).read_text()
    good = html.index('<td data-value="0.1" class="good">+0.100<small>0.050..0.150</small></td>')
    assert good < html.index('<td data-value="-0.1" class="bad">-0.100<small>-0.150..-0.050</small></td>')
    assert '<td data-value="0.0008"><0.001</td>'.replace("<0", "&lt;0") in html and '<td data-value="0.049">0.049</td>' in html
    assert re.findall(r"<tr>.*?</span>(\w+)</th>", html.partition("<h3>Structures missed and spurious")[2])[0] == "liver"


def test_a_page_without_cases_volumes_or_training_is_a_page_too(tmp_path):
    parsed = Page(write_report(tmp_path / "r.html", title="T", results=make_results()).read_text())
    text = " ".join(parsed.text)
    assert "Pictures" not in text and "Training" not in text and "Comparison" not in text and "Scores per class" in text


def test_pictures_for_which_a_page_has_no_room_are_left_out_and_told(tmp_path, monkeypatch, capsys):
    files = [make_files(tmp_path, "case_1"), make_files(tmp_path, "case <2>")]
    options = {"title": "T", "results": make_results(), "cases": files}
    assert articles(write_report(tmp_path / "r.html", **options)) == {"case &lt;2&gt;": True, "case_1": True}
    monkeypatch.setattr("nnunetv2_cdpd.report.page.PICTURES_BYTES", 20_000)
    page = write_report(tmp_path / "r.html", **options)
    assert articles(page) == {"case &lt;2&gt;": True, "case_1": False}
    assert capsys.readouterr().out == (
        "note: no pictures of case_1: all pictures together would be larger than 0 MB; show fewer cases\n"
    )
    page = write_report(tmp_path / "r.html", volumes=["case_1"], **options)  # a volume has its own room, and its pictures
    assert articles(page) == {"case &lt;2&gt;": True, "case_1": True}


def test_a_case_on_two_grids_is_named_with_the_reason(tmp_path):
    case, image, reference, _ = make_files(tmp_path, "case_1")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), str(tmp_path / "other.nii.gz"))
    files = (case, image, reference, tmp_path / "other.nii.gz")
    html = write_report(tmp_path / "r.html", title="T", results=make_results(), cases=[files], volumes=[case]).read_text()
    assert "No pictures: shape of reference (10, 16, 24) and prediction (2, 3, 4) differ." in html
    assert str(tmp_path) not in html


def test_a_volume_of_a_case_that_is_not_shown_is_refused(tmp_path):
    with pytest.raises(ValueError, match="volumes of cases that are not shown: case_1"):
        write_report(tmp_path / "r.html", title="T", results=make_results(), volumes=["case_1"])


def test_a_name_that_is_no_text_makes_a_page_all_the_same(tmp_path):
    results = make_results()
    odd = CaseScores("case_\udcff", "C", "", "", {"kidney": scores(0.5)})
    results = Results(ANNOTATION, ANNOTATION, (*results.cases, odd), tolerance_mm=2.0)
    html = write_report(tmp_path / "r.html", title="T", results=results).read_text(encoding="utf-8")
    assert "case_\\udcff" in html


def test_no_name_leaves_its_place_in_the_script(tmp_path):
    _, *files = make_files(tmp_path, "x")
    name = "</script><script>alert(1)//<!--"
    results = Results(ANNOTATION, ANNOTATION, (CaseScores(name, "A & B", "", "", {"liver": scores(0.5)}),), tolerance_mm=2.0)
    html = write_report(tmp_path / "r.html", title=name, results=results, cases=[(name, *files)], volumes=[name]).read_text()
    html = without_niivue(html)
    assert html.count("<script") == html.count("</script>") == 4 and "alert(1)" in html and "<!--" not in html
