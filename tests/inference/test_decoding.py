"""Decoding for Dice: levels against brute force over all masks and all truths, and label maps that begin there."""

from itertools import product

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from builders.prediction import predict, read

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.blocks import Block, Readout
from nnunetv2_cdpd.inference.decoding import DiceLevels, with_dice_levels
from nnunetv2_cdpd.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")


SUBSETS = np.array(list(product((0, 1), repeat=9)))


def expected_dice(masks: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The Dice of masks (n, 9), over every truth that nine independent voxels can have; (n,)."""
    chances = np.where(SUBSETS, probabilities, 1 - probabilities).prod(1)
    sizes = masks.sum(1)[:, None] + SUBSETS.sum(1)
    return np.where(sizes, 2 * masks @ SUBSETS.T / np.maximum(sizes, 1), 1.0) @ chances


def levels_of(*probabilities: np.ndarray) -> list[float]:
    """Of classes with a probability for each voxel."""
    logits = torch.logit(torch.tensor(np.stack(probabilities), dtype=torch.float32))
    levels = DiceLevels(len(logits))
    levels.add(Block.whole(logits[..., None, None]))
    return torch.sigmoid(levels.levels()).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_level_is_as_good_as_the_best_of_all_masks(seed):
    probabilities = np.random.default_rng(seed).beta(1.2, 1.2, 9).clip(0.0, 0.99)
    best = expected_dice(SUBSETS, probabilities).max()
    found = probabilities > levels_of(probabilities)[0]
    # The formula leaves out terms that vanish in large structures, and these are of nine voxels.
    assert expected_dice(found[None].astype(int), probabilities) == pytest.approx(best, abs=0.002)


def test_level_is_half_of_the_expected_dice():
    """Half of the voxels at 0.9, many at 0.3: D = 2 (90 + 30) / (200 + 120) with them, 2 * 90 / (100 + 120) = 0.818 without."""
    probabilities = np.array([0.9] * 100 + [0.3] * 100)
    assert levels_of(probabilities)[0] == pytest.approx(0.818 / 2, abs=0.005)
    # With 0.4 they belong to it: 0.4 is less than 0.5 and more than half of 2 (90 + 40) / (200 + 130) = 0.788
    probabilities[100:] = 0.4
    assert levels_of(probabilities)[0] == pytest.approx(0.788 / 2, abs=0.005)


def test_sure_structure_begins_at_half():
    """Its expected Dice is 1."""
    assert levels_of(np.array([0.9999] * 50 + [1e-6] * 500))[0] == pytest.approx(0.5, abs=1e-3)


def test_class_that_is_nowhere_stays_nowhere():
    probabilities = np.array([0.45] * 30 + [1e-3] * 100)
    assert levels_of(probabilities, np.full(130, 0.2)) == [0.5, 0.5]


def test_speck_does_not_bring_in_a_haze():
    """Of 3 voxels at 0.57 in 64000 at 0.036 a Dice of next to nothing is expected; half of it is less than the haze."""
    for haze in (0.036, 0.06, 0.0025):
        probabilities = np.array([0.57] * 3 + [haze] * 64000)
        (level,) = levels_of(probabilities)
        assert level == pytest.approx(0.1, abs=0.001)
        assert (probabilities > level).sum() == 3


def test_blocks_count_as_the_volume_they_make_up():
    logits = torch.randn(3, 6, 5, 4) * 3
    parts = [
        Block(((0, 2), (0, 5), (0, 4)), (0, 0, 0), logits[:, :2], Readout()),
        Block(((2, 6), (0, 5), (0, 4)), (1, 0, 0), logits[:, 1:], Readout()),  # with the voxels before it
    ]
    whole, divided = DiceLevels(3), DiceLevels(3)
    whole.add(Block.whole(logits))
    for part in parts:
        divided.add(part)
    assert torch.equal(whole.levels(), divided.levels())
    again = list(with_dice_levels(iter(parts), 3))
    assert [block.own for block in again] == [block.own for block in parts]
    assert torch.allclose(again[1].own_logits(), logits[:, 2:] - whole.levels().view(3, 1, 1, 1), atol=2e-2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("decoding") / "model", folds=(0,))


def test_label_map_is_that_of_logits_less_their_levels(model):
    predictor, image, spacing = Predictor.from_folder(model, device="cpu"), tiny_model.make_image(), (2.0, 0.8, 0.9)
    predictor.select(decode="dice")
    case = predictor.preprocess_array(image, spacing)
    found = predictor.label(case)
    predictor.select()
    at_half = predictor.label(case)
    logits = predictor.predict_logits_from_preprocessed_data(case.data).float()
    levels = DiceLevels(len(logits))
    levels.add(Block.whole(logits))
    expected = predictor.label_logits(logits - levels.levels().view(-1, 1, 1, 1), case.properties)
    assert (found.labels != expected.labels).mean() < 1e-3, "values are held in half precision"
    assert (found.labels != at_half.labels).any()


def test_probabilities_stay_as_they_are(model):
    predictor, image, spacing = Predictor.from_folder(model, device="cpu"), tiny_model.make_image(), (2.0, 0.8, 0.9)
    plain = predictor.predict(image, spacing, probabilities=True)
    decoded = predictor.predict(image, spacing, probabilities=True, decode="dice")
    assert np.array_equal(plain.probabilities, decoded.probabilities)


def test_command_labels_as_the_predictor_and_resumes_with_the_same_decoding_only(model, images, tmp_path, capsys):
    output = predict(images, tmp_path / "out", model, "--decode", "dice")
    made = {path.name: read(path) for path in sorted(output.glob("*.nii.gz"))}
    predictor = Predictor.from_folder(model, device="cpu")
    for name, labels in made.items():
        image = images / name.replace(".nii.gz", "_0000.nii.gz")
        assert np.array_equal(np.asarray(predictor.predict(image, decode="dice")), labels)
    predict(images, output, model, "--c", expect=1)
    assert "decode" in capsys.readouterr().err


def test_unknown_decoding_is_told(model):
    with pytest.raises(UserError, match="argument decode: 'best'; it is one of half, dice"):
        Predictor.from_folder(model, device="cpu").select(decode="best")
