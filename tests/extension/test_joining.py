"""Labels of a model and of a further dataset joined: names, values, regions, order, merged labels; numbers worked out by hand."""

from pathlib import Path

import pytest

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.extension.joining import join_labels, joined_dataset_json
from nnunetv2_cdpd.extension.settings import extension_settings, limits_of

MODEL = {"background": 0, "Liver": [1, 3], "Spleen": 2, "liver_tumor": 3, "right_kidney": 4, "left_kidney": 5}
ORDER = [1, 2, 3, 4, 5]


def content(labels, order=None, **cdpd):
    described = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "labels": labels, "numTraining": 7}
    described |= {"regions_class_order": order} if order else {}
    return described | ({"cdpd": {"version": 1, **cdpd}} if cdpd else {})


def join(labels, order=None, model=MODEL, model_order=ORDER, **cdpd):
    """A model of these labels, joined with a dataset of two cases."""
    further = DatasetJson(Path("/raw/Dataset401_More/dataset.json"), content(labels, order, **cdpd))
    cases = tuple(RawCase(name, (f"{name}_0000.nii.gz",), f"{name}.nii.gz") for name in ("a", "b"))
    base = content(model, model_order)
    return join_labels(Path("/results/model"), base, RawDataset("401", further, cases, ())), base


def test_a_new_class_has_the_next_value_and_the_last_place():
    joined, _ = join({"background": 0, "Aorta": 1})
    assert joined.annotation.classes == ("Liver", "Spleen", "liver_tumor", "right_kidney", "left_kidney", "Aorta")
    assert joined.annotation.values == (1, 2, 3, 4, 5, 6)
    assert joined.annotation.regions[0] == (1, 3)
    assert joined.value_map == {0: 0, 1: 6}
    assert limits_of("Aorta", joined.former, joined.annotation) == {"apart": [0, 1, 2, 3, 4], "within": [], "holds": []}


def test_what_the_model_knows_by_another_name_keeps_its_value():
    joined, _ = join({"background": 0, "aorta": 1, "hepatic tumours": 2, "Kidney_R": 3})
    assert joined.new_classes == ("aorta",)
    assert joined.known == {"hepatic tumours": "liver_tumor", "Kidney_R": "right_kidney"}
    assert joined.value_map == {0: 0, 1: 6, 2: 3, 3: 4}


OWN_SPELLINGS = {"background": 0, "liver": 1, "lkid": 2, "rkid": 3, "IVC": 4, "urinary bladder": 5}


def test_a_model_s_own_spellings_are_known_by_every_name_of_theirs():
    further = {"left_kidney": 1, "right_kidney": 2, "postcava": 3, "bladder": 4, "prostate": 5, "Liver": 6}
    joined, _ = join({"background": 0, **further}, model=OWN_SPELLINGS, model_order=None)
    assert joined.new_classes == ("prostate",)
    assert joined.annotation.classes == ("liver", "lkid", "rkid", "IVC", "urinary bladder", "prostate")
    assert joined.known == {
        "left_kidney": "lkid", "right_kidney": "rkid", "postcava": "IVC", "bladder": "urinary bladder", "Liver": "liver"
    }  # fmt: skip
    assert joined.value_map == {0: 0, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 1}
    assert joined.annotation.sources[-1].annotated_classes == joined.annotation.classes


def test_a_side_that_the_model_does_not_have_is_new_whatever_its_spelling():
    joined, _ = join({"background": 0, "kidney_right": 1, "left_kidney": 2}, model={"background": 0, "lkid": 1}, model_order=None)
    assert joined.new_classes == ("kidney_right",)
    assert joined.known == {"left_kidney": "lkid"}
    assert joined.value_map == {0: 0, 1: 2, 2: 1}


# As converted TotalSegmentator has it: lobes fill the lung, so that nnU-Net paints it with the value of one of them
FILLED = {"background": 0, "liver": 1, "left_lung": [2, 3], "lung_upper_lobe_left": 2, "lung_lower_lobe_left": 3}


@pytest.mark.parametrize(
    ("labels", "lung", "value_map"),
    [
        ({"background": 0, "aorta": 1}, (2, 3), {0: 0, 1: 4}),
        # a lung without lobes is none of theirs
        ({"background": 0, "aorta": 1, "lung_left": 2}, (2, 3, 4), {0: 0, 1: 5, 2: 4}),
    ],
)
def test_a_class_that_its_parts_fill_keeps_the_value_of_one_of_them(labels, lung, value_map):
    joined, _ = join(labels, model=FILLED, model_order=[1, 2, 2, 3])
    assert joined.annotation.classes == ("liver", "left_lung", "lung_upper_lobe_left", "lung_lower_lobe_left", "aorta")
    assert joined.annotation.values == (1, 2, 2, 3, value_map[1])
    assert joined.annotation.regions == ((1,), lung, (2,), (3,), (value_map[1],))
    assert joined.value_map == value_map
    described = joined_dataset_json(content(FILLED, [1, 2, 2, 3]), joined, "extended")
    assert read_annotation(described) == joined.annotation


def test_a_label_of_both_sides_and_a_tumor_find_kidneys_of_the_model_s_own_spelling():
    joined, _ = join({"background": 0, "kidney": 1, "renal tumour": 2}, model=OWN_SPELLINGS, model_order=None)
    (label,) = joined.annotation.merged_labels
    assert set(label.classes) == {"lkid", "rkid"}
    assert set(joined.annotation.possible_parents[joined.new_classes[0]]) == {"lkid", "rkid"}
    sources = {"S": {"annotated_classes": [], "merged_labels": ["kidneys"]}}
    merged = {"kidneys": {"value": 3, "classes": ["left_kidney", "right_kidney"]}}
    labels = {"background": 0, "left_kidney": [1, 3], "right_kidney": [2, 3], "aorta": 4}
    sources["S"]["annotated_classes"] = ["aorta"]
    joined, _ = join(labels, [1, 2, 4], OWN_SPELLINGS, None, sources=sources, merged_labels=merged)
    assert joined.new_classes == ("aorta",)
    assert set(joined.annotation.merged_labels[0].classes) == {"lkid", "rkid"}


def test_two_labels_for_one_class_of_the_model_are_told():
    with pytest.raises(UserError, match="labels 'bladder' and 'urinary bladder' are names of one class"):
        join({"background": 0, "bladder": 1, "urinary bladder": 2, "aorta": 3}, model=OWN_SPELLINGS, model_order=None)


def test_a_tumor_of_a_known_organ_lies_in_it():
    joined, base = join({"background": 0, "spleen": [1, 2], "spleen_lesion": 2}, [1, 2])
    regions = dict(zip(joined.annotation.classes, joined.annotation.regions))
    assert regions["Spleen"] == (2, 6)
    assert regions["spleen_lesion"] == (6,)
    assert limits_of("spleen_lesion", joined.former, joined.annotation) == {"apart": [0, 2, 3, 4], "within": [[1]], "holds": []}
    written = joined_dataset_json(base, joined, "extended")
    assert written["labels"]["Spleen"] == [2, 6]
    assert read_annotation(written) == joined.annotation


def test_a_new_class_brings_its_own_words_and_a_known_one_keeps_those_of_the_model():
    sources = {"More": {"annotated_classes": ["Aorta", "liver"]}}
    words = {"Aorta": ["One", "Two"], "liver": ["Another liver"]}
    labels = {"background": 0, "Aorta": 1, "liver": 2}
    joined, base = join(labels, sources=sources, class_prompts=words)
    assert joined.annotation.class_prompts == {"Aorta": ("One", "Two")}
    kwargs = {"features_per_stage": [8, 16]}
    assert extension_settings(joined, kwargs)["class_prompts"] == [["One", "Two"]]
    assert read_annotation(joined_dataset_json(base, joined, "extended")) == joined.annotation


def test_a_class_that_holds_known_ones_comes_before_them():
    joined, _ = join({"background": 0, "organs": [1, 2, 3], "liver": 1, "spleen": 2}, [3, 1, 2])
    assert joined.annotation.classes[0] == "organs"
    assert joined.annotation.regions[0] == (1, 2, 3, 6)
    limits = limits_of("organs", joined.former, joined.annotation)
    assert limits == {"apart": [3, 4], "within": [], "holds": [0, 1]}


def test_a_tumor_of_either_kidney_excludes_neither():
    joined, _ = join({"background": 0, "kidney_tumor": 1})
    assert joined.annotation.possible_parents == {"kidney_tumor": ("right_kidney", "left_kidney")}
    assert limits_of("kidney_tumor", joined.former, joined.annotation) == {"apart": [0, 1, 2], "within": [], "holds": []}


def test_a_label_of_both_sides_is_a_merged_label_beside_the_sides():
    joined, _ = join({"background": 0, "kidney": 1, "aorta": 2})
    (label,) = joined.annotation.merged_labels
    assert (label.name, label.classes) == ("kidney", ("right_kidney", "left_kidney"))
    assert joined.new_classes == ("aorta",)
    assert joined.value_map == {0: 0, 1: label.value, 2: joined.annotation.values[-1]}
    assert label.value not in joined.former.values


def test_merged_labels_of_the_further_dataset_stay_what_they_are():
    labels = {"background": 0, "lung_upper": [1, 3], "lung_lower": [2, 3]}
    sources = {"S": {"annotated_classes": [], "merged_labels": ["lung"]}}
    merged = {"lung": {"value": 3, "classes": ["lung_upper", "lung_lower"]}}
    joined, _ = join(labels, [1, 2], sources=sources, merged_labels=merged, case_source={"a": "S", "b": "S"})
    (label,) = joined.annotation.merged_labels
    assert label.classes == ("lung_upper", "lung_lower")
    assert joined.value_map[3] == label.value
    assert joined.annotation.sources[-1].merged_labels == ("lung",)


def test_the_ignore_label_is_the_highest_value():
    joined, _ = join({"background": 0, "aorta": 1, "ignore": 2})
    assert joined.annotation.ignore_value == 7
    assert joined.value_map == {0: 0, 1: 6, 2: 7}


def test_a_model_of_a_whole_organ_keeps_it_beside_its_sides():
    joined, _ = join(
        {"background": 0, "right_kidney": 1, "left_kidney": 2}, model={"background": 0, "kidney": 1, "aorta": 2}, model_order=None
    )
    assert joined.annotation.classes == ("kidney", "aorta", "right_kidney", "left_kidney")
    assert joined.annotation.regions == ((1, 3, 4), (2,), (3,), (4,))
    assert joined.value_map == {0: 0, 1: 3, 2: 4}


def test_a_model_that_keeps_tumor_and_organ_apart_still_does():
    flat = {"background": 0, "liver": 1, "liver_tumor": 2}
    joined, _ = join({"background": 0, "aorta": 1}, model=flat, model_order=None)
    assert joined.annotation.regions == ((1,), (2,), (3,))


def test_cases_of_one_name_are_told_apart_and_the_number_of_former_ones_is_kept():
    joined, base = join({"background": 0, "aorta": 1})
    assert joined.case_names == {"a": "a", "b": "b"}
    written = joined_dataset_json(base, joined, "extended")
    assert written["cdpd"]["sources"]["dataset"]["cases"] == 7
    assert written["numTraining"] == 9
    assert written["cdpd"]["case_source"] == {"a": "More", "b": "More"}
    again = DatasetJson(Path("/raw/Dataset402_More/dataset.json"), content({"background": 0, "heart": 1}))
    further = RawDataset("402", again, (RawCase("a", ("a_0000.nii.gz",), "a.nii.gz"),), ())
    twice = join_labels(Path("/results/model"), written, further)
    assert twice.case_names == {"a": "a_2"}
    assert [source.name for source in twice.annotation.sources] == ["dataset", "More", "More_2"]
    assert joined_dataset_json(written, twice, "again")["cdpd"]["sources"]["dataset"]["cases"] == 7


def test_a_dataset_with_nothing_new_is_refused():
    with pytest.raises(UserError, match="nothing new for /results/model, which has all of Liver, left_kidney already"):
        join({"background": 0, "liver": 1, "kidney left": 2})


def test_a_message_of_the_merge_tells_a_way_out_that_there_is_here():
    with pytest.raises(
        UserError, match="rename one in the YAML, .* of Dataset401_More alone; extend by the dataset that it makes"
    ):
        join({"background": 0, "esophagus": 1, "oesophagus": 2})
