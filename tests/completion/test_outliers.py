"""Outliers: a planted shift, volume or shape is found among annotated cases that are alike; a sound structure is not."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from builders.votes import SPACING

from nnunetv2_cdpd.completion.filters.outlier import outlier_finding
from nnunetv2_cdpd.completion.references import Facts3D, References, structure_facts
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.volumes.grid import Grid

SETTINGS = CompletionSettings()
SHAPE = (24, 40, 40)
LIVER, SPLEEN = 1, 2
MEMBERS = {"liver": (LIVER,), "spleen": (SPLEEN,)}


def grid(shape=SHAPE, direction=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    return Grid(tuple(reversed(shape)), np.array(SPACING[::-1]), np.array(origin), np.diag(direction))


def case(liver=(8, 10, 6), spleen=(8, 10, 26), size=(8, 10, 9), shape=SHAPE):
    """A box of each organ, from its corner on."""
    labels = np.zeros(shape, np.uint8)
    for value, corner in ((LIVER, liver), (SPLEEN, spleen)):
        if corner is not None:
            labels[tuple(slice(c, c + s) for c, s in zip(corner, size))] = value
    return labels


@pytest.fixture(scope="module")
def references():
    """Seven cases, in which the organs lie and measure a voxel more or less."""
    moved = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (-1, 0, -1)]
    cases = [case(tuple(np.add((8, 10, 6), m)), tuple(np.add((8, 10, 26), m)), (8, 10 + n % 2, 9)) for n, m in enumerate(moved)]
    return References(tuple(structure_facts(each, MEMBERS, grid()) for each in cases))


def scores(references, labels, name="liver", its_grid=None):
    found = structure_facts(labels, MEMBERS, its_grid or grid(labels.shape))
    return references.scores(name, found[name], found)


def test_facts_of_a_structure_can_be_told_by_hand():
    found = structure_facts(case(), MEMBERS, grid())["liver"]
    volume = 8 * 10 * 9 * 2.0 * 1.0 * 1.5  # mm3
    surface = 2 * (10 * 9 * 1.5 + 8 * 9 * 3.0 + 8 * 10 * 2.0)
    assert found.ln_volume == pytest.approx(np.log(volume / 1000))
    assert found.roundness == pytest.approx(np.log((36 * np.pi * volume**2) ** (1 / 3) / surface))
    assert found.place == pytest.approx((10 * 1.5, 14.5 * 1.0, 11.5 * 2.0))  # x, y, z
    assert found.offset == pytest.approx((10 * 1.5 - 19.5 * 1.5, 14.5 - 19.5))
    assert found.largest == 1.0 and found.border == 0.0
    assert Facts3D.read(json.loads(json.dumps(asdict(found)))) == found


def test_places_are_those_in_the_patient_however_the_axes_are_stored(references):
    flipped = grid(direction=(-1.0, -1.0, 1.0), origin=(39 * 1.5, 39.0, 0.0))
    assert structure_facts(case()[:, ::-1, ::-1], MEMBERS, flipped)["liver"] == structure_facts(case(), MEMBERS, grid())["liver"]
    assert scores(references, case()[:, ::-1, ::-1], its_grid=flipped) == scores(references, case())
    assert scores(references, case()[:, ::-1, ::-1])["place_score"] > 4  # the liver on the left


def test_a_sound_structure_is_no_outlier(references):
    found = scores(references, case())
    assert found.keys() == {"volume_score", "place_score", "shape_score"} and max(found.values()) < 2


def test_a_shifted_organ_is_found(references):
    """Along the body only the other organs tell, as an image begins anywhere."""
    sideways = scores(references, case(liver=(8, 10, 22), spleen=None))
    assert sideways["place_score"] == pytest.approx(16 * 1.5 / 5) and sideways["volume_score"] < 2
    below = scores(references, case(liver=(0, 10, 6), spleen=(14, 10, 26)))
    assert below["place_score"] == pytest.approx(14 * 2.0 / 5)  # all known ones lie alike, so that 5 mm count as usual
    both = structure_facts(case(liver=(14, 10, 6), spleen=(14, 10, 26)), MEMBERS, grid())
    assert references.scores("liver", both["liver"], both)["place_score"] < 2


def test_a_volume_outlier_is_found(references):
    small = scores(references, case(size=(4, 5, 5)))
    assert small["volume_score"] > 4
    labels = case()
    labels[4:20, 5:25, 6:15] = LIVER
    assert scores(references, labels)["volume_score"] > 4


def test_a_torn_structure_is_found(references):
    labels = case()
    labels[8:16:2, 10:20, 6:15] = 0
    found = scores(references, labels)
    assert found["shape_score"] > 4


def test_a_structure_that_the_image_cuts_off_may_be_small(references):
    labels = case()[12:]  # the upper half of the organs is not in the image
    found = scores(references, labels)
    assert found["volume_score"] == 0.0 and "shape_score" not in found
    large = case(size=(24, 40, 20), liver=(0, 0, 0), spleen=None)
    assert scores(references, large)["volume_score"] > 4


def test_few_annotated_cases_say_nothing():
    facts = structure_facts(case(), MEMBERS, grid())
    few = References((facts,) * 4)
    assert few.number("liver") == 4
    far = structure_facts(case(liver=(0, 0, 30)), MEMBERS, grid())
    assert few.scores("liver", far["liver"], far) == {}


def test_pairs_that_no_source_annotates_together_are_not_compared(references):
    one_each = [{name: its[name]} for its in references.cases for name in MEMBERS]
    above = structure_facts(case(liver=(1, 10, 6)), MEMBERS, grid())
    assert References(tuple(one_each)).scores("liver", above["liver"], above)["place_score"] < 2


def test_the_filter_drops_by_its_level(references):
    facts = structure_facts(case(liver=(8, 10, 22), spleen=None), MEMBERS, grid())
    finding = outlier_finding("liver", facts["liver"], facts, references, SETTINGS)
    assert finding.is_uncertain and finding.measured["place_score"] > 4 and finding.voxels is None
    assert not outlier_finding("liver", facts["liver"], facts, references, CompletionSettings(most_outlying=99)).is_uncertain
    assert not outlier_finding("liver", None, facts, references, SETTINGS).is_uncertain


def test_a_flat_image_has_places_too():
    flat = Grid((40, 40), np.array([1.5, 1.0]), np.zeros(2), np.eye(2))
    found = structure_facts(case()[10:11], MEMBERS, flat)["liver"]
    assert found.place == pytest.approx((15.0, 14.5, 0.0))
