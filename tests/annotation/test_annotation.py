"""Annotation: tables computed by hand, dataset.json there and back, contradictions named."""

import copy
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_cdpd.annotation import (
    NEGATIVE,
    POSITIVE,
    Annotation,
    MergedLabel,
    Source,
    dataset_json_entries,
    read_annotation,
    with_sigmoid_heads,
)
from nnunetv2_cdpd.classes import compatible_pairs
from nnunetv2_cdpd.errors import UserError

CLASSES = ("liver", "right_kidney", "left_kidney", "liver_tumor", "kidney_tumor")
ANNOTATION = Annotation(
    classes=CLASSES,
    values=(1, 2, 3, 4, 5),
    regions=((1, 4), (2,), (3,), (4,), (5,)),
    sources=(
        Source("LITS", ("liver", "liver_tumor"), task_prompt="prompt", license="CC0", reference="paper"),
        Source("KITS", ("kidney_tumor",), ("kidney",)),
        Source("ORGANS", ("liver", "right_kidney", "left_kidney")),
        Source("RENAL", ("right_kidney", "left_kidney", "kidney_tumor")),
    ),
    case_source={"a": "LITS", "b": "KITS", "c": "ORGANS", "d": "RENAL"},
    merged_labels=(MergedLabel("kidney", 6, ("right_kidney", "left_kidney")),),
    possible_parents={"kidney_tumor": ("right_kidney", "left_kidney")},
    ignore_value=7,
)
# columns: liver, right kidney, left kidney, liver tumor, kidney tumor, kidney (union); + positive, - negative, . not supervised
TABLES = {
    "LITS": """
        -..-..
        +----.
        -+--..
        --+-..
        +--+-.
        -..-+.
        -..-..
        ......
    """,
    "KITS": """
        .--.--
        +--.--
        -+---+
        --+--+
        +--+--
        -..-++
        -..--+
        ......
    """,
    "ORGANS": """
        ---...
        +--.-.
        -+--..
        --+-..
        +--+-.
        -..-+.
        -..-..
        ......
    """,
    "RENAL": """
        .--.--
        +--.--
        -+---+
        --+--+
        +--+--
        -..-++
        -..--+
        ......
    """,
}


def drawn(table):
    return ["".join("-+."[state] for state in row) for row in table]


@pytest.mark.parametrize("source", [source.name for source in ANNOTATION.sources])
def test_tables_are_those_computed_by_hand(source):
    index = [s.name for s in ANNOTATION.sources].index(source)
    assert drawn(ANNOTATION.tables[index]) == TABLES[source].split()


def test_scored_are_annotated_classes_and_unions_that_say_more():
    assert ANNOTATION.column_names == (*CLASSES, "kidney")
    np.testing.assert_array_equal(ANNOTATION.members, [[False, True, True, False, False]])
    expected = ["+--+--", "----++", "+++---", "-++-++"]
    assert drawn(ANNOTATION.scored.astype(int)) == expected


def test_compatible_pair_is_not_excluded():
    plain = Annotation(("duodenum", "spleen"), (1, 2), ((1,), (2,)), (Source("A", ("duodenum",)), Source("B", ("spleen",))))
    assert drawn(plain.tables[0]) == ["-.", "+-", "-+"]
    compatible = replace(plain, compatible=frozenset({frozenset(("duodenum", "spleen"))}))
    assert drawn(compatible.tables[0]) == ["-.", "+.", "-+"]
    assert compatible_pairs(("Duodenum", "spleen", "INTESTINE")) == {frozenset(("Duodenum", "INTESTINE"))}


def test_value_in_two_overlapping_regions_belongs_to_both():
    annotation = read_annotation({"labels": {"background": 0, "a": [1, 2], "b": [2, 3]}, "regions_class_order": [1, 3]})
    assert drawn(annotation.tables[0]) == ["--", "+-", "++", "-+"]


def test_known_side_leaves_no_choice_among_possible_parents():
    annotation = replace(ANNOTATION, regions=((1, 4), (2, 8), (3,), (4,), (5, 8)))
    assert drawn(annotation.tables[3])[8] == "-+--++"


def test_region_may_paint_with_the_value_of_one_of_its_parts():
    """nnU-Net allows a region without a value of its own; a possible parent of that name is not its part."""
    labels = {"background": 0, "kidney": [1, 2], "left_kidney": 1, "right_kidney": 2, "tumor": 3}
    annotation = read_annotation({"labels": labels, "regions_class_order": [1, 1, 2, 3]})
    assert drawn(annotation.tables[0]) == ["----", "++--", "+-+-", "---+"]
    either = replace(annotation, classes=(*annotation.classes, "spleen"), values=(1, 1, 2, 3, 4),
                     regions=(*annotation.regions, (4,)), possible_parents={"tumor": ("kidney", "spleen")})  # fmt: skip
    assert drawn(either.tables[0])[3] == ".--+." + "."


# ---- dataset.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("annotation", [ANNOTATION, replace(ANNOTATION, case_source=None)])
def test_dataset_json_there_and_back(annotation):
    assert read_annotation(dataset_json_entries(annotation)) == annotation


def test_own_words_of_classes_are_read_and_written():
    said = replace(ANNOTATION, class_prompts={ANNOTATION.classes[0]: ("One", "Two")})
    entries = dataset_json_entries(said)
    assert entries["cdpd"]["class_prompts"] == {ANNOTATION.classes[0]: ["One", "Two"]}
    assert read_annotation(entries) == said != ANNOTATION
    assert "class_prompts" not in dataset_json_entries(ANNOTATION)["cdpd"]


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ({"liver": []}, "cdpd: class_prompts: liver` is \\[\\], not a list"),
        ({"liver": ["a", " "]}, "cdpd: class_prompts: liver: 1` is ' ', not a text"),
        ({"liver": "a"}, "cdpd: class_prompts: liver` is 'a', not a list"),
        ({"nobody": ["a"]}, "class_prompts.*nobody"),
    ],
)
def test_words_of_nothing_or_without_any_are_refused(prompts, told):
    entries = dataset_json_entries(ANNOTATION)
    entries["cdpd"]["class_prompts"] = prompts
    with pytest.raises(UserError, match=told):
        read_annotation(entries)


def test_nnunet_reads_what_is_written():
    entries = dataset_json_entries(ANNOTATION)
    labels = LabelManager(entries["labels"], entries["regions_class_order"])
    assert labels.all_labels == [0, 1, 2, 3, 4, 5, 6] and labels.ignore_label == 7
    assert labels.num_segmentation_heads == len(CLASSES)
    lone = replace(
        ANNOTATION, classes=("liver",), values=(1,), regions=((1,),), sources=(Source("A", ("liver",)),),
        case_source=None, merged_labels=(), possible_parents={}, ignore_value=None,
    )  # fmt: skip
    lone = dataset_json_entries(lone)
    assert LabelManager(lone["labels"], lone["regions_class_order"]).num_segmentation_heads == 1
    assert lone["labels"] == {"background": 0, "liver": [1, 1]}


def test_without_cdpd_block_one_source_annotates_everything():
    annotation = read_annotation({"labels": {"background": 0, "b": 2, "a": 1, "ignore": 3}})
    assert annotation.classes == ("b", "a") and annotation.values == (2, 1)
    assert annotation.sources == (Source("dataset", ("b", "a")),)
    assert annotation.source_index("any case") == 0
    assert drawn(annotation.tables[0]) == ["--", "-+", "+-", ".."]


def test_sigmoid_heads_leave_the_dataset_json_given_alone():
    given = {"labels": {"background": 0, "a": 1, "b": [2], "ignore": 3}, "name": "X"}
    before = copy.deepcopy(given)
    changed = with_sigmoid_heads(given)
    assert given == before
    assert changed["labels"] == {"background": 0, "a": [1, 1], "b": [2, 2], "ignore": 3}
    assert changed["regions_class_order"] == [1, 2] and changed["name"] == "X"
    assert read_annotation(changed) == read_annotation(given)
    assert with_sigmoid_heads(changed) == changed


def block(**changes):
    return dataset_json_entries(ANNOTATION)["cdpd"] | changes


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": None}, "`labels` is missing"),
        ({"labels": ["liver"]}, r"`labels` is \['liver'\], not an object"),
        ({"labels": {"background": 0}}, "holds no class besides background"),
        ({"labels": {"0": "background"}}, "label '0' is 'background', not a value"),
        ({"labels": {"a": []}}, "label 'a' is "),
        ({"labels": {"a": 1, "ignore": [2]}}, "label 'ignore' is "),
        ({"regions_class_order": [1, 2]}, "`regions_class_order` holds 2 values for 5 regions"),
        ({"regions_class_order": [2, 1, 3, 4, 5]}, "gives 'liver' the value 2, which is not in its region"),
        ({"labels": {"a": 1, "b": 1}, "cdpd": None}, "'a' and 'b' stand for the same values"),
        ({"labels": {"a": 1, "ignore": 1}, "cdpd": None}, r"stored values \[1\] stand for two things"),
        ({"labels": {"a": -1}}, "label 'a' is -1, not a value"),
        (
            {"labels": {"a": [1, 2], "ignore": 1}, "regions_class_order": [2], "cdpd": None},
            "ignore label is 1, and classes go up to 2",
        ),
        ({"labels": {"a": [0, 1]}, "regions_class_order": [1], "cdpd": None}, "region of 'a' holds 0, the background"),
        ({"regions_class_order": 5}, "`regions_class_order` is 5, not a list of values"),
        ({"regions_class_order": ["a", 2, 3, 4, 5]}, "`regions_class_order` is .*, not a list of values"),
        ({"cdpd": []}, r"`cdpd` is \[\], not an object; mend it there, or run `cdpd merge` again"),
        ({"cdpd": {}}, "the `cdpd` block has version None"),
        ({"cdpd": block(version="1")}, "has version '1', this release reads version 1"),
        ({"cdpd": block(version=2)}, "has version 2, this release reads version 1"),
        ({"cdpd": block(sources={"A": {}})}, "`cdpd: sources: A: annotated_classes` is missing, a list, each entry a text; mend"),
        ({"cdpd": block(sources=["A"])}, r"`cdpd: sources` is \['A'\], not an object of sources"),
        ({"cdpd": block(sources={})}, "`cdpd: sources` is {}, not an object of sources"),
        ({"cdpd": block(sources={"A": 5})}, "`cdpd: sources: A` is 5, not an object"),
        ({"cdpd": block(sources={"A": {"annotated_classes": "liver"}})}, "A: annotated_classes` is 'liver', not a list"),
        ({"cdpd": block(sources={"A": {"annotated_classes": ["liver"], "task_prompt": 5}})}, "task_prompt` is 5, not a text or"),
        ({"labels": {"": 1, "b": 2}, "cdpd": None}, "^dataset.json: `labels` holds the blank name ''; give it a name there$"),
        ({"labels": {"a": 1, " \t": 2}, "cdpd": None}, r"`labels` holds the blank name ' \\t'"),
        ({"labels": {"a": [1, 2], "\u200b": 2}, "regions_class_order": [1, 2]}, r"`labels` holds the blank name '\\u200b'"),
        ({"labels": {"a\x1b[2J": 1, "b": 2}, "cdpd": None}, r"`labels` holds 'a\\x1b\[2J', a name with a control character"),
        ({"cdpd": block(sources={" ": {"annotated_classes": ["liver"]}})}, "`cdpd: sources` holds the blank name ' '"),
        ({"cdpd": block(merged_labels={"": {"value": 6, "classes": ["a", "b"]}})}, "merged_labels` holds the blank name ''"),
        ({"cdpd": block(sources={"A": {"annotated_classes": ["liver"], "task_prompt": " "}})}, "task_prompt` is ' ', not a text"),
        ({"cdpd": block(compatible=5)}, "`cdpd: compatible` is 5, not a list, each entry a list of 1 to 2 values, each a text"),
        ({"cdpd": block(possible_parents={"liver": [["x"]]})}, r"`cdpd: possible_parents: liver: 0` is \['x'\], not a text"),
        ({"cdpd": block(case_source=["a"])}, r"`cdpd: case_source` is \['a'\], not an object, which gives each case"),
        ({"cdpd": block(possible_parents=["liver"])}, "`cdpd: possible_parents` is .*, not an object, which gives a class"),
        ({"cdpd": block(sources={"A": {"annotated_classes": ["x"]}})}, "source 'A' names x, known are kidney_tumor, left"),
        ({"cdpd": block(sources={"A": {"annotated_classes": []}})}, "source 'A' annotates no class"),
        ({"cdpd": block(case_source={"a": "Z"})}, "case 'a' is of source 'Z', which is not in `sources`"),
        ({"cdpd": block(possible_parents={"liver": ["liver_tumor"]})}, "'liver' is nested in itself"),
        ({"cdpd": block(possible_parents={"liver": ["x"]})}, "possible_parents names x"),
        ({"cdpd": block(compatible=[["liver", "x"]])}, "compatible names x"),
        ({"cdpd": block(merged_labels={"kidney": {"value": 6, "classes": ["right_kidney"]}})}, "needs at least two classes"),
        (
            {"cdpd": block(merged_labels={"kidney": {"value": 9, "classes": ["right_kidney", "left_kidney"]}})},
            "'kidney' has the value 9, which `labels` does not list for right_kidney, left_kidney",
        ),
        (
            {"cdpd": block(merged_labels={"kidney": {"value": "6", "classes": ["right_kidney", "left_kidney"]}})},
            "`cdpd: merged_labels: kidney: value` is '6', not a value from 0 to 65535",
        ),
        (
            {"cdpd": block(merged_labels={"liver": {"value": 6, "classes": ["right_kidney", "left_kidney"]}})},
            "is a class and a merged",
        ),
        (
            {"cdpd": block(sources={"A": {"annotated_classes": ["left_kidney"], "merged_labels": ["kidney"]}}, case_source={})},
            "source 'A' annotates left_kidney and also merges it into 'kidney'",
        ),
    ],
)  # fmt: skip
def test_contradictions_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        read_annotation(dataset_json_entries(ANNOTATION) | changes)


def test_case_of_no_source_is_named():
    with pytest.raises(UserError, match="case 'z' is missing in `cdpd: case_source`"):
        ANNOTATION.source_index("z")


def test_the_file_of_a_dataset_is_named():
    annotation = read_annotation(dataset_json_entries(ANNOTATION), where="raw/Dataset001_A/dataset.json")
    assert annotation == ANNOTATION
    with pytest.raises(UserError, match="^raw/Dataset001_A/dataset.json: case 'z' is missing"):
        annotation.source_index("z")


def test_several_sources_need_to_be_told_of_each_case():
    with pytest.raises(UserError, match="`cdpd: case_source` is missing, .* which of 4 sources case 'a' is of"):
        replace(ANNOTATION, case_source=None).source_index("a")
    assert replace(ANNOTATION, case_source=None, sources=ANNOTATION.sources[:1]).source_index("a") == 0


def test_example_of_the_documentation_is_true():
    text = (Path(__file__).parents[2] / "docs/annotation.md").read_text(encoding="utf-8")
    annotation = read_annotation(json.loads("{" + re.search(r"```json\n(.*?)```", text, re.DOTALL)[1] + "}"))
    kits = annotation.tables[[source.name for source in annotation.sources].index("KITS")]
    rows = re.findall(r"^\| (\d) [^|]*\|(.*)\|$", text, re.MULTILINE)
    assert len(rows) == 3
    for value, cells in rows:
        assert ["-+·"[state] for state in kits[int(value)]] == [cell.strip() for cell in cells.split("|")]


def test_large_values_cost_nothing_and_undeclared_ones_are_all_alike():
    annotation = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 65535}})
    started = time.process_time()
    (table,) = annotation.tables
    assert time.process_time() - started < 0.5
    assert table.shape == (65536, 2) and table[[1, 65535]].tolist() == [[POSITIVE, NEGATIVE], [NEGATIVE, POSITIVE]]
    assert (table[2:65535] == NEGATIVE).all()
