"""Filters on made-up probabilities whose truth is known: what is planted is found, what is sound is taken."""

import numpy as np
import pytest
from builders.votes import BOX, SHAPE, SPACING, probability, votes

from nnunetv2_cdpd.completion.filters.agreement import agreement_finding
from nnunetv2_cdpd.completion.filters.confidence import confidence_finding
from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.filters.opinion import grown, opinion_of
from nnunetv2_cdpd.completion.settings import CompletionSettings, checked_settings, chosen_filters
from nnunetv2_cdpd.errors import UserError

SETTINGS = CompletionSettings()


def on_image(found, mask):
    whole = np.zeros(SHAPE, bool)
    whole[found.box] = mask
    return whole


# ---- votes -----------------------------------------------------------------------------------------------------------


def test_votes_are_cut_to_what_is_plausible_and_a_margin():
    found = votes(margin_mm=2.0)  # voxels of 2, 1 and 1.5 mm
    assert found.box == np.s_[2:8, 2:11, 3:12]
    assert on_image(found, found.structure).sum() == 100 and on_image(found, found.structure)[BOX].all()


def test_votes_on_nothing_hold_nothing():
    found = votes(np.zeros(SHAPE))
    assert found.mean.size == 0 and not found.structure.any()
    assert confidence_finding(found, SETTINGS) == FilterFinding(False, pytest.approx(np.zeros((0, 0, 0))))
    assert opinion_of(found, {"agreement": agreement_finding(found, SETTINGS)}, SETTINGS).dropped_by is None


def test_each_teacher_has_one_voice_however_many_folds_speak_for_it():
    sure, unsure = probability(inside=0.9), probability(inside=0.3)
    found = votes(sure, unsure, unsure, weights=(1, 0.5, 0.5))
    assert found.mean[found.structure].tolist() == pytest.approx([0.6] * 100, abs=1e-3)


# ---- confidence ------------------------------------------------------------------------------------------------------


def test_voxels_between_the_levels_are_uncertain():
    volume = probability()
    volume[3, 4, 5], volume[3, 4, 6], volume[3, 4, 7] = 0.74, 0.76, 0.3
    found = votes(volume)
    finding = confidence_finding(found, SETTINGS)
    assert not finding.is_uncertain
    assert np.argwhere(on_image(found, finding.voxels)).tolist() == [[3, 4, 5], [3, 4, 7]]


def test_a_structure_that_is_hardly_probable_is_uncertain():
    assert confidence_finding(votes(probability(inside=0.69)), SETTINGS).is_uncertain
    finding = confidence_finding(votes(probability(inside=0.71)), SETTINGS)
    assert not finding.is_uncertain and finding.measured["probability"] == pytest.approx(0.71, abs=1e-3)


# ---- agreement -------------------------------------------------------------------------------------------------------


def test_two_teachers_that_disagree_make_a_structure_uncertain():
    elsewhere = probability(np.s_[3:7, 4:9, 8:13])  # 2 of 5 columns in common: Dice 0.4
    finding = agreement_finding(votes(probability(), elsewhere), SETTINGS)
    assert finding.is_uncertain and finding.measured == {"agreement": pytest.approx(0.4)}


def test_voxels_of_which_networks_do_not_agree_are_uncertain_where_the_structure_is_not():
    found = votes(probability(), probability(np.s_[3:7, 4:9, 6:11]))  # 4 of 5 columns in common: Dice 0.8
    finding = agreement_finding(found, SETTINGS)
    assert not finding.is_uncertain and finding.measured == {"agreement": pytest.approx(0.8)}
    expected = np.zeros(SHAPE, bool)
    expected[3:7, 4:9, 5] = expected[3:7, 4:9, 10] = True
    assert (on_image(found, finding.voxels) == expected).all()


def test_the_worst_pair_of_networks_counts():
    finding = agreement_finding(votes(probability(), probability(), np.zeros(SHAPE)), SETTINGS)
    assert finding.is_uncertain and finding.measured == {"agreement": 0.0}


def test_one_network_says_nothing_of_agreement():
    assert agreement_finding(votes(), SETTINGS) == FilterFinding(False)


# ---- opinion ---------------------------------------------------------------------------------------------------------


def test_a_dropped_structure_is_uncertain_wherever_it_is_plausible_and_around_what_was_drawn():
    volume = probability()
    volume[0, 0, 0] = 0.06
    found = votes(volume)
    opinion = opinion_of(found, {"outlier": FilterFinding(True)}, CompletionSettings(margin_mm=1.0))
    uncertain = on_image(found, opinion.uncertain)
    expected = np.zeros(SHAPE, bool)
    expected[3:7, 3:10, 5:10] = expected[0, 0, 0] = True  # a voxel more along y, of 1 mm; none along z and x, of 2 and 1.5
    assert (uncertain == expected).all()
    assert opinion.dropped_by == "outlier" and not opinion.probability.any()


def test_an_accepted_structure_is_uncertain_only_where_a_filter_says_so():
    found = votes(probability(), probability(np.s_[3:7, 4:9, 6:11]))
    opinion = opinion_of(found, {"agreement": agreement_finding(found, SETTINGS)}, SETTINGS)
    assert opinion.dropped_by is None and opinion.uncertain.sum() == 40
    assert np.allclose(opinion.probability, found.mean)


def test_around_an_accepted_structure_voxels_are_ignored_up_to_the_border():
    found = votes(probability(), margin_mm=2.0)
    opinion = opinion_of(found, {}, CompletionSettings(border_mm=1.5))
    expected = np.zeros(SHAPE, bool)
    expected[3:7, 3:10, 5:10] = expected[3:7, 4:9, 4:11] = True  # a voxel more along y and x, of 1 and 1.5 mm; none along z
    expected[3:7, 4:9, 5:10] = False
    assert (on_image(found, opinion.uncertain) == expected).all()
    assert not opinion_of(found, {}, CompletionSettings()).uncertain.any()


def test_the_first_filter_that_drops_is_told():
    findings = {"confidence": FilterFinding(False), "agreement": FilterFinding(True), "outlier": FilterFinding(True)}
    assert opinion_of(votes(), findings, SETTINGS).dropped_by == "agreement"


def test_masks_grow_by_millimetres():
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    assert np.argwhere(grown(mask, SPACING, 1.5)).tolist() == [[2, 1, 2], [2, 2, 1], [2, 2, 2], [2, 2, 3], [2, 3, 2]]
    assert not grown(np.zeros((2, 2, 2), bool), SPACING, 9).any()


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"filters": ("certainty",)}, "no filter certainty; there are confidence, agreement, outlier, reliability"),
        ({"low": 0.6}, "give one below and one above 0.5"),
        ({"low": 0.01}, "not below argument plausible, 0.05"),
        ({"least_dice": 1.5}, "argument least_dice 1.5: give a number from 0 to 1"),
        ({"margin_mm": -1}, "argument margin_mm -1: give a number from 0 on"),
        ({"border_mm": float("inf")}, "argument border_mm inf: give a number from 0 on, below 1e\\+06"),
        ({"step_size": 0}, "argument step_size 0: give a number above 0 up to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, told):
    with pytest.raises(UserError, match=told):
        checked_settings(CompletionSettings(**given))


def test_filters_are_chosen_by_name():
    assert chosen_filters(None, ["outlier"]) == ("confidence", "agreement", "reliability")
    assert chosen_filters(["outlier", "agreement"], []) == ("agreement", "outlier")
    with pytest.raises(UserError, match="no filter place"):
        chosen_filters(None, ["place"])
