"""The report page: every class and case on it, the worst first, nothing from outside, nothing of a patient."""

import json
import re
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from builders.pages import disagreeing_columns, without_niivue
from builders.report import ANNOTATION, make_files, make_results, make_training_log, scores

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.compare import compare_results
from nnunetv2_cdpd.evaluation.nnunet import summary_of, write_summary
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import comparison_json
from nnunetv2_cdpd.report.cases import images_of_dataset
from nnunetv2_cdpd.report.comparison import comparison_tables
from nnunetv2_cdpd.report.folder import report_folder
from nnunetv2_cdpd.report.origin import dataset_of, model_of
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.tables import worst_and_typical, worst_first
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


def test_a_difference_that_counts_is_shown_as_good_or_bad(tmp_path):
    row = {"cases": 9, "A": 0.9, "B": 0.8, "difference": 0.1, "low": 0.05, "high": 0.15, "equal": 0, "p": 0.0004}
    classes = {
        "liver": {**row, "A_better": 8, "A_worse": 1, "p_holm": 0.0008},
        "liver_tumor": {**row, "A_better": 1, "A_worse": 8, "p_holm": 0.049},
        "kidney": {**row, "A_better": 8, "A_worse": 1, "p_holm": 0.051},
    }
    counts = {"liver": {"missed": [0, 2], "spurious": [0, 0]}, "kidney": {"missed": [0, 0], "spurious": [0, 0]}}
    comparison = {"A": "/x/new", "B": "/x/old", "cases": ["case_1"], "metrics": {"Dice": classes}, "counts": counts}
    tables = comparison_tables(comparison)
    html = write_report(tmp_path / "r.html", title="T", results=make_results(), comparison=tables).read_text()
    cell = '<td data-value="0.1" class="{}">+0.100<small>0.050..0.150</small></td>'
    assert html.index(cell.format("good")) < html.index(cell.format("bad")) < html.index(cell.format(""))
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


def test_a_page_has_room_for_so_many_volumes(scored, tmp_path, capsys):
    many = [f"case_{number}" for number in range(25)]
    files = [(case, *make_files(tmp_path, "x")[1:]) for case in many]
    with pytest.raises(ValueError, match="25 volumes; a page has room for 24"):
        write_report(tmp_path / "r.html", title="T", results=make_results(), cases=files, volumes=many)
    assert main(["report", str(scored[0]), "--volumes", *many]) == 1
    assert capsys.readouterr().err == "cdpd: error: --volumes: 25 cases, but a page has room for 24; choose fewer\n"


def test_volumes_without_names_are_the_worst_and_some_typical_ones(scored):
    dice = {f"case_{number}": number / 10 for number in range(9)}
    cases = tuple(CaseScores(case, "A & B", "", "", {"liver": scores(value)}) for case, value in dice.items())
    results = Results(ANNOTATION, ANNOTATION, cases, tolerance_mm=2.0)
    assert worst_and_typical(results, 6) == ["case_0", "case_1", "case_2", "case_3", "case_4", "case_5"]
    assert worst_and_typical(results, 3) == ["case_0", "case_1", "case_4"]  # 0.4 is the median
    assert worst_and_typical(results, 1) == ["case_0"] and worst_and_typical(results, 0) == []
    assert len(worst_and_typical(results, 20)) == 9
    folder, images = scored
    assert main(["report", str(folder), "--images", str(images), "--pictures", "0", "--volumes"]) == 0
    html = (folder / "report.html").read_text()
    assert re.findall(r'class="case" data-case="(\w+)"', html) == ["bad", "good"] and len(html) < 3_000_000


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


# ---- a folder ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(tmp_path):
    """A folder with the summary.json of two cases, and a folder of their images."""
    folder, images = tmp_path / "predictions", tmp_path / "images"
    folder.mkdir()
    images.mkdir()
    cases = []
    for case, dice in (("good", 0.9), ("bad", 0.2)):
        _, image, reference, prediction = make_files(tmp_path, case)
        reference = reference.rename(tmp_path / f"{case}.nii.gz")
        image.rename(images / f"{case}_0000.nii.gz")
        cases.append(CaseScores(case, "A & B", str(reference), str(prediction), {"liver": scores(dice)}))
    results = Results(ANNOTATION, ANNOTATION, tuple(cases), tolerance_mm=2.0)
    labels = {"liver": [1, 2], "liver_tumor": 2, "right_kidney": [3, 5], "left_kidney": [4, 5], "<b>": 6}
    write_summary(summary_of(results, labels), folder / "summary.json")
    return folder, images


def test_images_of_a_merged_dataset_are_found_wherever_they_lie(scored, tmp_path):
    folder, images = scored
    merged = tmp_path / "Dataset400_M"
    merged.mkdir()
    listed = {"good": {"images": ["../images/good_0000.nii.gz"], "label": "../good.nii.gz"}}
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 1, "file_ending": ".nii.gz"}
    (merged / "dataset.json").write_text(json.dumps({**content, "dataset": listed}))
    assert images_of_dataset(merged) == {"good": images / "good_0000.nii.gz"} and images_of_dataset(images) == {}
    told = []
    page = report_folder(folder, images=merged, tell=told.append)
    assert articles(page) == {"bad": False, "good": True} and len(told) == 1 and "no pictures of bad: its image" in told[0]
    (images / "bad_0000.nii.gz").rename(merged / "bad_0000.nii.gz")  # not listed, but where a folder of images has it
    assert articles(report_folder(folder, images=merged, tell=told.append)) == {"bad": True, "good": True} and len(told) == 1


def test_the_command_shows_the_worst_cases_and_the_chosen_volumes(scored, tmp_path, capsys):
    folder, images = scored
    make_training_log(tmp_path / "model" / "fold_3" / "training_log_2025_1_1_10_00_00.txt")
    options = ["--pictures", "1", "--training", str(tmp_path / "model"), "--title", "Fold 3", "--window", "0", "150"]
    assert main(["report", str(folder), "-i", str(images), *options]) == 0
    html = (folder / "report.html").read_text()
    assert capsys.readouterr().out.strip() == f"written to {folder / 'report.html'}"
    articles = re.findall(r'<article class="case" id="[^"]*">\n<h3>(\w+)', html)
    assert articles == ["bad"] and "<title>Fold 3</title>" in html and "fold_3" in html and 'class="viewer"' not in html

    assert main(["report", str(folder), "-o", str(tmp_path / "x.html"), "--volumes", "good", "--pictures", "0", "-np", "1"]) == 0
    html = without_niivue((tmp_path / "x.html").read_text())
    assert re.findall(r'<article class="case" id="[^"]*">\n<h3>(\w+)', html) == ["good"] and html.count('class="viewer"') == 1
    assert "data:image/jpeg" not in html and 'class="contour' in html  # no image, contours all the same


def test_the_same_fold_of_two_models_makes_two_curves(scored, tmp_path, capsys):
    folder, _ = scored
    folds = [tmp_path / model / "fold_0" for model in ("modelA", "modelB")]
    for fold in folds:
        make_training_log(fold / "training_log_2025_1_1_10_00_00.txt")
    options = ["--pictures", "0", "-np", "1", "--training"]
    assert main(["report", str(folder), *options, *map(str, folds)]) == 0
    html = (folder / "report.html").read_text()
    assert "modelA/fold_0" in html and "modelB/fold_0" in html
    assert main(["report", str(folder), *options, str(folds[0]), str(folds[0])]) == 1
    assert "there is a modelA/fold_0 already" in capsys.readouterr().err


def spoiled(**changes):
    """Writes a comparison.json that belongs to the results, but for the changes."""
    content = {"A": "a", "B": "b", "cases": [], "counts": {}, "protocol": "nnunet", "metrics": {}, **changes}
    return lambda folder: (folder / "comparison.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "prepare, options, message",
    [
        (lambda folder: None, {"volumes": ["none"]}, "argument volumes none: not among the 2 scored cases"),
        (lambda folder: None, {"images": "/nowhere"}, "/nowhere: no such folder"),
        (lambda folder: None, {"num_pictures": -1}, "argument num_pictures -1: give 0 or more"),
        (lambda folder: None, {"num_processes": 0}, "argument num_processes 0: give 1 or more"),
        (lambda folder: None, {"training": ["/nowhere"]}, "no training_log_.* here or in fold_"),
        (lambda folder: None, {"output": "/nowhere/x.html"}, "no folder /nowhere; make it"),
        (lambda folder: None, {"output": "/nowhere/x"}, "argument output /nowhere/x: give a file that ends in .html"),
        (lambda folder: None, {"references": "/nowhere"}, "/nowhere: no such folder; give the folder of the references"),
        (lambda folder: None, {"predictions": "/nowhere"}, "/nowhere: no such folder; give the folder of the predictions"),
        (spoiled(metrics={"Dice": {"liver": {"cases": "x"}}}), {}, "`metrics: Dice: liver: cases` is 'x', not a whole"),
        (spoiled(metrics={"Dice": {"liver": {"cases": 10**400}}}), {}, "comparison.json: `metrics: Dice: liver: "),
        (lambda folder: (folder / "comparison.json").write_text("[" * 100_000), {},
         "comparison.json: cannot be read as JSON .nested too deep.; run"),
        (spoiled(A=1), {}, "comparison.json: `A` is 1, not a text; run"),
        (spoiled(counts={"liver": {"missed": 1}}), {}, "`counts: liver: missed` is 1, not a list of 2 values, each a whole"),
        (lambda folder: (folder / "comparison.json").write_text("{}"), {}, "comparison.json: `A` is missing, a text; run"),
        (spoiled(cases=["other"]), {}, "not of the results beside it; run `cdpd evaluate --compare` again, or remove it"),
        (lambda folder: (folder / "summary.json").unlink(), {}, "run `cdpd evaluate`"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(scored, prepare, options, message):
    prepare(scored[0])
    with pytest.raises(UserError, match=message) as raised:
        report_folder(scored[0], **options)
    assert "\n" not in str(raised.value) and not (scored[0] / "report.html").exists()


def test_a_folder_that_is_not_there_is_named_and_not_the_page(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'}: no such folder; give that of summary.json or quality.json" in capsys.readouterr().err


def test_a_page_of_others_is_never_replaced(scored, tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("<html>precious</html>")
    with pytest.raises(UserError, match="mine.html: nothing says that this command made it; nothing was changed, give another"):
        report_folder(scored[0], mine, num_pictures=0)
    assert mine.read_text() == "<html>precious</html>"
    for _ in range(2):  # its own it may replace
        report_folder(scored[0], tmp_path / "page.html", num_pictures=0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda summary: summary.update(metric_per_case=None),
        lambda summary: summary.update(metric_per_case=[]),
        lambda summary: [case.update(metrics={}) for case in summary["metric_per_case"]],
        lambda summary: summary["metric_per_case"][0].update(case=3),
        lambda summary: summary["metric_per_case"][0].update(reference_file=None),
        lambda summary: summary["metric_per_case"][0].update(
            metrics=dict.fromkeys(summary["metric_per_case"][0]["metrics"], "x")
        ),
        lambda summary: [scores.update(n_ref="x") for scores in summary["metric_per_case"][0]["metrics"].values()],
        lambda summary: [scores.update(n_ref=1, Dice="x") for scores in summary["metric_per_case"][0]["metrics"].values()],
        lambda summary: [scores.update(n_ref=1, Dice=None) for scores in summary["metric_per_case"][0]["metrics"].values()],
        lambda summary: [scores.pop("HD95_mm") for scores in summary["metric_per_case"][0]["metrics"].values()],
        lambda summary: summary["cdpd"].pop("classes"),
        lambda summary: summary["cdpd"].update(classes=dict.fromkeys(summary["cdpd"]["classes"], "somebody")),
        lambda summary: summary["cdpd"].update(classes=dict.fromkeys(summary["cdpd"]["classes"], 5)),
        lambda summary: summary["cdpd"].update(reference=5),
        lambda summary: summary["cdpd"].update(reference="{"),
        lambda summary: summary["cdpd"].update(reference="[" * 100_000),
        lambda summary: summary["cdpd"].update(prediction="{}"),
        lambda summary: summary["cdpd"].update(tolerance_mm="wide"),
        lambda summary: summary["cdpd"].update(tolerance_mm=10**400),
        lambda summary: summary["cdpd"].update(protocol="x"),
        lambda summary: summary["cdpd"].update(protocol=["x"]),
        lambda summary: summary["cdpd"].update(problems=[1]),
    ],
)
def test_damaged_results_are_told_in_one_line(scored, capsys, damage):
    path = scored[0] / "summary.json"
    summary = json.loads(path.read_text())
    damage(summary)
    path.write_text(json.dumps(summary))
    assert main(["report", str(scored[0])]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"cdpd: error: {path}: ") and re.search("; run `cdpd evaluate` (again|on the predictions)\n$", told)
    assert told.count("\n") == 1 and not (scored[0] / "report.html").exists()


def test_results_that_are_none_are_told(scored, capsys):
    for text, told in (
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"cdpd": 5}', "not written by"),
        ("[1]", "holds [1], not an object"),
    ):
        (scored[0] / "summary.json").write_text(text)
        assert main(["report", str(scored[0])]) == 1
        assert told in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_a_window_has_a_lower_end(scored, capsys):
    assert main(["report", str(scored[0]), "--window", "5", "5"]) == 1
    assert "the first must be below the second" in capsys.readouterr().err


def test_a_folder_as_output_holds_the_page(scored, tmp_path, capsys):
    folder, _ = scored
    there = tmp_path / "pages"
    there.mkdir()
    assert main(["report", str(folder), "--pictures", "0", "-o", str(there)]) == 0
    assert capsys.readouterr().out.strip() == f"written to {there / 'report.html'}" and (there / "report.html").is_file()
    assert not (folder / "report.html").exists()
    assert main(["report", str(folder), "-o", str(tmp_path / "page")]) == 1
    assert "-o" in (told := capsys.readouterr().err) and told.count("\n") == 1 and "ends in .html" in told
    (there / "in_the_way.html").mkdir()
    assert main(["report", str(folder), "--pictures", "0", "-o", str(there / "in_the_way.html")]) == 0
    assert (there / "in_the_way.html" / "report.html").is_file()


# ---- where the cases lie, and of which model they are --------------------------------------------------------------------


def articles(page):
    """Case -> whether its pictures are there."""
    found = re.findall(
        r'<article class="case" id="[^"]*">\n<h3>([\w&;]+(?: &lt;2&gt;)?)(.*?)</article>', page.read_text(), re.DOTALL
    )
    return {case: 'class="pictures four"' in text for case, text in found}


def test_a_moved_tree_keeps_its_pictures(scored, tmp_path, capsys):
    folder, images = scored
    for case in ("good", "bad"):  # predictions beside the results, as `cdpd predict` and `cdpd evaluate` leave them
        (tmp_path / f"{case}_prediction.nii.gz").rename(folder / f"{case}.nii.gz")
    summary = folder / "summary.json"
    text = summary.read_text()
    for case in ("good", "bad"):
        text = text.replace(str(tmp_path / f"{case}_prediction.nii.gz"), str(folder / f"{case}.nii.gz"))
    summary.write_text(text)
    new = tmp_path.with_name(f"{tmp_path.name}_moved")
    tmp_path.rename(new)
    page = report_folder(new / folder.name, images=new / images.name)
    assert articles(page) == {"bad": True, "good": True} and capsys.readouterr().out == ""

    # without the references there is nothing to draw, and it is said on the page and by the command
    (new / "labels").mkdir()
    for case in ("good", "bad"):
        (new / f"{case}.nii.gz").rename(new / "labels" / f"{case}.nii.gz")
    told = "its reference is not where it is looked for; give `cdpd report` the folder of the references"
    page = report_folder(new / folder.name, images=new / images.name)
    assert articles(page) == {"bad": False, "good": False} and page.read_text().count(f"No pictures: {told}.") == 2
    assert capsys.readouterr().out == f"note: no pictures of bad, good: {told}\n"
    assert articles(report_folder(new / folder.name, references=new / "labels")) == {"bad": True, "good": True}
    new.rename(tmp_path)


def test_the_head_of_the_page_tells_model_and_dataset(tmp_path):
    reference, prediction = "/me/Dataset777_X/labelsTs/a.nii.gz", "/me/pred/a.nii.gz"
    case = CaseScores("a", "C", reference, prediction, {})
    assert dataset_of([case]) == "Dataset777_X, labelsTs" and model_of(tmp_path, [case]) == "pred"
    (tmp_path / "plans.json").write_text(json.dumps({"plans_name": "nnUNetPlans", "dataset_name": "Dataset400_M"}))
    assert model_of(tmp_path, [case]) == "pred, by nnUNetPlans of Dataset400_M"
    model = "/me/Dataset400_M/nnUNetTrainerCDPD__nnUNetCDPDPlans__3d_fullres"
    named = "nnUNetTrainerCDPD__nnUNetCDPDPlans__3d_fullres"
    (tmp_path / "cdpd_predict.json").write_text(json.dumps({"model": model, "folds": [0, "all"]}))
    assert model_of(tmp_path, [case]) == f"{named}, folds 0 all, trained on Dataset400_M"
    (tmp_path / "cdpd_predict.json").write_text("[]")
    validated = CaseScores("a", "C", reference, f"{model}/fold_3/validation/a.nii.gz", {})
    assert model_of(tmp_path, [validated]) == f"{named}, fold_3, trained on Dataset400_M"
    assert dataset_of([]) == "" and dataset_of([CaseScores("a", "C", r"C:\me\gt\a.nii.gz", "", {})]) == "gt"


def test_names_that_the_user_gives_stand_on_the_page(scored, capsys):
    folder, _ = scored
    assert main(["report", str(folder), "--pictures", "0", "--name", "Ours <1>"]) == 0
    assert '<div class="name">Model</div><div>Ours &lt;1&gt;</div>' in (folder / "report.html").read_text()


# ---- contents, and names that are no text --------------------------------------------------------------------------------


def test_the_contents_list_every_heading(page):
    html = page.read_text()
    contents = re.findall(r'<a href="#([\w-]+)">([^<]*)</a>', re.search(r'<nav class="contents".*?</nav>', html, re.DOTALL)[0])
    assert contents == re.findall(r'<h2 id="([\w-]+)">([^<]*)</h2>', html) and len(contents) >= 8
    assert html.index("<nav") < html.index("<h2") and len(dict(contents)) == len(contents)


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
