"""The YAML of a merge: what it says wins, a mistake in it is named with its entry, and the file is read safely."""

import re
from pathlib import Path

import pytest
from builders.merge_plan import BTCV, KITS, LITS, dataset, plan_of, state

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED, dataset_json_entries
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.spec import read_merge_spec
from nnunetv2_cdpd.merge.written_spec import inferred_spec


def test_nested_of_the_yaml_wins():
    plan = plan_of(LITS, nested={"liver_tumor": None})
    assert plan.annotation.regions == ((1,), (2,))
    plan = plan_of(BTCV, LITS, nested={"spleen": "liver_tumor"})
    assert plan.annotation.classes == ("liver", "right_kidney", "left_kidney", "liver_tumor", "spleen")
    assert plan.annotation.regions[0] == (1, 4, 5) and plan.annotation.regions[3] == (4, 5)


def test_nested_in_each_other_is_an_error():
    with pytest.raises(UserError, match="liver, spleen lie in each other"):
        plan_of(LITS, BTCV, nested={"liver": "spleen", "spleen": "liver", "liver_tumor": None})


def test_source_keys_of_the_yaml():
    said = {"name": "A", "annotates": ["Liver"], "task_prompt": "p", "license": "l", "reference": "r"}
    plan = plan_of(LITS, KITS, datasets={"Dataset301_LITS": said, "302": {"labels": {"kidney_tumor": "liver tumor"}}})
    source = plan.annotation.sources[0]
    assert (source.name, source.annotated_classes) == ("A", ("liver",))
    assert (source.task_prompt, source.license, source.reference) == ("p", "l", "r")
    assert state(plan, "A", plan.value_maps[0][2], "liver_tumor") == POSITIVE  # a voxel that says so still counts
    assert state(plan, "A", 0, "liver_tumor") == UNSUPERVISED


def test_compatible_pairs_come_from_the_table_and_the_yaml():
    gut = dataset("Dataset1_G", {"duodenum": 1, "intestine": 2, "spleen": 3})
    plan = plan_of(gut, compatible=[["Spleen", "intestine"]])
    assert plan.annotation.compatible == {frozenset(("duodenum", "intestine")), frozenset(("spleen", "intestine"))}


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"dataset": {}}, r"unknown key dataset; known are datasets, nested, merged_labels, compatible"),
        ({"datasets": {"301": {"label": {}}}}, r"datasets: 301: unknown key label; known are labels, sources, name, annotates"),
        ({"datasets": {"999": {}}}, r"no dataset 999 in this merge; there are Dataset301_LITS"),
        ({"datasets": {"301": {}, "LITS": {}}}, r"301, LITS are the same dataset"),
        ({"datasets": {"301": {"labels": {"spleen": "x"}}}}, r"Dataset301_LITS has no label spleen; it has liver, liver tumor"),
        ({"datasets": {"301": {"labels": {"liver": True}}}}, r"labels: liver: expected .*, got True; put it in quotes"),
        ({"datasets": {"301": {"license": ""}}}, r"datasets: 301: license: is empty; write the text, or leave the key out"),
        ({"datasets": {"301": {"annotates": ["spleen"]}}}, r"`annotates` names spleen, its labels give liver, liver_tumor"),
        ({"datasets": {"301": {"annotates": ["liver"]}}}, r"no source annotates liver_tumor"),
        ({"datasets": {"301": {"sources": {"Z": {}}}}}, r"the YAML names source Z, it has dataset"),
        ({"datasets": {"302": {"name": "LITS"}}}, r"Dataset302_KITS: its source 'LITS' is in another dataset too"),
        ({"datasets": ["301"]}, r"datasets: expected `key: value` lines"),
        ({"nested": {"polyp": "colon"}}, r"`nested` names colon, polyp, the merged classes are"),
        ({"compatible": [["liver"]]}, r"`compatible` is a list of pairs"),
        ({"compatible": [["liver", "gut"]]}, r"`compatible` names gut"),
        ({"merged_labels": {"kidney": ["right_kidney"]}}, r"merged label 'kidney' of the YAML needs at least two classes"),
    ],
)
def test_mistakes_in_the_yaml_name_the_entry(spec, message):
    with pytest.raises(UserError, match=message):
        plan_of(LITS, KITS, **spec)


def test_unused_merged_label_is_noted():
    plan = plan_of(LITS, merged_labels={"lungs": ["right_lung", "left_lung"]})
    assert plan.annotation.classes == ("liver", "liver_tumor")
    assert "merged label 'lungs' of the YAML is not used by any dataset" in plan.notes


def test_source_that_annotates_and_merges_a_class_is_an_error():
    both = dataset("Dataset1_X", {"right_kidney": 1, "left_kidney": 2, "kidney": 3})
    with pytest.raises(UserError, match="the merged dataset: source 'X' annotates .* and also merges it into 'kidney'"):
        plan_of(both, merged_labels={"kidney": ["right_kidney", "left_kidney"]})


def test_yaml_file_is_read_safely(tmp_path):
    path = tmp_path / "merge.yaml"
    path.write_text("nested: {liver_tumor: [liver]}\ndatasets:\n  301:\n    labels: {liver: Liver}\n")
    spec = read_merge_spec(path)
    assert spec.nested == {"liver_tumor": ("liver",)} and spec.datasets["301"].labels == {"liver": "Liver"}
    for text, message in [
        ("a: !!python/object/apply:os.system [exit]", "not valid YAML"),
        ("nested: {a: b, a: c}", "a given twice"),
        ("nested: [", "not valid YAML"),
        ("just text", "expected `key: value` lines"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_merge_spec(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_merge_spec(tmp_path / "none.yaml")
    path.write_text("")
    assert read_merge_spec(path).datasets == {}


def test_example_of_the_documentation_is_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs/merge.md").read_text(encoding="utf-8")
    path = tmp_path / "merge.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    spec = read_merge_spec(path)
    assert spec.datasets["301"].labels == {"tumor": "kidney_tumor", "cyst": None, "artifact": "ignore"}
    assert spec.nested["hepatic_vessel"] == () and spec.merged_labels["lung"] == ()
    assert spec.datasets["390"].sources["LITS"].name == "LiTS17"


def test_own_words_of_the_yaml_and_of_the_datasets():
    said = {"Liver": "My liver", "spleen": ["One", "Two", "One"]}
    first = plan_of(LITS, BTCV, prompts=said)
    assert first.annotation.class_prompts == {"liver": ("My liver",), "spleen": ("One", "Two")}
    entries = dataset_json_entries(first.annotation)
    merged = dataset("Dataset400_M", entries["labels"], entries["regions_class_order"], cdpd=entries["cdpd"])
    renamed = {"datasets": {"400": {"labels": {"spleen": "milt"}}}}
    assert plan_of(KITS, merged, **renamed).annotation.class_prompts == {"liver": ("My liver",), "milt": ("One", "Two")}
    # the YAML wins over what a dataset brings along; null: made from the name again
    second = plan_of(merged, prompts={"liver": None, "spleen": "Three"})
    assert second.annotation.class_prompts == {"spleen": ("Three",)}


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ({"nobody": "a"}, "`prompts` names nobody, the merged classes are"),
        ({"liver": [3.5]}, "prompts: liver: expected text, got 3.5"),
        ({"liver": ["a", ""]}, "prompts: liver: is empty; write the text, or leave the key out"),
        ({"liver": "a", "Liver": "b"}, "`prompts` names a class twice, in two spellings: liver, Liver"),
    ],
)
def test_own_words_of_what_is_no_class_are_refused(prompts, told):
    with pytest.raises(UserError, match=told):
        plan_of(LITS, BTCV, prompts=prompts)


def test_own_words_are_in_the_yaml_that_is_written():
    plan = plan_of(LITS, BTCV, prompts={"liver": ["One", "Two"], "spleen": None})
    assert inferred_spec([LITS, BTCV], plan)["prompts"] == {"liver": ["One", "Two"], "spleen": None}
    again = plan_of(LITS, BTCV, **inferred_spec([LITS, BTCV], plan))
    assert again.annotation == plan.annotation
    assert "prompts" not in inferred_spec([LITS, BTCV], plan_of(LITS, BTCV))
