"""Tumors of which the dataset has no class: part of the organ where names tell, ignored where they do not, never holes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.votes import SPACING

from nnunetv2_cdpd.annotation import Annotation, Source, read_annotation
from nnunetv2_cdpd.completion.filters.confidence import confidence_finding
from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.filters.opinion import opinion_of
from nnunetv2_cdpd.completion.labelling import CaseLabeller
from nnunetv2_cdpd.completion.networks import _of_class
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.teachers import known_classes, undecided_classes
from nnunetv2_cdpd.completion.votes import votes_of

SETTINGS = CompletionSettings()
IGNORE = 9


def of(*names):
    """Plain labels with these names."""
    return read_annotation({"labels": {"background": 0, **{name: value for value, name in enumerate(names, start=1)}}})


def known(dataset, teacher):
    """`knows` and `undecided` by name."""
    knows, _ = known_classes(dataset, teacher)
    undecided = undecided_classes(dataset, teacher)

    def named(found):
        return {dataset.classes[k]: [teacher.classes[own] for own in its] for k, its in found.items()}

    return named(knows), named(undecided)


# ---- what names tell ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "liver"),
    [
        (("liver", "liver_tumor"), ["liver", "liver_tumor"]),
        (("Liver", "hepatic vessel", "Lebertumor"), ["Liver", "hepatic vessel"]),  # of a Lebertumor no table knows
        (("liver", "spleen", "spleen_lesion", "kidney_tumor"), ["liver"]),
    ],
)
def test_what_lies_in_a_class_is_of_it_where_the_dataset_has_no_class_of_its_own(own, liver):
    knows, undecided = known(of("liver", "spleen"), of(*own))
    assert knows["liver"] == liver and undecided == {}
    assert knows.get("spleen", ["spleen", "spleen_lesion"]) == ["spleen", "spleen_lesion"]


def test_a_dataset_that_says_where_its_tumors_lie_wins():
    apart = of("liver", "liver_tumor")  # a liver without its tumors
    assert known(apart, of("liver", "liver_tumor")) == ({"liver": ["liver"], "liver_tumor": ["liver_tumor"]}, {})


def test_a_tumor_with_a_side_is_of_the_organ_of_that_side():
    knows, undecided = known(of("left_kidney", "right_kidney"), of("Kidney R", "Kidney L", "left kidney cyst"))
    assert knows == {"left_kidney": ["Kidney L", "left kidney cyst"], "right_kidney": ["Kidney R"]} and undecided == {}


def test_a_tumor_of_either_side_is_undecided_for_each():
    both, one = of("left_kidney", "right_kidney"), of("left_kidney", "spleen")
    teacher = of("left_kidney", "right_kidney", "kidney_tumor", "adrenal_nodule")
    assert known(both, teacher)[1] == {"left_kidney": ["kidney_tumor"], "right_kidney": ["kidney_tumor"]}
    assert known(one, teacher)[1] == {"left_kidney": ["kidney_tumor"]}
    assert known(of("kidney"), of("kidney", "kidney_tumor")) == ({"kidney": ["kidney", "kidney_tumor"]}, {})
    adrenal = of("left_adrenal_gland")
    assert known(adrenal, of("left_adrenal_gland", "adrenal_nodule"))[1] == {"left_adrenal_gland": ["adrenal_nodule"]}


def test_a_tumor_of_a_part_of_an_organ_is_of_the_organ():
    assert known(of("large_bowel"), of("large_bowel", "colon_tumor"))[0] == {"large_bowel": ["large_bowel", "colon_tumor"]}


def test_a_tumor_of_no_organ_is_undecided_for_every_class():
    knows, undecided = known(of("liver", "spleen"), of("liver", "cancer", "spleen"))
    assert knows == {"liver": ["liver"], "spleen": ["spleen"]}
    assert undecided == {"liver": ["cancer"], "spleen": ["cancer"]}


def test_a_head_that_holds_its_tumors_already_needs_no_more():
    names, values = ("left_kidney", "right_kidney", "kidney_tumor"), (1, 2, 3)
    regions = read_annotation({"labels": {"background": 0, "liver": [1, 2], "cancer": 2}, "regions_class_order": [1, 2]})
    assert known(of("liver"), regions) == ({"liver": ["liver"]}, {})
    sides = ("left_kidney", "right_kidney")
    merged = Annotation(names, values, ((1,), (2,), (3,)), (Source("K", names),), possible_parents={"kidney_tumor": sides})
    assert known(of(*sides), merged) == ({"left_kidney": ["left_kidney"], "right_kidney": ["right_kidney"]}, {})


# ---- what becomes of it -------------------------------------------------------------------------------------------------

SHAPE = (2, 4, 12)
LEFT, RIGHT, TUMOR, NOTHING = np.s_[..., :3], np.s_[..., 9:], np.s_[..., 3:5], np.s_[..., 5:9]
HEADS = {"left_kidney": 1, "right_kidney": 2, "kidney_tumor": 3}


@pytest.fixture
def opinions():
    """Of both kidneys, by a softmax that is sure of each and of a tumor between them."""
    dataset, teacher = of("left_kidney", "right_kidney"), of(*HEADS)
    logits = torch.zeros(4, *SHAPE)
    for head, place in enumerate((NOTHING, LEFT, RIGHT, TUMOR)):
        logits[head][place] = 9.0
    knows, undecided = known_classes(dataset, teacher)[0], undecided_classes(dataset, teacher)

    def probability(own):
        return torch.sigmoid(_of_class(logits, [1 + index for index in own], softmax=True)).numpy()

    def opinion(k, **findings):
        volumes = [probability(knows[k])], [probability((*knows[k], *undecided[k]))]
        votes = votes_of(volumes[0], [1.0], SPACING, SETTINGS.plausible, 0.0, volumes[1])
        findings = {"confidence": confidence_finding(votes, SETTINGS), **findings}
        return opinion_of(votes, findings, SETTINGS), opinion_of(votes, {}, SETTINGS)

    return opinion


def completed(opinions):
    dataset = replace(of("left_kidney", "right_kidney", "spleen"), sources=(Source("S", ("spleen",)),))
    return CaseLabeller(dataset, IGNORE).completed(np.zeros(SHAPE, np.uint8), 0, opinions).labels


def test_a_tumor_between_two_kidneys_is_no_hole(opinions):
    expected = np.zeros(SHAPE, int)
    expected[LEFT], expected[RIGHT], expected[TUMOR] = 1, 2, IGNORE
    for which in (0, 1):  # with a filter and without any
        assert np.array_equal(completed({k: opinions(k)[which] for k in range(2)}), expected)


def test_of_a_kidney_that_is_dropped_the_tumor_is_not_taught_as_absent_either(opinions):
    left, right = opinions(0, outlier=FilterFinding(True))[0], opinions(1)[1]
    assert left.dropped_by == "outlier"
    made = completed({0: left, 1: right})
    assert (made[LEFT] == IGNORE).all() and (made[TUMOR] == IGNORE).all() and (made[RIGHT] == 2).all()


def test_a_voxel_that_is_hardly_tumor_is_uncertain_by_confidence():
    """A tumor of 0.4 beside a kidney of 0.05 may make it a kidney of 0.45."""
    kidney, most = np.full(SHAPE, 0.05, np.float32), np.full(SHAPE, 0.45, np.float32)
    votes = votes_of([kidney], [1.0], SPACING, SETTINGS.plausible, 0.0, [most])
    assert confidence_finding(votes, SETTINGS).voxels.all() and not votes.undecided.any()
    assert not confidence_finding(votes_of([kidney], [1.0], SPACING, SETTINGS.plausible, 0.0), SETTINGS).voxels.any()


def test_a_class_that_is_made_of_others_is_no_part_of_one_side():
    labels = {"right_kidney": [1, 4], "left_kidney": [2, 3], "left_kidney_cyst": 3, "right_kidney_cyst": 4, "kidney_cyst": [3, 4]}
    target = read_annotation({"labels": {"background": 0, **labels}, "regions_class_order": [1, 2, 3, 4, 3]})
    knows, undecided = known(target, of("left_kidney", "right_kidney", "kidney_cyst"))
    assert knows == {name: [name] for name in ("right_kidney", "left_kidney", "kidney_cyst")}
    assert undecided == {"right_kidney": ["kidney_cyst"], "left_kidney": ["kidney_cyst"]}
