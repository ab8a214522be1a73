"""Outliers: a planted shift, volume or shape is found among annotated cases that are alike; a sound structure is not."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import tifffile
from builders.bodies import ORGANS, made_up_body, write_body_dataset, write_volume
from builders.votes import SPACING
from skimage import io

from nnunetv2_cdpd.completion.filters.outlier import outlier_finding
from nnunetv2_cdpd.completion.middle import ct_of, position_mm
from nnunetv2_cdpd.completion.reference_cases import annotated_facts
from nnunetv2_cdpd.completion.references import Facts3D, References, structure_facts
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid

SETTINGS = CompletionSettings()
SHAPE = (24, 40, 40)
LIVER, SPLEEN = 1, 2
MEMBERS = {"liver": (LIVER,), "spleen": (SPLEEN,)}


def grid(shape=SHAPE, direction=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    return Grid(tuple(reversed(shape)), np.array(SPACING[::-1]), np.array(origin), np.diag(direction))


def facts_of(labels, members, its_grid):
    """From the middle of the image."""
    middle = position_mm(its_grid, [(length - 1) / 2 for length in labels.shape])
    return structure_facts(labels, members, its_grid, middle)


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
    return References(tuple(facts_of(each, MEMBERS, grid()) for each in cases))


def scores(references, labels, name="liver", its_grid=None):
    found = facts_of(labels, MEMBERS, its_grid or grid(labels.shape))
    return references.scores(name, found[name], found)


def test_facts_of_a_structure_can_be_told_by_hand():
    found = facts_of(case(), MEMBERS, grid())["liver"]
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
    assert facts_of(case()[:, ::-1, ::-1], MEMBERS, flipped)["liver"] == facts_of(case(), MEMBERS, grid())["liver"]
    assert scores(references, case()[:, ::-1, ::-1], its_grid=flipped) == scores(references, case())
    assert scores(references, case()[:, ::-1, ::-1])["place_score"] > 4  # the liver on the left


def test_a_sound_structure_is_no_outlier(references):
    found = scores(references, case())
    assert found.keys() == {"volume_score", "place_score", "shape_score"} and max(found.values()) < 2


def test_a_shifted_organ_is_found(references):
    """Along the body only the other organs tell, as an image begins anywhere."""
    sideways = scores(references, case(liver=(8, 10, 22), spleen=None))
    assert sideways["place_score"] == pytest.approx(16 * 1.5 / 5) and sideways["volume_score"] < 2
    below = scores(references, case(liver=(1, 10, 6), spleen=(14, 10, 26)))
    assert below["place_score"] == pytest.approx(13 * 2.0 / 5)  # all known ones lie alike, so that 5 mm count as usual
    both = facts_of(case(liver=(14, 10, 6), spleen=(14, 10, 26)), MEMBERS, grid())
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


def test_a_structure_that_the_image_cuts_off_lies_anywhere_along_the_body():
    """A cord of which images show 30 to 70 % has its middle anywhere; beside the liver it lies as ever."""

    def with_cord(length, sideways=30):
        labels = case(spleen=None)
        labels[:length, 18:22, sideways : sideways + 4] = SPLEEN
        return facts_of(labels, MEMBERS, grid())

    whole = References(tuple(with_cord(24) for _ in range(7)))
    cut = with_cord(6)
    assert cut["spleen"].is_cut and not cut["liver"].is_cut
    assert whole.scores("spleen", cut["spleen"], cut)["place_score"] < 1
    assert whole.scores("liver", cut["liver"], cut)["place_score"] < 1
    aside = with_cord(6, sideways=10)
    assert whole.scores("spleen", aside["spleen"], aside)["place_score"] > 4
    # Of structures that end within the image, the place along the body counts.
    ends = References(tuple(facts_of(case(), MEMBERS, grid()) for _ in range(7)))
    above = facts_of(case(spleen=(15, 10, 26)), MEMBERS, grid())
    assert ends.scores("spleen", above["spleen"], above)["place_score"] > 2


IGNORED = 9


def test_what_an_ignored_part_cuts_is_cut_as_by_the_border_of_the_image():
    labels = case()
    labels[14:] = IGNORED  # two of eight slices of each organ
    middle = position_mm(grid(), [(length - 1) / 2 for length in labels.shape])
    found = structure_facts(labels, MEMBERS, grid(), middle, IGNORED)
    assert found["liver"].is_cut and not facts_of(labels, MEMBERS, grid())["liver"].is_cut
    assert found["liver"].border == pytest.approx(1 / 6)


def test_organs_that_are_cut_tell_neither_volume_nor_shape(references):
    """Six label maps of which the lower half is not annotated: a whole liver is no outlier among them."""

    def hidden(labels):
        labels = labels.copy()
        labels[:12] = IGNORED
        return structure_facts(labels, MEMBERS, grid(), np.zeros(3), IGNORED)

    halves = [hidden(case())] * 6
    whole = facts_of(case(), MEMBERS, grid())
    assert "place_score" in References(tuple(halves)).scores("liver", whole["liver"], whole)
    assert not {"volume_score", "shape_score"} & References(tuple(halves)).scores("liver", whole["liver"], whole).keys()
    mixed = References((*references.cases, *halves, *halves)).scores("liver", whole["liver"], whole)
    assert mixed["volume_score"] == references.scores("liver", whole["liver"], whole)["volume_score"]
    assert mixed["shape_score"] == references.scores("liver", whole["liver"], whole)["shape_score"]


def test_few_annotated_cases_say_nothing():
    facts = facts_of(case(), MEMBERS, grid())
    few = References((facts,) * 4)
    assert few.number("liver") == 4
    far = facts_of(case(liver=(0, 0, 30)), MEMBERS, grid())
    assert few.scores("liver", far["liver"], far) == {}


def test_pairs_that_no_source_annotates_together_are_not_compared(references):
    one_each = [{name: its[name]} for its in references.cases for name in MEMBERS]
    above = facts_of(case(liver=(1, 10, 6)), MEMBERS, grid())
    assert References(tuple(one_each)).scores("liver", above["liver"], above)["place_score"] < 2


def test_the_filter_drops_by_its_level(references):
    facts = facts_of(case(liver=(8, 10, 22), spleen=None), MEMBERS, grid())
    finding = outlier_finding("liver", facts["liver"], facts, references, SETTINGS)
    assert finding.is_uncertain and finding.measured["place_score"] > 4 and finding.voxels is None
    assert not outlier_finding("liver", facts["liver"], facts, references, CompletionSettings(most_outlying=99)).is_uncertain
    assert not outlier_finding("liver", None, facts, references, SETTINGS).is_uncertain


def test_a_flat_image_has_places_too():
    flat = Grid((40, 40), np.array([1.5, 1.0]), np.zeros(2), np.eye(2))
    found = facts_of(case()[10:11], MEMBERS, flat)["liver"]
    assert found.place == pytest.approx((15.0, 14.5, 0.0))


# ---- from the middle of the body, in a CT ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """Six CTs of bodies that lie in the middle of their images, and one that lies 60 mm beside it, stored the other way round."""
    folder = tmp_path_factory.mktemp("bodies") / "Dataset401_B"
    write_body_dataset(folder, [made_up_body(30 + 5 * n, 560, n) for n in range(7)])
    image, labels = made_up_body(60, 560, 6, shift=(20.0, 60.0))
    write_volume(folder / "imagesTr/B_06_0000.nii.gz", image, "RAS")
    write_volume(folder / "labelsTr/B_06.nii.gz", labels, "RAS")
    return folder


def facts_in(folder, output):
    dataset = read_dataset(folder)
    reader = reader_for(dataset.dataset_json, [dataset.path(case.label) for case in dataset.cases])
    return annotated_facts(dataset, output, reader, 1, progress=False)


def test_places_in_a_ct_are_told_from_the_middle_of_the_body(bodies, tmp_path):
    facts = facts_in(bodies, tmp_path)
    for name, (_, depth, side) in ORGANS.items():
        for case, its in facts.items():
            assert its[name].offset == pytest.approx((side, depth), abs=12), case  # sideways first
    others = References(tuple(its for case, its in sorted(facts.items()) if case != "B_06"))
    assert others.scores("liver", facts["B_06"]["liver"], {})["place_score"] < 2


def test_cases_of_a_dataset_are_cut_by_its_ignore_label(bodies, tmp_path):
    other = shutil.copytree(bodies, tmp_path / bodies.name)
    content = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**content, "labels": {**content["labels"], "ignore": 4}}))
    labels = made_up_body(30, 560, 0)[1]
    labels[np.nonzero((labels == 1).any((1, 2)))[0][3] :] = 4
    write_volume(other / "labelsTr/B_00.nii.gz", labels)
    facts = facts_in(other, tmp_path)
    assert facts["B_00"]["liver"].is_cut and not facts["B_00"]["bladder"].is_cut and not facts["B_01"]["liver"].is_cut


def test_without_a_ct_it_is_the_middle_of_the_image(bodies, tmp_path):
    content = json.loads((bodies / "dataset.json").read_text())
    other = shutil.copytree(bodies, tmp_path / bodies.name)
    (other / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "MR"}}))
    assert ct_of(read_dataset(other).dataset_json) is None
    facts = facts_in(other, tmp_path)
    others = References(tuple(its for case, its in sorted(facts.items()) if case != "B_06"))
    assert others.scores("liver", facts["B_06"]["liver"], {})["place_score"] > 4


def test_of_a_ct_that_shows_no_body_nothing_is_said(bodies, tmp_path):
    other = shutil.copytree(bodies, tmp_path / bodies.name)
    write_volume(other / "imagesTr/B_03_0000.nii.gz", np.full_like(made_up_body(45, 560, 3)[0], -1000))
    facts = facts_in(other, tmp_path)
    assert facts["B_03"]["liver"].offset == () and len(facts["B_02"]["liver"].offset) == 2
    references = References(tuple(facts.values()))
    assert "place_score" not in references.scores("liver", facts["B_03"]["liver"], {})
    assert references.scores("liver", facts["B_02"]["liver"], {})["place_score"] < 2


def test_an_image_that_does_not_lie_on_its_label_is_told_with_its_case(bodies, tmp_path):
    other = shutil.copytree(bodies, tmp_path / bodies.name)
    write_volume(other / "imagesTr/B_02_0000.nii.gz", made_up_body(30, 500, 3)[0])
    with pytest.raises(UserError, match="case 'B_02': .*they are of different images"):
        facts_in(other, tmp_path)


@pytest.mark.parametrize("shape", [(1, 24, 30), (8, 24, 30)])
def test_of_a_format_without_geometry_it_is_the_middle_of_the_image(tmp_path, shape):
    """A CT as PNG or TIFF: nothing says how it lies in a body."""
    ending = ".png" if shape[0] == 1 else ".tif"
    folder = tmp_path / "Dataset402_P"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    labels = np.zeros(shape, np.uint8)
    labels[:, 4:10, 20:26] = LIVER
    for name, array in (("imagesTr/p_0000", labels * 90), ("labelsTr/p", labels)):
        if ending == ".png":
            io.imsave(folder / f"{name}{ending}", array[0], check_contrast=False)
        else:
            tifffile.imwrite(folder / f"{name}{ending}", array)
    if ending == ".tif":
        for name in ("imagesTr/p", "labelsTr/p"):
            (folder / f"{name}.json").write_text(json.dumps({"spacing": [3.0, 1.0, 1.0]}))
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 1, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(content))
    (facts,) = facts_in(folder, tmp_path).values()
    assert facts["liver"].offset == pytest.approx((22.5 - 14.5, 6.5 - 11.5))
