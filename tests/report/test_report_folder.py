"""The report of a folder of results: its cases wherever they lie, those that are chosen, and mistakes told in one line."""

import json
import re

import pytest
from builders.pages import articles, without_niivue
from builders.report import ANNOTATION, make_files, make_results, make_training_log, scores

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.nnunet import summary_of, write_summary
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.report.cases import images_of_dataset
from nnunetv2_cdpd.report.folder import report_folder
from nnunetv2_cdpd.report.origin import dataset_of, model_of
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.tables import worst_and_typical


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


def test_a_page_of_others_is_never_replaced(scored, tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("<html>precious</html>")
    with pytest.raises(UserError, match="mine.html: nothing says that this command made it; nothing was changed, give another"):
        report_folder(scored[0], mine, num_pictures=0)
    assert mine.read_text() == "<html>precious</html>"
    for _ in range(2):  # its own it may replace
        report_folder(scored[0], tmp_path / "page.html", num_pictures=0)


# ---- where the cases lie, and of which model they are --------------------------------------------------------------------


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


# ---- mistakes ------------------------------------------------------------------------------------------------------------


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
