"""Names in a merge: mapped, told, kept, refused; the YAML that was inferred; a dry run."""

import json
import os
from types import SimpleNamespace

import pytest
from builders.merge import make_dataset, merge, states
from builders.merge_plan import dataset, plan_of, state

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.sources import specs_of
from nnunetv2_cdpd.merge.spec import read_merge_spec
from nnunetv2_cdpd.merge.summary import merge_summary
from nnunetv2_cdpd.merge.telling import names_table

LITS = dataset("Dataset301_LITS", {"Liver": 1, "liver tumour": 2})
SIDES = dataset("Dataset302_SIDES", {"kidney_left": 1, "kidney_right": 2})
OTHER = dataset("Dataset303_OTHER", {"Left Kidney": 1, "Kidney_R": 2, "my gland": 3})
KITS = dataset("Dataset304_KITS", {"kidneys": 1, "tumor": 2})
ADRENALS = dataset("Dataset305_A", {"left_adrenal": 1, "right_adrenal": 2, "adrenal_tumor": 3})


def test_two_spellings_of_one_side_are_one_class_and_kidneys_its_union():
    plan = plan_of(SIDES, OTHER, KITS)
    assert plan.annotation.classes == ("left_kidney", "right_kidney", "my gland", "tumor")
    (kidneys,) = plan.annotation.merged_labels
    assert (kidneys.name, set(kidneys.classes)) == ("kidneys", {"left_kidney", "right_kidney"})
    assert plan.value_maps[0] == {0: 0, 1: 1, 2: 2}
    assert plan.value_maps[1] == {0: 0, 1: 1, 2: 2, 3: 3}
    assert state(plan, "OTHER", 0, "left_kidney") == NEGATIVE
    assert state(plan, "KITS", kidneys.value, "left_kidney") == UNSUPERVISED
    assert state(plan, "KITS", kidneys.value, "kidneys") == POSITIVE


def test_the_table_shows_every_label_and_marks_other_names():
    inputs = (LITS, OTHER, KITS, SIDES)
    plan = plan_of(*inputs, datasets={"303": {"labels": {"my gland": None}}})
    lines = [line.split() for line in names_table(inputs, plan.naming).splitlines()]
    assert lines[0] == ["dataset", "label", "merged", "class"]
    assert ["Dataset301_LITS", "liver", "tumour", "*", "liver_tumor"] in lines
    assert ["Dataset303_OTHER", "my", "gland", "*", "(dropped)"] in lines
    assert ["Dataset304_KITS", "tumor", "tumor"] in lines
    assert ["Dataset304_KITS", "kidneys", "kidneys", "=", "left_kidney", "or", "right_kidney"] in lines
    assert len(lines) == 2 + 9 + 1 and lines[-1][:3] == ["*", "another", "name,"]


def test_the_mark_of_other_names_is_explained_only_where_one_stands():
    inputs = (dataset("Dataset301_LITS", {"liver": 1}), dataset("Dataset302_SPLEEN", {"spleen": 1}))
    assert "*" not in names_table(inputs, plan_of(*inputs).naming)


def test_a_long_list_of_classes_goes_on_in_further_lines():
    names = [f"vertebra {number}" for number in range(117)]
    inputs = (dataset("Dataset301_SPINE", {name: value for value, name in enumerate(names, start=1)}), LITS)
    lines = merge_summary(plan_of(*inputs).annotation).splitlines()
    assert max(map(len, lines)) < 120
    assert [line.split()[0] for line in lines if line[0] not in " -"] == ["source", "SPINE", "LITS", "all"]
    assert [name for name in names if sum(name in line for line in lines) == 0] == []


@pytest.mark.parametrize("labels", [{"kidney_left": 1, "Left Kidney": 2}, {"IVC": 1, "postcava": 2}, {"kidney": 1, "Kidneys": 2}])
def test_two_names_of_one_class_in_one_dataset_are_refused_until_the_yaml_tells(labels):
    twins = dataset("Dataset1_T", labels)
    first, second = labels
    with pytest.raises(UserError, match=f"Dataset1_T: labels '{first}' and '{second}' are names of one class; rename") as error:
        plan_of(twins)
    assert f"`datasets: {{Dataset1_T: {{labels: {{{first}: another_name}}}}}}`" in str(error.value)
    plan = plan_of(twins, datasets={"1": {"labels": {first: "another_name"}}})
    assert len(plan.annotation.classes) == 2
    plan = plan_of(twins, datasets={"1": {"labels": dict.fromkeys(labels, "x")}})
    assert plan.value_maps == ({0: 0, 1: 1, 2: 1},)


def test_a_name_that_the_yaml_maps_to_itself_stays():
    plan = plan_of(SIDES, OTHER, datasets={"302": {"labels": {"kidney_left": "kidney_left"}}})
    assert plan.annotation.classes == ("kidney_left", "right_kidney", "left_kidney", "my gland")
    vein = dataset("Dataset1_V", {"adrenal": 1})
    assert plan_of(vein).annotation.classes == ("adrenal_gland",)
    assert plan_of(vein, datasets={"1": {"labels": {"adrenal": "adrenal"}}}).annotation.classes == ("adrenal",)
    # a class of the table in another case stays the class of the table: only a name of its own keeps it apart
    assert plan_of(OTHER, datasets={"303": {"labels": {"Left Kidney": "Left Kidney"}}}).annotation.classes[0] == "left_kidney"


def test_a_dataset_can_be_left_out_of_the_synonyms():
    said = {"datasets": {"302": {"synonyms": False, "labels": {"kidney_right": "Kidney R"}}}}
    plan = plan_of(SIDES, OTHER, **said)
    assert plan.annotation.classes == (
        "kidney_left",
        "Kidney R",
        "left_kidney",
        "my gland",
    )  # of OTHER, Kidney_R is that name too
    twins = dataset("Dataset1_T", {"IVC": 1, "postcava": 2})
    assert plan_of(twins, datasets={"1": {"synonyms": False}}).annotation.classes == ("IVC", "postcava")
    with pytest.raises(UserError, match="datasets: 1: synonyms: expected true or false, got 'no'"):
        plan_of(twins, datasets={"1": {"synonyms": "no"}})


def test_names_of_the_yaml_are_mapped_too():
    said = {
        "datasets": {"303": {"labels": {"my gland": "liver tumours"}, "annotates": ["Kidney L", "right kidney", "liver_tumour"]}}
    }
    plan = plan_of(LITS, OTHER, **said, nested={"hepatic tumor": "Liver"}, compatible=[["LIVER", "l_kidney"]])
    assert plan.annotation.classes == ("liver", "liver_tumor", "left_kidney", "right_kidney")
    assert plan.annotation.sources[1].annotated_classes == ("liver_tumor", "left_kidney", "right_kidney")
    assert frozenset(("liver", "left_kidney")) in plan.annotation.compatible


def test_near_misses_are_named_with_the_line_that_unites_them():
    slips = dataset("Dataset1_S", {"livr": 1, "spleen_wall": 2, "glnad": 3})
    known = dataset("Dataset2_K", {"liver": 1, "gland": 2})
    notes = [note for note in plan_of(slips, known).notes if "is nearly" in note]
    assert notes == [
        f"Dataset1_S: {label!r} is nearly {like!r}; if it is the same, write `datasets: {{Dataset1_S: {{labels: "
        f"{{{label}: {like}}}}}}}` in the YAML"
        for label, like in (("livr", "liver"), ("glnad", "gland"))
    ]
    said = {"datasets": {"1": {"labels": {"livr": "liver", "glnad": "gland"}}}}
    plan = plan_of(slips, known, **said)
    assert plan.annotation.classes == ("liver", "spleen_wall", "gland") and not any("nearly" in note for note in plan.notes)
    both = dataset("Dataset3_B", {"livr": 1, "liver": 2})
    assert not any("nearly" in note for note in plan_of(both).notes)  # a dataset that has both means two things


@pytest.mark.parametrize(
    "inputs, told",
    [
        ((KITS, SIDES), "tumor lies in no class; `nested: {tumor: [left_kidney, right_kidney]}` in the YAML gives it one"),
        ((KITS,), "tumor lies in no class; `nested: {tumor: kidneys}` in the YAML gives it one"),
        ((KITS,), "`datasets: {Dataset304_KITS: {labels: {tumor: kidney_tumor}}}` in the YAML says of which"),
        ((dataset("A", {"spleen": 1, "Spleen Cyst": 2}),), "Spleen Cyst lies in no class; `nested: {Spleen Cyst: spleen}`"),
        ((dataset("A", {"liver": 1, "hepatic_lesion": 2}),), "`nested: {hepatic_lesion: liver}`"),
        ((ADRENALS,), "`nested: {adrenal_tumor: [left_adrenal_gland, right_adrenal_gland]}`"),
        (
            (dataset("A", {"liver": 1, "spleen": 2, "lesion": 3}),),
            "`nested: {lesion: ORGAN}` in the YAML gives it one, of liver, spleen",
        ),
        ((dataset("A", {"colon_tumor": 1, "spleen": 2}),), "colon_tumor lies in no class, as none here is colon; `nested: "),
        (
            (dataset("A", {"liver": 1, "tumor": 2}), dataset("B", {"kidney": 1, "tumor": 2})),
            "tumor may be of 2 datasets, one class whatever organ they mean; `datasets: {A: {labels: {tumor: liver_tumor}}}` and "
            "`datasets: {B: {labels: {tumor: kidney_tumor}}}`",
        ),
    ],
)
def test_a_tumor_without_an_organ_is_named_with_the_line_that_gives_it_one(inputs, told):
    assert any(told in note for note in plan_of(*inputs).notes), plan_of(*inputs).notes


def test_a_tumor_with_an_organ_is_not_named():
    regions = dataset("A", {"kidney": [1, 2], "tumor": 2}, order=[1, 2])
    for plan in (plan_of(LITS), plan_of(regions), plan_of(KITS, SIDES, nested={"tumor": None})):
        assert not any("lies in no class" in note for note in plan.notes)


@pytest.mark.parametrize(
    "spec, message",
    [
        (
            {"datasets": {"301": {"labels": {"Liver": "background"}}}},
            "Dataset301_LITS: label 'Liver': background is no class; `datasets",
        ),
        ({"nested": {"liver": "Liver"}}, "merge spec: `nested` says that liver lies in itself"),
        ({"compatible": [["liver", "LIVER"]]}, "merge spec: `compatible` pairs liver with itself"),
        (
            {"nested": {"liver": "liver_tumor", "liver_tumor": "liver"}},
            "merge spec: the merged dataset: liver, .* lie in each other",
        ),
        ({"datasets": {"301": {"labels": {"Liver": None, "liver tumour": None}}}}, "merge spec: .*'LITS' annotates no class"),
    ],
)
def test_mistakes_in_the_yaml_name_its_file(spec, message):
    with pytest.raises(UserError, match=message):
        plan_of(LITS, **spec)


@pytest.mark.parametrize("stands_for", [5, ["kidney"], {"kidneys": [None]}])
def test_a_damaged_stands_for_names_its_dataset_json(stands_for):
    block = {"version": 1, "sources": {"S": {"annotated_classes": ["kidneys"]}}, "stands_for": stands_for}
    with pytest.raises(UserError, match=r"Dataset1_X/dataset.json: cdpd: stands_for"):
        plan_of(dataset("Dataset1_X", {"kidneys": 1}, cdpd=block))


# ---- a dataset that was merged under other names ---------------------------------------------------------------------


def merged_under_old_names(named):
    """A merge that knew no synonyms: every name a class of its own."""
    names = {"kidney_left": "kidney_left", "kidney_right": "kidney_right"}
    folder, _ = merge(301, 302, spec={"datasets": {"301": {"labels": names}, "302": {"labels": {"Kidney_R": "Kidney_R"}}}})
    assert set(json.loads((folder / "dataset.json").read_text())["labels"]) >= {"kidney_left", "left_kidney", "Kidney_R"}
    return folder


def test_classes_of_an_earlier_merge_are_not_renamed_in_silence(named):
    folder = merged_under_old_names(named)
    before = states(folder)
    with pytest.raises(UserError, match=r"kidney_left -> left_kidney.* nothing was changed.*argument update gives") as error:
        merge(301, 302)
    assert states(folder) == before
    line = "`datasets: {Dataset301_SIDES: {labels: {kidney_left: kidney_left, kidney_right: kidney_right}}, Dataset302_OTHER: "
    assert f"{line}{{labels: {{Kidney_R: Kidney_R}}}}}}` in the YAML keeps them" in str(error.value)
    _, messages = merge(301, 302, update=True)
    assert any(text.startswith("note: classes get other names: kidney_left -> left_kidney") for text in messages)
    assert set(json.loads((folder / "dataset.json").read_text())["labels"]) == {
        "background", "left_kidney", "right_kidney", "tumour"
    }  # fmt: skip
    before = states(folder)
    merge(301, 302)
    assert states(folder) == before


# ---- case identifiers ------------------------------------------------------------------------------------------------


def test_a_case_identifier_that_is_too_long_for_a_file_is_one_line(raw):
    make_dataset(raw / "Dataset301_A", {"spleen": 1}, ["a1"])
    path = raw / "Dataset301_A/dataset.json"
    files = {"images": ["imagesTr/a1_0000.nii.gz"], "label": "labelsTr/a1.nii.gz"}
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"dataset": {"n" * 300: files, "ä" * 130: files, "m" * 246: files}}))
    with pytest.raises(UserError) as error:
        merge(301)
    assert str(error.value).count("its name is too long for that of a file; shorten it") == 2
    path.write_text(json.dumps(content | {"dataset": {"m" * 246: files}}))
    folder, _ = merge(301)
    assert os.listdir(folder / "labelsTr") == ["m" * 246 + ".nii.gz"]
    path.write_text(json.dumps(content | {"dataset": {"a1": {"images": ["i" * 300], "label": "l" * 300}}}))
    with pytest.raises(UserError, match="is missing"):
        merge(301, update=True)


def test_an_id_with_zeros_in_the_yaml_is_that_id(tmp_path):
    """Not 8, as YAML reads 010: that is another dataset of the same merge."""
    path = tmp_path / "merge.yaml"
    path.write_text("datasets:\n  008: {labels: {a: eight}}\n  010: {labels: {a: ten}}\n")
    inputs = [SimpleNamespace(given=str(k), name=f"Dataset{k:03d}_X{k}", short_name=f"X{k}", folder=f"/x{k}") for k in (8, 10)]
    assert [spec.labels["a"] for spec in specs_of(inputs, read_merge_spec(path))] == ["eight", "ten"]
