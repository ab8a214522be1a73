"""`cdpd labels`: the tables in words, as text and JSON, and every contradiction on a line of its own."""

import json
import re
from pathlib import Path

import pytest

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED, read_annotation
from nnunetv2_cdpd.annotation.explain import SYMBOLS, explain, value_names
from nnunetv2_cdpd.cli.main import main


def dataset_json(**changes):
    """Two sources: LITS with liver and tumor, KITS with both kidneys merged, their tumor and an ignore label."""
    block = {
        "version": 1,
        "sources": {
            "LITS": {"annotated_classes": ["liver", "liver_tumor"]},
            "KITS": {"annotated_classes": ["kidney_tumor"], "merged_labels": ["kidney"]},
        },
        "merged_labels": {"kidney": {"value": 6, "classes": ["right_kidney", "left_kidney"]}},
        "possible_parents": {"kidney_tumor": ["right_kidney", "left_kidney"]},
        "case_source": {"case_1": "LITS", "case_2": "KITS", "case_3": "KITS"},
    }
    return {
        "labels": {
            "background": 0, "liver": [1, 2], "liver_tumor": 2, "right_kidney": [3, 6], "left_kidney": [4, 6],
            "kidney_tumor": 5, "ignore": 7,
        },
        "regions_class_order": [1, 2, 3, 4, 5],
        "cdpd": block | changes,
    }  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "dataset.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return written


def reasons_of(annotation, source, value):
    return {entry.column: entry.reason for entry in explain(annotation, source) if entry.value == value}


def test_table_is_printed_with_its_reasons(write, capsys):
    assert main(["labels", write(dataset_json()), "--source", "KITS"]) == 0
    text = capsys.readouterr().out
    assert "source KITS, 2 cases" in text and "LITS" not in text
    rows = {row.split()[0]: row for row in text.splitlines() if re.match(r"  \d ", row)}
    assert set(rows) == {"0", "5", "6", "7"}
    assert rows["0"].split()[-6:] == [".", ".", "-", "-", "-", "-"]
    assert rows["6"].split()[-6:] == ["-", "-", ".", ".", "-", "+"]
    assert rows["7"].split()[-6:] == ["."] * 6
    block = text.split("not supervised, because the value is one of several classes, not known which:\n")[1]
    assert block.startswith("    kidney_tumor: right_kidney, left_kidney\n    kidney (right_kidney or left_kidney): right_kidney")


def test_every_cell_has_the_state_of_the_loss_and_a_reason_that_fits_it():
    annotation = read_annotation(dataset_json())
    fitting = {"+": "value is", "-": "annotates|excludes", ".": "not|one of several|one by one|says nothing"}
    for source, table in zip(annotation.sources, annotation.tables):
        entries = explain(annotation, source)
        assert len(entries) == len(value_names(annotation)) * len(annotation.column_names)
        for entry in entries:
            assert entry.state == table[entry.value, annotation.column_names.index(entry.column)]
            assert re.search(fitting[SYMBOLS[entry.state]], entry.reason)


def test_reasons_tell_apart_why_a_class_is_not_supervised():
    annotation = read_annotation(dataset_json())
    lits, kits = annotation.sources
    assert "background may be it" in reasons_of(annotation, kits, 0)["liver"]
    assert "excludes" in reasons_of(annotation, lits, 1)["right_kidney"]
    assert "not known which" in reasons_of(annotation, kits, 5)["right_kidney"]
    assert "the union's classes" in reasons_of(annotation, kits, 5)["kidney"]
    assert "every class of the union" in reasons_of(annotation, lits, 0)["kidney"]
    sources = {"CHAOS": {"annotated_classes": ["liver"]}, **dataset_json()["cdpd"]["sources"]}
    annotation = read_annotation(dataset_json(sources=sources))
    assert "may lie here" in reasons_of(annotation, annotation.sources[0], 1)["liver_tumor"]


def test_union_that_says_no_more_than_its_classes_is_explained():
    sources = {"BOTH": {"annotated_classes": ["right_kidney", "left_kidney"]}, **dataset_json()["cdpd"]["sources"]}
    annotation = read_annotation(dataset_json(sources=sources))
    assert "one by one" in reasons_of(annotation, annotation.sources[0], 3)["kidney"]


def test_values_that_share_a_region_or_have_no_class_are_named():
    labels = {"background": 0, "kidney": [1, 2, 9], "left_kidney": 1, "right_kidney": 2}
    annotation = read_annotation({"labels": labels, "regions_class_order": [1, 1, 2]})
    assert value_names(annotation) == {0: "background", 1: "kidney / left_kidney", 2: "right_kidney", 9: "part of kidney"}
    assert annotation.stored_values(annotation.sources[0]) == [0, 1, 2, 9]


def test_all_values_adds_the_rows_that_a_source_does_not_store(write, capsys):
    assert main(["labels", write(dataset_json()), "--source", "LITS", "--all-values"]) == 0
    rows = re.findall(r"^  (\d) ", capsys.readouterr().out, re.MULTILINE)
    assert rows == list("01234567")


def test_json_holds_the_same_tables(write, capsys):
    assert main(["labels", write(dataset_json()), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    annotation = read_annotation(dataset_json())
    assert shown["classes"] == list(annotation.classes) and shown["unions"] == ["kidney"]
    kits = shown["sources"]["KITS"]
    assert kits["cases"] == 2 and kits["stored_values"] == [0, 5, 6, 7]
    table = annotation.tables[1]
    for value, cells in kits["table"].items():
        for column, name in enumerate(annotation.column_names):
            assert (cells[name]["state"] == "positive") == (table[int(value), column] == POSITIVE)
            assert (cells[name]["state"] == "not supervised") == (table[int(value), column] == UNSUPERVISED)


def test_plain_dataset_is_one_source_without_a_number_of_cases(write, capsys):
    assert main(["labels", write({"labels": {"background": 0, "liver": 1}, "name": "Mine"})]) == 0
    assert "source Mine\n" in capsys.readouterr().out


def test_dataset_is_found_by_id(nnunet_folders, capsys):
    folder = nnunet_folders.raw / "Dataset400_MultiCT"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(dataset_json()))
    assert main(["labels", "400", "--check"]) == 0
    assert "5 classes, 2 sources, no contradiction" in capsys.readouterr().out


def test_check_lists_every_contradiction_on_its_own_line(write, capsys):
    sources = {
        "LITS": {"annotated_classes": ["liver", "spleen"]},
        "KITS": {"annotated_classes": ["left_kidney"], "merged_labels": ["kidney", "lungs"]},
        "NONE": {"annotated_classes": []},
    }
    parents = {"liver": ["kidney_tumor"], "kidney_tumor": ["liver"]}
    path = write(dataset_json(sources=sources, possible_parents=parents, case_source={"a": "CHAOS"}))
    assert main(["labels", path, "--check"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    for text in (
        "source 'LITS' names spleen", "source 'KITS' names lungs", "source 'NONE' annotates no class",
        "source 'KITS' annotates left_kidney and also merges it into 'kidney'", "case 'a' is of source 'CHAOS'",
        "class 'liver' is nested in itself", "class 'kidney_tumor' is nested in itself",
    ):  # fmt: skip
        assert sum(text in line for line in lines) == 1, text


def test_check_names_a_region_that_no_label_fills(write, capsys):
    sources = {"KITS": dataset_json()["cdpd"]["sources"]["KITS"], "CHAOS": {"annotated_classes": ["liver"]}}
    path = write(dataset_json(sources=sources, case_source={}))
    assert main(["labels", path, "--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no source fills the region of 'liver_tumor', [2], so nothing teaches it" in line
    assert main(["labels", path]) == 0  # training goes on with it, so the table can be seen


def test_check_names_a_parent_that_is_no_class(write, capsys):
    parents = {"kidney_tumor": ["right_kidnay", "left_kidney"]}
    assert main(["labels", write(dataset_json(possible_parents=parents)), "--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "possible_parents names right_kidnay, known are" in line


def test_check_asks_for_the_source_of_each_case(write, capsys):
    assert main(["labels", write(dataset_json(case_source=None)), "--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "`cdpd: case_source` is missing" in line


def test_merged_label_and_nested_class_teach_the_region_that_holds_them(write, capsys):
    assert main(["labels", write(dataset_json()), "--check"]) == 0  # the kidneys have no value of their own in any source
    nested_only = {"LITS": {"annotated_classes": ["liver_tumor"]}, "KITS": dataset_json()["cdpd"]["sources"]["KITS"]}
    assert main(["labels", write(dataset_json(sources=nested_only)), "--check"]) == 0


@pytest.mark.parametrize(
    "content, arguments, message",
    [
        ("{", [], "cannot be read as JSON"),
        ("[]", [], "holds [], not an object, as a dataset.json of nnU-Net v2 does"),
        (dataset_json(version=2), ["--check"], "has version 2"),
        (dataset_json(), ["--source", "BTCV"], "no source BTCV; known are LITS, KITS"),
    ],
)
def test_mistakes_end_in_one_line(write, capsys, content, arguments, message):
    assert main(["labels", write(content), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_documentation_shows_what_the_command_prints(write, capsys):
    text = (Path(__file__).parents[2] / "docs/annotation.md").read_text(encoding="utf-8")
    example = json.loads("{" + re.search(r"```json\n(.*?)```", text, re.DOTALL)[1] + "}")
    assert main(["labels", write(example), "--source", "KITS"]) == 0
    shown = re.search(r"\$ cdpd labels 400 --source KITS\n(.*?)```", text, re.DOTALL)[1]
    assert capsys.readouterr().out.startswith(shown.split("  not supervised, because")[0].rstrip() + "\n")
