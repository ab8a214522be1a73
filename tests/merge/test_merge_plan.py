"""plan_merge: names, nesting, stored values and sources of a merged dataset, without any file."""

import pytest
from builders.merge_plan import BTCV, KITS, LITS, dataset, plan_of, state

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED, dataset_json_entries
from nnunetv2_cdpd.errors import UserError


def test_same_name_is_same_class_whatever_case_underscore_and_space():
    plan = plan_of(LITS, dataset("Dataset304_X", {"LiverTumor": 1, "LIVER": 2, "My Gland": 3}), dataset("Y", {"my_gland": 1}))
    assert plan.annotation.classes == ("liver", "liver_tumor", "My Gland")
    assert plan.value_maps == ({0: 0, 1: 1, 2: 2}, {0: 0, 1: 2, 2: 1, 3: 3}, {0: 0, 1: 3})


def test_defaults_of_three_partially_labelled_datasets():
    plan = plan_of(LITS, KITS, BTCV)
    annotation = plan.annotation
    assert annotation.classes == ("liver", "liver_tumor", "right_kidney", "left_kidney", "kidney_tumor", "spleen")
    assert annotation.values == (1, 2, 3, 4, 5, 6)
    assert annotation.regions == ((1, 2), (2,), (3,), (4,), (5,), (6,))
    assert annotation.possible_parents == {"kidney_tumor": ("right_kidney", "left_kidney")}
    (kidney,) = annotation.merged_labels
    assert (kidney.name, kidney.value, set(kidney.classes)) == ("Kidney", 7, {"right_kidney", "left_kidney"})
    assert plan.value_maps == ({0: 0, 1: 1, 2: 2}, {0: 0, 1: 7, 2: 5}, {0: 0, 1: 1, 2: 3, 3: 4, 4: 6})
    lits, kits, btcv = annotation.sources
    assert (lits.name, lits.annotated_classes) == ("LITS", ("liver", "liver_tumor"))
    assert (kits.annotated_classes, kits.merged_labels, kits.license) == (("kidney_tumor",), ("Kidney",), "CC BY-NC-SA 4.0")
    assert btcv.annotated_classes == ("liver", "right_kidney", "left_kidney", "spleen")
    # liver of a source without tumors may be tumor; the tumor is liver; a kidney tumor is a kidney, side not known
    assert state(plan, "BTCV", 1, "liver_tumor") == UNSUPERVISED
    assert state(plan, "LITS", 2, "liver") == POSITIVE
    assert state(plan, "KITS", 5, "right_kidney") == UNSUPERVISED
    assert state(plan, "KITS", 5, "Kidney") == POSITIVE
    assert state(plan, "KITS", 0, "right_kidney") == NEGATIVE
    assert any("liver_tumor lies in liver" in note and "nested: {liver_tumor: null}" in note for note in plan.notes)
    assert any("'Kidney' becomes the merged label" in note for note in plan.notes)


def test_kidney_stays_a_class_where_no_dataset_tells_sides():
    plan = plan_of(KITS, LITS)
    assert plan.annotation.classes == ("Kidney", "kidney_tumor", "liver", "liver_tumor")
    assert plan.annotation.regions[0] == (1, 2)  # the tumor lies in the kidney, not in a side nobody knows
    assert not plan.annotation.merged_labels


def test_merged_label_can_be_undone_and_then_contains_its_sides():
    plan = plan_of(KITS, BTCV, merged_labels={"kidney": None})
    annotation = plan.annotation
    assert not annotation.merged_labels
    sides = {annotation.values[annotation.classes.index(name)] for name in ("right_kidney", "left_kidney")}
    assert sides < set(annotation.regions[annotation.classes.index("kidney")])  # the spelling of the YAML


def test_a_dataset_with_kidney_regions_keeps_kidney_a_class_for_all():
    regions = dataset("Dataset305_R", {"kidney": [1, 2], "left_kidney": 1, "right_kidney": 2}, order=[1, 1, 2])
    plan = plan_of(regions, KITS)
    assert not plan.annotation.merged_labels
    kidney = plan.annotation.regions[plan.annotation.classes.index("kidney")]
    assert set(plan.value_maps[0].values()) - {0} < set(kidney)
    assert plan.annotation.sources[1].annotated_classes == ("kidney", "kidney_tumor")


def test_merged_labels_of_one_meaning_become_one():
    plural = dataset("Dataset306_P", {"kidneys": 1})
    plan = plan_of(KITS, plural, BTCV)
    assert [label.name for label in plan.annotation.merged_labels] == ["Kidney"]
    assert plan.annotation.sources[1].merged_labels == ("Kidney",)


def test_regions_of_a_dataset_become_nesting():
    brats = dataset("Dataset1_B", {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, order=[1, 2, 3])
    plain = dataset("Dataset2_P", {"enhancing": 1, "ventricle": 2})
    plan = plan_of(plain, brats)
    assert plan.annotation.classes == ("ventricle", "whole", "core", "enhancing")
    assert plan.annotation.regions == ((1,), (2, 3, 4), (3, 4), (4,))
    assert plan.value_maps == ({0: 0, 1: 4, 2: 1}, {0: 0, 1: 2, 2: 3, 3: 4})


def test_overlapping_regions_get_a_value_of_their_own():
    plan = plan_of(dataset("Dataset1_B", {"a": [1, 2], "b": [2, 3]}, order=[1, 3]))
    assert plan.annotation.regions == ((1, 3), (2, 3))
    assert plan.value_maps == ({0: 0, 1: 1, 2: 3, 3: 2},)


def test_regions_with_merged_label_keep_all_they_say():
    """nnU-Net's own KiTS conversion: kidney holds masses, masses hold the tumor."""
    kits = dataset("Dataset220_KiTS2023", {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}, order=[1, 3, 2])
    plan = plan_of(kits, BTCV, datasets={"220": {"labels": {"tumor": "kidney_tumor", "masses": None}}})
    annotation = plan.annotation
    (kidney,) = annotation.merged_labels
    tumor = annotation.values[annotation.classes.index("kidney_tumor")]
    assert plan.value_maps[0] == {0: 0, 1: kidney.value, 2: tumor, 3: kidney.value}
    assert set(annotation.possible_parents["kidney_tumor"]) == {"right_kidney", "left_kidney"}


def test_region_that_tells_the_side_keeps_it():
    one_sided = dataset("Dataset1_S", {"right_kidney": [1, 2], "kidney_tumor": 2}, order=[1, 2])
    plan = plan_of(one_sided, BTCV, KITS)
    value = plan.value_maps[0][2]
    assert state(plan, "S", value, "right_kidney") == POSITIVE
    assert state(plan, "S", value, "left_kidney") == NEGATIVE
    assert state(plan, "KITS", plan.value_maps[2][2], "right_kidney") == UNSUPERVISED


def test_cyst_of_either_kidney_in_regions_is_of_a_kidney_of_either_side():
    kits = dataset("Dataset1_K", {"kidney": [1, 2], "kidney_cyst": 2}, order=[1, 2])
    sides = {"kidney_left": 1, "kidney_right": 2, "kidney_cyst_left": 3, "kidney_cyst_right": 4}
    plan = plan_of(kits, dataset("Dataset2_T", sides))
    kidney, cyst = plan.annotation.merged_labels
    assert (kidney.name, cyst.name) == ("kidney", "kidney_cyst")
    assert plan.value_maps[0] == {0: 0, 1: kidney.value, 2: cyst.value}
    annotation = plan.annotation
    kidneys, cysts = frozenset(("left_kidney", "right_kidney")), frozenset(("left_kidney_cyst", "right_kidney_cyst"))
    assert annotation.membership(kidney.value, kidneys) == annotation.membership(cyst.value, kidneys) == POSITIVE
    assert (annotation.membership(kidney.value, cysts), annotation.membership(cyst.value, cysts)) == (NEGATIVE, POSITIVE)
    assert state(plan, "K", cyst.value, "left_kidney") == UNSUPERVISED


def test_of_two_merged_labels_that_say_the_same_one_stays():
    both = dataset("Dataset1_K", {"kidney": [1, 2], "renal mass": 2}, order=[1, 2])
    sides = dataset("Dataset2_T", {"left_kidney": 1, "right_kidney": 2})
    either = ["left_kidney", "right_kidney"]
    plan = plan_of(both, sides, merged_labels={"kidney": either, "renal mass": either})
    (kidney,) = [label for label in plan.annotation.merged_labels if label.name == "kidney"]
    assert plan.value_maps[0] == {0: 0, 1: kidney.value, 2: kidney.value}


def test_two_merged_labels_in_one_value_are_refused_with_a_way_out_that_helps():
    both = dataset("Dataset1_K", {"kidney": [1, 2], "lung": [2, 3]}, order=[1, 3])
    sides = dataset("Dataset2_T", {"left_kidney": 1, "right_kidney": 2, "left_lung": 3, "right_lung": 4})
    with pytest.raises(UserError, match=r"value 2 would be kidney and lung at once.*\{kidney: null, lung: null\}"):
        plan_of(both, sides)
    assert plan_of(both, sides, merged_labels={"kidney": None, "lung": None}).value_maps[0][2] > 0


def test_tumor_whose_other_side_is_no_class_excludes_neither():
    plan = plan_of(dataset("Dataset1_T", {"lung_tumor": 1}), dataset("Dataset2_L", {"left_lung": 1}))
    assert frozenset(("lung_tumor", "left_lung")) in plan.annotation.compatible
    assert state(plan, "T", 1, "left_lung") == UNSUPERVISED


def test_dropped_tumor_counts_as_the_organ_around_it():
    plan = plan_of(LITS, datasets={"LITS": {"labels": {"LiverTumor": None}}})
    assert plan.annotation.classes == ("liver",)
    assert plan.value_maps == ({0: 0, 1: 1, 2: 1},)
    plan = plan_of(KITS, BTCV, datasets={302: {"labels": {"kidney_tumor": None}}})
    assert plan.value_maps[0] == {0: 0, 1: 5, 2: 5}
    plan = plan_of(LITS, datasets={"LITS": {"labels": {"liver": None}}})
    assert plan.value_maps == ({0: 0, 1: 0, 2: 1},)


def test_dropped_label_with_unknown_side_asks_for_ignore():
    both = dataset("Dataset1_X", {"right_kidney": 1, "left_kidney": 2, "kidney_tumor": 3})
    with pytest.raises(UserError, match=r"'kidney_tumor' is dropped, but lies in left_kidney or right_kidney.*ignore"):
        plan_of(both, datasets={"1": {"labels": {"kidney_tumor": None}}})
    plan = plan_of(both, datasets={"1": {"labels": {"kidney_tumor": "ignore"}}})
    assert plan.annotation.ignore_value == 3
    assert plan.value_maps == ({0: 0, 1: 1, 2: 2, 3: 3},)


def test_several_labels_may_become_one_class():
    plan = plan_of(LITS, datasets={"LITS": {"labels": {"liver tumor": "liver"}}})
    assert plan.value_maps == ({0: 0, 1: 1, 2: 1},)


def of_sources(labels, order, sources, **block):
    """A dataset with one case of its first source."""
    cdpd = {"version": 1, "sources": sources, "case_source": {"case": next(iter(sources))}, **block}
    return dataset("Dataset1_X", labels, order, cdpd=cdpd)


ONE_KIDNEY = {"right_kidney": "kidney", "left_kidney": "kidney"}


def test_source_that_labels_a_part_of_a_class_does_not_annotate_it():
    labels = {"right_kidney": [1, 1], "left_kidney": [2, 2], "liver": [3, 3]}
    sources = {"FULL": {"annotated_classes": list(labels)}, "EIGHT": {"annotated_classes": ["left_kidney", "liver"]}}
    both = of_sources(labels, [1, 2, 3], sources)
    plan = plan_of(both, datasets={"1": {"labels": ONE_KIDNEY}})
    full, eight = plan.annotation.sources
    assert (full.annotated_classes, eight.annotated_classes) == (("kidney", "liver"), ("liver",))
    kidney = plan.value_maps[0][2]
    assert state(plan, "FULL", 0, "kidney") == NEGATIVE
    assert state(plan, "EIGHT", 0, "kidney") == UNSUPERVISED
    assert state(plan, "EIGHT", kidney, "kidney") == POSITIVE
    assert state(plan, "EIGHT", kidney, "liver") == NEGATIVE
    notes = [note for note in plan.notes if "source 'EIGHT' labels only left_kidney of right_kidney, left_kidney" in note]
    assert len(notes) == 1 and "its background says nothing about kidney" in notes[0]
    said = {"labels": ONE_KIDNEY, "sources": {"EIGHT": {"annotates": ["kidney", "liver"]}}}
    plan = plan_of(both, datasets={"1": said})
    assert state(plan, "EIGHT", 0, "kidney") == NEGATIVE and not any("labels only" in note for note in plan.notes)


def test_source_that_labels_parts_only_is_refused():
    sources = {"FULL": {"annotated_classes": ["right_kidney", "left_kidney"]}, "EIGHT": {"annotated_classes": ["left_kidney"]}}
    both = of_sources({"right_kidney": [1, 1], "left_kidney": [2, 2]}, [1, 2], sources)
    with pytest.raises(UserError, match="Dataset1_X: source 'EIGHT' labels only left_kidney of .* annotates no class; keep"):
        plan_of(both, datasets={"1": {"labels": ONE_KIDNEY}})


def test_source_annotates_a_class_whose_other_labels_lie_in_what_it_labels():
    """A liver tumor lies in the liver by its region, a kidney tumor in one of the kidneys by its possible parents."""
    sources = {
        "ORGANS": {"annotated_classes": ["liver", "right_kidney", "left_kidney"]},
        "TUMORS": {"annotated_classes": ["liver_tumor", "spleen"]},
    }
    labels = {"liver": [1, 2], "liver_tumor": 2, "right_kidney": 3, "left_kidney": 4, "kidney_tumor": 5, "spleen": 6}
    parents = {"kidney_tumor": ["right_kidney", "left_kidney"]}
    plan = plan_of(
        of_sources(labels, [1, 2, 3, 4, 5, 6], sources, possible_parents=parents),
        datasets={"1": {"labels": {"liver_tumor": "liver", "kidney_tumor": "kidney", **ONE_KIDNEY}}},
    )
    organs, tumors = plan.annotation.sources
    assert (organs.annotated_classes, tumors.annotated_classes) == (("liver", "kidney"), ("spleen",))
    assert state(plan, "TUMORS", 0, "liver") == UNSUPERVISED


TWINS = dataset("Dataset1_T", {"seg_1_1": 1, "seg_11": 2})


@pytest.mark.parametrize("labels", [{}, {"seg_1_1": "Seg 11"}])
def test_labels_of_one_dataset_that_differ_in_case_and_underscores_only_are_refused(labels):
    with pytest.raises(UserError, match="Dataset1_T: labels 'seg_1_1' and 'seg_11' differ only in .* rename one in the YAML"):
        plan_of(TWINS, datasets={"1": {"labels": labels}})


def test_labels_that_differ_in_case_and_underscores_only_are_told_apart_by_the_yaml():
    plan = plan_of(TWINS, datasets={"1": {"labels": {"seg_1_1": "first"}}})
    assert plan.annotation.classes == ("first", "seg_11")
    plan = plan_of(TWINS, datasets={"1": {"labels": {"seg_1_1": "first", "seg_11": "first"}}})
    assert plan.value_maps == ({0: 0, 1: 1, 2: 1},)
    with pytest.raises(UserError, match="Dataset1_T has no label Seg 11; it has seg_1_1, seg_11"):
        plan_of(TWINS, datasets={"1": {"labels": {"Seg 11": "first"}}})


def test_ignore_label_comes_last():
    plan = plan_of(KITS, BTCV, dataset("Dataset9_I", {"spleen": 1, "ignore": 2}))
    assert plan.annotation.ignore_value == max(plan.annotation.values) + 2  # after the merged label
    assert plan.value_maps[2][2] == plan.annotation.ignore_value


def test_cdpd_block_is_carried_over():
    first = plan_of(KITS, BTCV, datasets={"KITS": {"task_prompt": "A CT of a kidney"}}, compatible=[["liver", "spleen"]])
    entries = dataset_json_entries(first.annotation)
    merged = dataset("Dataset400_M", entries["labels"], entries["regions_class_order"], cdpd=entries["cdpd"])
    second = plan_of(LITS, merged)
    assert [source.name for source in second.annotation.sources] == ["LITS", "KITS", "BTCV"]
    with pytest.raises(UserError, match="Dataset400_M: holds the sources KITS, BTCV; say in the YAML under `sources:`"):
        plan_of(merged, datasets={"400": {"name": "X"}})
    assert second.annotation.sources[1].task_prompt == "A CT of a kidney"
    assert second.annotation.sources[1].license == "CC BY-NC-SA 4.0"
    assert second.annotation.merged_labels[0].classes == first.annotation.merged_labels[0].classes
    assert second.annotation.possible_parents == first.annotation.possible_parents
    assert second.annotation.compatible == first.annotation.compatible
    old, new = first.annotation, second.annotation
    for value, becomes in second.value_maps[1].items():  # each stored value still says the same
        for s in range(len(old.sources)):
            for k, name in enumerate(old.column_names):
                assert old.tables[s][value, k] == new.tables[s + 1][becomes, new.column_names.index(name)]


def test_sides_that_become_one_class_turn_their_merged_label_into_it():
    entries = dataset_json_entries(plan_of(KITS, BTCV).annotation)
    merged = dataset("Dataset400_M", entries["labels"], entries["regions_class_order"], cdpd=entries["cdpd"])
    plan = plan_of(merged, datasets={"400": {"labels": {"right_kidney": "kidney", "left_kidney": "kidney"}}})
    assert not plan.annotation.merged_labels
    assert set(plan.annotation.regions[plan.annotation.classes.index("kidney")]) == {
        plan.value_maps[0][merged.annotation.values[merged.annotation.classes.index(name)]]
        for name in ("right_kidney", "kidney_tumor")
    }


def test_merged_labels_that_contradict_each_other_are_an_error():
    def block(group):
        sources = {"S" + group[0]: {"annotated_classes": ["d"], "merged_labels": ["m"]}}
        return {"version": 1, "sources": sources, "merged_labels": {"m": {"value": 5, "classes": group}}}

    labels = {"a": [1, 5], "b": [2, 5], "c": [3, 5], "d": 4}
    one = dataset("Dataset1_X", labels, [1, 2, 3, 4], cdpd=block(["a", "b"]))
    two = dataset("Dataset2_Y", labels, [1, 2, 3, 4], cdpd=block(["b", "c"]))
    with pytest.raises(UserError, match="Dataset2_Y: merged label 'm' means b or c here and a or b elsewhere"):
        plan_of(one, two)
    with pytest.raises(UserError, match="Dataset1_X: a is dropped, but its merged label 'm' may mean it"):
        plan_of(one, datasets={"1": {"labels": {"a": None}}})


def test_value_that_cannot_be_stored_is_an_error():
    odd = dataset("Dataset1_X", {"kidney": [1, 2], "spleen": 2}, order=[1, 2])
    with pytest.raises(UserError, match="value 2 would be kidney and spleen at once"):
        plan_of(odd, dataset("Dataset2_Y", {"left_kidney": 1, "right_kidney": 2}), nested={"spleen": None})


def test_datasets_that_differ_in_possible_parents_are_an_error():
    def merged(name, parents):
        block = {"version": 1, "sources": {name: {"annotated_classes": ["a", "b", "c", "t"]}}, "possible_parents": {"t": parents}}
        return dataset(name, {"a": [1, 1], "b": [2, 2], "c": [3, 3], "t": [4, 4]}, [1, 2, 3, 4], cdpd=block)

    with pytest.raises(UserError, match=r"differ in where 't' lies \(a, b / b, c\)"):
        plan_of(merged("X", ["a", "b"]), merged("Y", ["b", "c"]))
