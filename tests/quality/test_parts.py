"""Anatomy, regression, absent classes, intervals, flags and probabilities: on paper, and on synthetic data of known truth."""

import math

import numpy as np
import pytest

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.quality.absent import EmptyRow, fit_absent
from nnunetv2_cdpd.quality.anatomy import anatomy_of, distance_from_place
from nnunetv2_cdpd.quality.facts import reference_places
from nnunetv2_cdpd.quality.features import FEATURES, expected_dice, features_of
from nnunetv2_cdpd.quality.flags import FlagRow, fit_flags
from nnunetv2_cdpd.quality.intervals import VolumeIntervals, VolumeRow, conformal_quantile, fit_intervals, scale_of
from nnunetv2_cdpd.quality.probabilities import Platt, fit_platt, reliability
from nnunetv2_cdpd.quality.regression import Rows, fit, sigmoid
from nnunetv2_cdpd.quality.sums import LOGIT_EDGES

PLACES = {"a": (0.0, 0.0, 0.0), "b": (50.0, 0.0, 0.0), "c": (0.0, 80.0, 20.0)}


def reference(shift, volume=10.0):
    """Three organs, of a field of view that begins elsewhere."""
    its = {name: [x + shift for x in place] for name, place in PLACES.items()}
    return {name: {"volume_ml": volume, "centroid_mm": place, "intensity": 0.5} for name, place in its.items()}


def test_places_are_told_whatever_the_field_of_view():
    anatomy = anatomy_of([reference(0.0), reference(70.0), reference(-30.0)])
    usual = {name: np.array(place) + 1000.0 for name, place in PLACES.items()}
    assert distance_from_place("b", usual, anatomy) == pytest.approx(0.0, abs=1e-6)
    moved = usual | {"b": usual["b"] + [0.0, 30.0, 0.0]}
    assert distance_from_place("b", moved, anatomy) == pytest.approx(30 / math.sqrt(3) / anatomy["b"].place_sd_mm)
    assert distance_from_place("a", {"a": usual["a"]}, anatomy) is None  # alone


def test_spread_of_volumes_is_shrunk_where_there_are_few_cases():
    anatomy = anatomy_of([reference(0.0, 10.0), reference(0.0, 1000.0), {"a": {**reference(0.0)["a"], "centroid_mm": None}}])
    assert anatomy["a"].cases == 2 and anatomy["a"].log_volume == pytest.approx(math.log(100))
    assert anatomy["a"].log_volume_sd == pytest.approx(math.sqrt((2 * math.log(10) ** 2 + 4 * 0.4**2) / 6))


def test_an_organ_that_an_ignored_part_cuts_tells_neither_volume_nor_place():
    annotation = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}})
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:4, 2:5, 2:4], labels[1:3, 2:5, 6:8], labels[4:] = 1, 2, 3
    found = reference_places(labels, annotation, 0, (2.0, 1.0, 1.0), labels, np.where(labels == 1, 0.5, 0.0))
    assert found["liver"] == {"volume_ml": None, "centroid_mm": None, "intensity": 0.5}
    assert found["spleen"]["volume_ml"] == pytest.approx(2 * 3 * 2 * 2 / 1000) and found["spleen"]["centroid_mm"] == [
        3.0,
        3.0,
        6.5,
    ]
    assert list(anatomy_of([found] * 3)) == ["spleen"]


def facts(probability_inside, probability, voxels=100, **shape):
    its = {"voxels": voxels, "volume_ml": 10.0, "centroid_mm": [0, 0, 0], "pieces": 1, "largest_share": 1.0, "faces": 150}
    sums = {"doubt": 60.0, "entropy_inside": 20.0, "intensity_inside": 50.0, "above_0.25": 110, "above_0.75": 90, "highest": 5.0}
    its |= {"border_share": 0.0, **shape}
    return {"probability_inside": probability_inside, "probability": probability, **sums, "shape": its}


def test_expected_dice_is_that_of_independent_voxels():
    assert expected_dice(facts(80.0, 100.0)) == pytest.approx(2 * 80 / (100 + 100))
    assert expected_dice({"probability_inside": 0.0, "probability": 3.0, "shape": None}) == 0.0


def test_features_compare_with_training_cases():
    anatomy = anatomy_of([reference(0.0)] * 5)
    usual = facts(80.0, 100.0)
    found = dict(zip(FEATURES, features_of({"a": usual}, anatomy, {})["a"]))
    assert found["size"] == 0 and found["intensity"] == 0 and found["place"] == 0 and found["others"] == 0
    small = dict(zip(FEATURES, features_of({"a": facts(80.0, 100.0, volume_ml=5.0)}, anatomy, {})["a"]))
    assert small["size"] == pytest.approx(-math.log(2) / anatomy["a"].log_volume_sd) and small["size_far"] == -small["size"]
    pieces = dict(zip(FEATURES, features_of({"a": facts(80.0, 100.0, pieces=4)}, anatomy, {})["a"]))
    assert pieces["pieces"] == pytest.approx(math.log(4))


def synthetic_rows(num_cases=24, num_classes=4, seed=0):
    """Dice that depends on a feature, a class and chance; of one that is of no use too."""
    random = np.random.default_rng(seed)
    classes, cases = np.tile(np.arange(num_classes), num_cases), np.repeat(np.arange(num_cases), num_classes)
    features = random.normal(0, 1, (len(cases), len(FEATURES)))
    dice = sigmoid(1.5 + 1.2 * features[:, 0] + np.array([0.8, 0, 0, -0.8])[classes] + random.normal(0, 0.3, len(cases)))
    return Rows(features, dice, classes, cases, np.ones(len(cases), bool))


def test_the_regression_finds_what_the_dice_depends_on():
    rows = synthetic_rows()
    regression, beyond = fit(rows, 4)
    assert np.corrcoef(beyond, rows.dice)[0, 1] > 0.9
    slopes = dict(zip(FEATURES, regression.slopes / regression.scales))
    assert slopes.pop("expected_dice") == pytest.approx(1.2, abs=0.25)
    assert max(map(abs, slopes.values())) < 0.2
    assert regression.effects[0] > 0.4 and regression.effects[3] < -0.4
    new = synthetic_rows(seed=1)
    assert np.abs(regression.predict(new.features, new.classes) - new.dice).mean() < 0.07


def test_a_class_that_nothing_is_known_of_is_judged_without_an_effect():
    regression, _ = fit(synthetic_rows(), 4)
    middle = float(regression.predict(regression.means[None], np.array([-1]))[0])
    assert middle == pytest.approx(float(sigmoid(np.array(regression.intercept))))


def test_dice_that_depends_on_nothing_is_predicted_by_its_mean():
    rows = synthetic_rows()
    noise = Rows(rows.features, np.random.default_rng(3).permutation(rows.dice), rows.classes, rows.cases, rows.intact)
    _, beyond = fit(noise, 4)
    assert beyond.std() < 0.4 * noise.dice.std()


def test_an_organ_that_everybody_has_was_missed_and_a_rare_tumor_was_not():
    rows = [EmptyRow("tumor", highest, present=False) for highest in (-6.0, -5.0, -7.0, -6.5)]
    model = fit_absent(rows, present={"liver": 20, "tumor": 6}, annotated={"liver": 20, "tumor": 20})
    assert model.probability_missed("liver", -3.0) > 0.95
    assert model.probability_missed("tumor", -6.0) < 0.2
    assert model.probability_missed("unknown", 0.0) == 0.5


def test_a_high_probability_speaks_for_a_missed_class_where_it_did_before():
    rows = [EmptyRow("tumor", -6.0 + 0.1 * i, present=False) for i in range(10)]
    rows += [EmptyRow("tumor", -1.0 + 0.05 * i, present=True) for i in range(10)]
    model = fit_absent(rows, {"tumor": 20}, {"tumor": 40})
    assert model.probability_missed("tumor", -0.5) > 0.7 > 0.3 > model.probability_missed("tumor", -6.0)


def test_conformal_quantile_on_paper():
    assert conformal_quantile(range(1, 10), 0.9) == 9  # the rank is ceil(10 * 0.9)
    assert conformal_quantile(range(1, 9), 0.9) == math.inf
    assert conformal_quantile(range(1, 100), 0.9) == 90


def test_the_scale_is_what_a_dice_allows_of_volumes():
    """Of two masks, one within the other, with volumes 1 and 3: their Dice is 2 * 1 / (1 + 3)."""
    assert scale_of(0.5) == pytest.approx(math.log(3))


def test_intervals_cover_new_cases_and_are_wider_where_the_dice_is_lower():
    random = np.random.default_rng(0)

    def rows(count):
        dice = random.uniform(0.5, 0.95, count)
        return [VolumeRow("a", d, 0.1 + random.normal(0, 0.4) * scale_of(d)) for d in dice]

    model = fit_intervals(rows(600))
    assert model.biases["a"] == pytest.approx(0.1, abs=0.05)
    inside = [low <= math.exp(row.log_ratio) <= high for row in rows(2000) for low, high in [model.of("a", row.predicted, 1.0)]]
    assert 0.87 < np.mean(inside) < 0.93
    (low, high), (lower, higher) = model.of("a", 0.9, 20.0), model.of("a", 0.6, 20.0)
    assert lower < low < 20 * math.exp(model.biases["a"]) < high < higher


def test_a_class_that_is_often_spurious_may_be_nothing():
    rows = [VolumeRow("a", 0.8, 0.1 * (-1) ** i) for i in range(30)] + [VolumeRow("a", 0.3, None)] * 5
    model = fit_intervals(rows)
    assert model.of("a", 0.25, 5.0)[0] == 0.0 and model.of("a", 0.8, 5.0)[0] > 0
    assert fit_intervals(rows[:5]).of("a", 0.8, 5.0) == (0.0, math.inf)  # too few to know


def test_flags_find_the_worst_and_what_is_unusual_for_its_class():
    random = np.random.default_rng(0)
    score = random.uniform(0.6, 0.95, 400)
    score[::10] = random.uniform(0.1, 0.4, 40)
    names = ["esophagus", "liver"]
    rows = [FlagRow(names[i % 2], float(np.clip(s + random.normal(0, 0.05), 0, 1)), float(s), True) for i, s in enumerate(score)]
    rows += [FlagRow("heart", 0.95, 0.95, True)] * 20
    flags = fit_flags(rows)
    assert flags.worst_score < 0.75 and flags.caught >= 0.8 and flags.false_alarms < 0.15
    assert flags.is_flagged("liver", 0.3) and not flags.is_flagged("liver", 0.9)
    assert flags.is_flagged("heart", 0.9) and not flags.is_flagged("heart", 0.95)
    assert flags.is_flagged("never seen", 0.1)


def test_many_missed_structures_do_not_hide_bad_ones():
    rows = [FlagRow("a", 0.02, 0.0, False)] * 20 + [FlagRow("b", d, d, True) for d in np.linspace(0.3, 0.9, 100)]
    assert fit_flags(rows).threshold >= 0.34


def counts_of(scale, shift, voxels=2000):
    """Voxels whose logits say too much: what is true is sigmoid(scale * logit + shift)."""
    edges = np.array(LOGIT_EDGES)
    width = edges[1] - edges[0]
    logits = np.concatenate([[edges[0]], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 2 * width]])
    positive = np.round(voxels * sigmoid(scale * logits + shift)).astype(int)
    return np.stack([voxels - positive, positive])


def test_scaling_makes_probabilities_right_as_often_as_they_say():
    counts = counts_of(0.5, -0.4)
    platt = fit_platt(counts)
    assert (platt.scale, platt.shift) == (pytest.approx(0.5, abs=0.02), pytest.approx(-0.4, abs=0.02))
    before, after = reliability(counts), reliability(counts, platt)
    assert before.error > 0.08 > 0.01 > after.error
    assert sum(before.voxels) == sum(after.voxels) == counts.sum()


@pytest.mark.parametrize("state", [0, 1])
def test_probabilities_of_a_class_that_is_never_or_always_there_stay(state):
    counts = counts_of(1, 0)
    counts[state] = 0
    assert fit_platt(counts) == Platt()


def test_an_interval_beyond_all_measure_says_nothing():
    """A few predictions of a high Dice, whose volumes are wrong by far, make it as wide."""
    intervals = VolumeIntervals({}, conformal_quantile([7 / scale_of(0.99)] * 20, 0.9), 0.0)
    assert intervals.of("liver", 0.02, 10.0) == (0.0, math.inf)
    low, high = intervals.of("liver", 0.99, 10.0)
    assert (low, high) == (pytest.approx(10 * math.exp(-7)), pytest.approx(10 * math.exp(7)))
