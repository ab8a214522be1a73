"""evaluate_folder and `cdpd evaluate` on real files, anisotropic and rotated."""

import csv
import json
import math
import time

import numpy as np
import pytest
from builders.evaluation import DATASET_JSON, KIDNEY, LEFT, LIVER, SPLEEN, evaluate, write, write_json, write_plain
from nnunetv2.evaluation.evaluate_predictions import load_summary_json

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.evaluate import evaluate_folder
from nnunetv2_cdpd.evaluation.folders import LabelledFolder, cases_to_score
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.evaluation.protocols import NNUNET
from nnunetv2_cdpd.evaluation.scoring import EvaluationOptions
from nnunetv2_cdpd.evaluation.tables import text_table


def test_the_command_writes_json_csv_and_a_table(folders, capsys):
    predicted, truth = folders
    assert main(["evaluate", str(predicted), str(truth), "-np", "1", "--tolerance-mm", "1"]) == 0
    table = capsys.readouterr().out
    assert (predicted / "summary.txt").read_text() in table
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert "surface Dice at 1 mm" in table and "Source A, 2 cases" in table and "Source B, 1 case" in table
    # class cases present Dice its-interval HD95 surface-Dice missed spurious
    assert lines["liver"] == ["liver", "2", "2", "1.000", "1.000..1.000", "0.00", "1.000", "0", "0"]
    assert lines["spleen"] == ["spleen", "2", "2", "0.500", "0.000..1.000", "0.00", "0.500", "1", "0"]
    assert lines["kidney"] == ["kidney", "1", "1", "1.000", "-", "0.00", "1.000", "0", "0"]
    assert "not annotated: right_kidney, left_kidney, colon" in table
    assert table.count("\nkidney: right_kidney or left_kidney, not known which\n") == 2  # of all cases, of source B
    assert "colon" not in lines

    rows = list(csv.DictReader((predicted / "metrics.csv").open()))
    assert [(row["case"], row["source"], row["class"]) for row in rows] == [
        ("case_1", "A", "liver"), ("case_1", "A", "spleen"),
        ("case_2", "A", "liver"), ("case_2", "A", "spleen"),
        ("case_3", "B", "kidney"),
    ]  # fmt: skip
    assert set(rows[0]) == {"case", "source", "class", *NNUNET.metrics}
    assert (float(rows[3]["Dice"]), float(rows[3]["HD95_mm"]), rows[3]["n_ref"]) == (0, math.inf, "12")

    summary = load_summary_json(str(predicted / "summary.json"))
    assert set(summary["mean"]) == {1, 2, (3, 5), (4, 5), 6, KIDNEY}
    assert (summary["mean"][1]["Dice"], summary["mean"][2]["Dice"], summary["mean"][KIDNEY]["Dice"]) == (1, 0.5, 1)
    assert math.isnan(summary["mean"][6]["Dice"])
    # the union counts, because neither kidney is scored alone
    assert summary["foreground_mean"]["Dice"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert [ours_of["foreground_mean"]["Dice"] for ours_of in summary["cdpd"]["sources"].values()] == [0.75, 1]
    assert [case["metrics"][2]["Dice"] for case in summary["metric_per_case"]] == pytest.approx([1, 0, math.nan], nan_ok=True)
    ours = summary["cdpd"]
    assert ours["tolerance_mm"] == 1 and ours["classes"][str(KIDNEY)] == "kidney" and ours["classes"]["6"] == "colon"
    assert ours["sources"]["A"]["classes"]["spleen"]["missed"] == 1
    assert ours["sources"]["A"]["classes"]["colon"] == ours["all_sources"]["classes"]["colon"] == "not annotated"
    written = {"metrics.csv", "summary.json", "summary.txt"}
    assert {path.name for path in predicted.iterdir()} == {f"case_{number}.nii.gz" for number in (1, 2, 3)} | written
    read = read_results(predicted / "summary.json")
    assert text_table(read) == (predicted / "summary.txt").read_text()
    assert (read.class_names, read.source_names) == ((*list(DATASET_JSON["labels"])[1:], "kidney"), ("A", "B"))


@pytest.mark.parametrize("mark", ["plans.json", "cdpd_predict.json", None])
def test_exchanged_folders_are_told(mark, folders, capsys):
    predicted, truth = folders
    if mark:
        (predicted / mark).write_text("{}")
    assert main(["evaluate", str(truth), str(predicted), "-np", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{truth} holds references" in line and (not mark or f"{predicted} holds predictions" in line)
    assert "are the two folders exchanged?" in line
    assert line.split("first here: ")[1].startswith(f"PRED_DIR {predicted} GT_DIR {truth};")
    assert not (truth / "summary.json").exists()


def test_a_folder_is_not_its_own_reference(folders, tmp_path):
    predicted, _ = folders
    (tmp_path / "link").symlink_to(predicted)
    with pytest.raises(UserError, match="argument gt_dir .*link: these are the predictions themselves"):
        evaluate(predicted, tmp_path / "link")
    assert not (predicted / "summary.json").exists()


@pytest.mark.parametrize("order", ["-pred P -ref T", "-ref T -pred P", "-ref T P", "P -ref T", "-i P -gt T", "P T"])
def test_folders_by_name_or_by_position(order, folders):
    predicted, truth = folders
    given = [{"P": str(predicted), "T": str(truth)}.get(word, word) for word in order.split()]
    assert main(["evaluate", *given, "-np", "1", "-o", str(predicted / "results")]) == 0
    assert read_results(predicted / "results" / "summary.json").cases[0].prediction_file == str(predicted / "case_1.nii.gz")


def test_images_of_a_raw_dataset_are_no_predictions_and_cases_may_be_called_like_images(folders):
    predicted, truth = folders
    images = truth.parent / "imagesTr"
    images.mkdir()
    with pytest.raises(UserError, match="argument pred_dir .*imagesTr: holds images, not label maps"):
        evaluate(images, truth)
    for folder in folders:
        for file in sorted(folder.glob("case_*.nii.gz")):
            file.rename(folder / file.name.replace("case_", "case_000"))
    assert {case.case for case in evaluate(predicted, truth, fully_annotated=True).cases} >= {"case_0001"}


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", "comparison.csv"])
def test_results_of_others_stay(name, folders):
    predicted, truth = folders
    (predicted / name).write_text('{"mean": 1}')
    with pytest.raises(UserError, match=f"{name}: nothing says that this command made it; .*give argument output"):
        evaluate(predicted, truth)
    assert (predicted / name).read_text() == '{"mean": 1}'
    evaluate_folder(predicted, truth, output=predicted / "new", options=EvaluationOptions(num_processes=1, progress=False))


def test_results_are_not_put_among_references(folders, tmp_path):
    predicted, truth = folders
    with pytest.raises(UserError, match="labelsTr: holds references, among which nothing is written; give argument output"):
        evaluate_folder(predicted, truth, output=truth, options=EvaluationOptions(num_processes=1, progress=False))


def test_files_of_another_ending_are_named(folders):
    predicted, truth = folders
    (truth / "case_3.nii.gz").rename(truth / "case_3.NII.GZ")
    notes = []
    assert len(evaluate(predicted, truth, report=notes.append, allow_missing=True).cases) == 2
    assert f"note: {truth}: not taken, because nnU-Net takes what ends in .nii.gz, letter by letter: case_3.NII.GZ" in notes


@pytest.mark.slow  # each process imports MONAI
def test_several_processes_give_the_same(folders, tmp_path):
    predicted, truth = folders
    for number in (1, 2):
        options = EvaluationOptions(num_processes=number, progress=False)
        evaluate_folder(predicted, truth, output=tmp_path / str(number), options=options)
    for name in ("summary.json", "metrics.csv", "summary.txt"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_the_prediction_s_own_dataset_json_names_its_values(folders):
    predicted, truth = folders
    for case in ("case_1", "case_2"):
        write(predicted / f"{case}.nii.gz", {4: LIVER, 1: SPLEEN})
    labels = {"background": 0, "Spleen": 1, "Left Kidney": 2, "right-kidney": 3, "Liver": 4}
    write_json(predicted / "dataset.json", {"labels": labels, "file_ending": ".nii.gz"})
    notes = []
    results = evaluate(predicted, truth, report=notes.append)
    assert results.summary("liver").means["Dice"] == results.summary("spleen").means["Dice"] == 1
    assert results.unknown_classes == ("colon",) and "do" in notes[0] and "colon" in notes[0]


def test_a_case_without_source_needs_a_word_of_the_user(folders):
    predicted, truth = folders
    for folder in (predicted, truth):
        write(folder / "new.nii.gz", {1: LIVER, 6: SPLEEN})
    with pytest.raises(UserError, match="'new' is in no source of .*argument fully_annotated"):
        evaluate(predicted, truth)
    results = evaluate(predicted, truth, fully_annotated=True)
    assert results.source_names == ("A", "B", "fully annotated")
    assert results.summary("colon").cases == 1 and results.summary("liver").cases == 3


def test_a_word_of_the_user_is_enough_without_any_list_of_cases(folders):
    predicted, truth = folders
    listed = json.loads((truth.parent / "dataset.json").read_text())
    del listed["cdpd"]["case_source"]
    write_json(truth / "dataset.json", listed)
    with pytest.raises(UserError, match="`cdpd: case_source` is missing"):
        evaluate(predicted, truth)
    assert evaluate(predicted, truth, fully_annotated=True).source_names == ("fully annotated",)


def test_a_dataset_without_sources_is_fully_annotated(folders):
    predicted, truth = folders
    labels = {"background": 0, "liver": 1, "spleen": 2, "kidney": 5, "rest": 6}
    # the one beside the references is nearer
    write_json(truth / "dataset.json", {"labels": labels, "file_ending": ".nii.gz", "name": "P"})
    write(predicted / "case_3.nii.gz", {})
    for case in ("case_1", "case_2"):
        write(predicted / f"{case}.nii.gz", {1: LIVER, 2: SPLEEN})
    results = evaluate(predicted, truth)
    assert evaluate(predicted, truth, fully_annotated=True).cases == results.cases
    assert results.source_names == ("P",)
    assert [results.summary(name).cases for name in results.class_names] == [3, 3, 3, 3]
    assert results.summary("kidney").missed == 1 and results.summary("kidney").present == 1


def test_missing_predictions_are_an_error_unless_allowed(folders, capsys):
    predicted, truth = folders
    (predicted / "case_2.nii.gz").unlink()
    write(predicted / "other.nii.gz", {})
    assert main(["evaluate", str(predicted), str(truth), "-np", "1"]) == 1
    error = capsys.readouterr().err
    assert "1 of 3 cases have no prediction: case_2" in error and "--allow-missing" in error
    assert len(error.strip().splitlines()) == 1 and not (predicted / "summary.json").exists()
    assert main(["evaluate", str(predicted), str(truth), "-np", "1", "--allow-missing"]) == 0
    out = capsys.readouterr().out
    assert "note: 1 of 3 cases" in out and "note: 1 predictions have no reference and are not scored: other" in out


def test_thousands_of_cases_are_matched_at_once(folders, monkeypatch):
    predicted, truth = folders
    many = [f"case_{number}" for number in range(20_000)]
    monkeypatch.setattr("nnunetv2_cdpd.evaluation.folders.identifiers", lambda folder, ending: many)
    begun = time.perf_counter()
    found = cases_to_score(predicted, LabelledFolder.of_references(truth), allow_missing=False, report=print)
    assert found == many and time.perf_counter() - begun < 2  # a look-up a case; each against all takes a minute


def test_missing_references_are_an_error_unless_allowed(folders):
    predicted, truth = folders
    (truth / "case_2.nii.gz").unlink()
    with pytest.raises(UserError, match="labelsTr: 1 of 3 predictions have no reference: case_2; .*argument allow_missing"):
        evaluate(predicted, truth)
    assert [case.case for case in evaluate(predicted, truth, allow_missing=True).cases] == ["case_1", "case_3"]


def test_a_bad_case_is_named_and_the_others_are_scored(folders, capsys):
    predicted, truth = folders
    write(predicted / "case_1.nii.gz", {1: LIVER}, spacing=(0.8, 1.25, 2.5))
    write(predicted / "case_3.nii.gz", {9: LIVER})
    assert main(["evaluate", str(predicted), str(truth), "-np", "1"]) == 1
    printed = capsys.readouterr()
    assert "case 'case_1': spacing of prediction" in printed.err and "differ" in printed.err
    assert "case 'case_3'" in printed.err and "holds the value 9" in printed.err
    assert "No number here knows of 2 cases that could not be scored: case_1, case_3\n" in printed.out
    summary = load_summary_json(str(predicted / "summary.json"))
    assert [case["case"] for case in summary["metric_per_case"]] == ["case_2"] and len(summary["cdpd"]["problems"]) == 2


@pytest.mark.parametrize(
    "ending, changed, problem",
    [
        (".png", {}, None),
        (".png", {"shape": (7, 8)}, "shape of prediction"),
        (".tiff", {}, None),
        (".tiff", {"spacing": (3, 1.25, 0.9)}, "spacing of prediction"),
    ],
)
def test_formats_without_geometry_are_compared_by_shape_and_spacing(tmp_path, ending, changed, problem):
    labels = {"background": 0, "liver": 1}
    for name, how in (("labelsTr", {}), ("predicted", changed)):
        folder = tmp_path / name
        write_json(folder / "dataset.json", {"labels": labels, "file_ending": ending})
        write_plain(folder / f"case{ending}", **how)
        write_plain(folder / f"other{ending}")
    results = evaluate(tmp_path / "predicted", tmp_path / "labelsTr", tolerance_mm=1)
    assert [case.case for case in results.cases] == (["other"] if problem else ["case", "other"])
    assert results.summary("liver").means["Dice"] == 1
    told = results.problems.get("case", "")
    assert (problem or "") in told and all(str(tmp_path / name) in told for name in ("labelsTr", "predicted") if problem)


def test_a_value_that_nothing_declares_is_no_background(folders):
    predicted, truth = folders
    labels = {"background": 0, "liver": 1, "spleen": 2, "kidneys": 5, "rest": 9}
    for folder in folders:
        write_json(folder / "dataset.json", {"labels": labels, "file_ending": ".nii.gz"})
        for case in ("case_1", "case_2", "case_3"):
            write(folder / f"{case}.nii.gz", {1: LIVER})
    write(predicted / "case_2.nii.gz", {1: LIVER, 4: LEFT})
    problems = evaluate(predicted, truth).problems
    assert list(problems) == ["case_2"] and "holds the value 4, which" in problems["case_2"]


def test_a_first_reference_that_cannot_be_read_does_not_stop_the_others(folders):
    predicted, truth = folders
    (truth / "case_1.nii.gz").write_bytes(b"no image")
    results = evaluate(predicted, truth)
    assert set(results.problems) == {"case_1"} and [case.case for case in results.cases] == ["case_2", "case_3"]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p, t: write(p / "case_1.nii.gz", {}, shape=(4, 7, 8)), "shape of prediction"),
        (lambda p, t: write(p / "case_1.nii.gz", {1: LIVER}, dtype=np.float32), None),
        (lambda p, t: write(p / "case_1.nii.gz", {0.5: LIVER}, dtype=np.float32), "no integers"),
        (lambda p, t: (p / "case_1.nii.gz").write_bytes((p / "case_1.nii.gz").read_bytes()[:-4]), "case_1.nii.gz is damaged"),
        (lambda p, t: (t / "case_1.nii.gz").write_bytes((t / "case_1.nii.gz").read_bytes()[:-4]), "case_1.nii.gz is damaged"),
        (lambda p, t: (p / "case_1.nii.gz").write_bytes(b"no image"), "case_1.nii.gz is damaged"),
    ],
)
def test_damage_of_a_prediction(folders, damage, message):
    predicted, truth = folders
    damage(predicted, truth)
    problems = evaluate(predicted, truth).problems
    assert list(problems) == ([] if message is None else ["case_1"])
    assert all(message in problem and "\n" not in problem for problem in problems.values())


@pytest.mark.parametrize(
    "prepare, kwargs, message",
    [
        (lambda p, t: (t.parent / "dataset.json").unlink(), {}, "no dataset.json here .*argument dataset_json"),
        (lambda p, t: t.rename(t.parent / "moved"), {}, "no such folder; give another one"),
        (lambda p, t: (t.parent / "dataset.json").write_text("{"), {}, "cannot be read as JSON"),
        (lambda p, t: (t.parent / "dataset.json").write_text("{}"), {}, "`file_ending` missing"),
        (
            lambda p, t: write_json(p / "dataset.json", {"file_ending": ".nii.gz"}),
            {},
            "predicted/dataset.json: `labels` missing",
        ),
        (
            lambda p, t: write_json(
                p / "dataset.json",
                {"file_ending": ".nii.gz", "labels": {"x": [1, 2], "y": [3, 4]}, "regions_class_order": [1, 3]},
            ),
            {},
            "no class to score: the reference has liver, .* the prediction x, y;",
        ),
        (lambda p, t: [path.unlink() for path in p.iterdir()], {}, "no prediction case_1.nii.gz"),
        (lambda p, t: [path.unlink() for path in t.iterdir()], {}, "no file ends in .nii.gz"),
        (lambda p, t: [path.unlink() or path.write_bytes(b"x") for path in p.iterdir()], {}, "none of 3 cases could be scored"),
        (lambda p, t: [path.unlink() or path.write_bytes(b"x") for path in t.iterdir()], {}, "no reader for .nii.gz"),
        (lambda p, t: None, {"dataset_json": 999}, "999: .* nnUNet_raw is not set"),
        (lambda p, t: None, {"tolerance_mm": -1}, "a distance is not negative"),
        (lambda p, t: None, {"tolerance_mm": math.nan}, "a distance is not negative"),
    ],
)
def test_mistakes_end_in_one_line(folders, prepare, kwargs, message, monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    prepare(*folders)
    with pytest.raises(UserError, match=message) as raised:
        evaluate(*folders, **kwargs)
    assert "\n" not in str(raised.value)
    assert not (folders[0] / "summary.json").exists()


@pytest.mark.parametrize("given", ["folder", "file"])
def test_dataset_given_as(folders, tmp_path, given):
    predicted, truth = folders
    elsewhere = tmp_path / "elsewhere"
    truth.rename(elsewhere)
    folder = tmp_path / "Dataset400_X"
    results = evaluate(predicted, elsewhere, dataset_json=folder if given == "folder" else folder / "dataset.json")
    assert len(results.cases) == 3


def test_dataset_given_as_id(folders, tmp_path, monkeypatch):
    predicted, truth = folders
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    moved = truth.rename(tmp_path / "references")
    assert len(evaluate(predicted, moved, dataset_json="400").cases) == 3
    with pytest.raises(UserError, match="no dataset has this id, 401"):
        evaluate(predicted, moved, dataset_json=401)


def test_results_are_read_from_our_summary_only(folders, tmp_path):
    with pytest.raises(UserError, match="summary.json: no such file; run `cdpd evaluate`"):
        read_results(tmp_path / "summary.json")
    write_json(tmp_path / "summary.json", {"mean": {}})
    with pytest.raises(UserError, match="not written by `cdpd evaluate`"):
        read_results(tmp_path / "summary.json")


DAMAGED = [  # keys, value, what is told
    (("cdpd", "reference"), 5, "`cdpd: reference` is 5, not a text"),
    (("cdpd", "reference"), "[" * 100_000, "`cdpd: reference` is no JSON"),
    (("cdpd", "reference"), "5", "`cdpd: reference`: holds 5, not an object"),
    (("cdpd", "classes"), ["liver"], "`cdpd: classes` is ['liver'], not an object"),
    (("cdpd", "classes"), {}, "`cdpd: classes` does not name "),
    (("cdpd", "protocol"), ["x"], "`cdpd: protocol` is ['x'], not one of "),
    (("cdpd", "tolerance_mm"), "1", "`cdpd: tolerance_mm` is '1', not a number"),
    (("cdpd", "tolerance_mm"), 10**400, "`cdpd: tolerance_mm` is 1"),
    (("cdpd", "problems"), 5, "`cdpd: problems` is 5, not an object"),
    (("metric_per_case",), {"a": 1}, "`metric_per_case` is {'a': 1}, not a list"),
    (("metric_per_case", 0), 5, "`metric_per_case: 0` is 5, not an object"),
    (("metric_per_case", 0, "case"), None, "`metric_per_case: 0: case` is None, not a text"),
    (("metric_per_case", 0, "metrics"), [], "`metric_per_case: 0: metrics` is [], not an object"),
    (("metric_per_case", 0, "metrics", "1"), None, "`metric_per_case: 0: metrics: 1` is None, not an object"),
    (("metric_per_case", 0, "metrics", "1", "n_ref"), "5", "`metric_per_case: 0: metrics: 1: n_ref` is '5', not a number"),
    (("metric_per_case", 0, "metrics", "1", "Dice"), 10**400, "`metric_per_case: 0: metrics: 1: Dice` is 1"),
]


def test_a_damaged_summary_is_told_by_its_key(folders):
    evaluate(*folders)
    path = folders[0] / "summary.json"
    whole = path.read_text()
    for keys, value, told in DAMAGED:
        summary = inner = json.loads(whole)
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(summary))
        with pytest.raises(UserError) as error:
            read_results(path)
        message = str(error.value)
        assert message.startswith(f"{path}: {told}") and "Error" not in message and "\n" not in message and len(message) < 400
