"""What is added up from blocks of logits, against numpy on the whole volume; shapes, on paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import model as tiny_model

from nnunetv2_cdpd.inference.blocks import Block, Readout
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.quality.shapes import shapes_of
from nnunetv2_cdpd.quality.sums import LOGIT_EDGES, TAIL, BlockSums

SHAPE = (21, 8, 10)
TREE = ClassTree.of(tiny_model.ANNOTATION)
LIVER, TUMOR, RIGHT, LEFT, KIDNEY_TUMOR, SPLEEN = range(6)


@pytest.fixture
def volume():
    torch.manual_seed(0)
    return 3 * torch.randn(6, *SHAPE), torch.randn(1, *SHAPE)


def blocks(logits):
    """Two blocks along the first axis; the second one begins with a voxel of the first."""
    both = [(0, length) for length in SHAPE[1:]]
    yield Block(((0, 9), *both), (0, 0, 0), logits[:, :9], Readout())
    yield Block(((9, 21), *both), (8, 0, 0), logits[:, 8:], Readout())


def test_sums_over_blocks_are_those_of_the_volume(volume):
    logits, image = volume
    sums = BlockSums(image, range(6), TREE)
    for block in blocks(logits):
        sums(block)
    winners = TREE.winners(logits, range(6)).numpy()
    assert np.array_equal(sums.winners, winners)
    p = torch.sigmoid(logits[LIVER]).double().numpy()
    p[p <= TAIL] = 0
    entropy = -sum(q * np.log2(np.where(q > 0, q, 1)) for q in (p, 1 - p))
    inside = np.isin(winners, (LIVER + 1, TUMOR + 1))
    assert inside.any() and not inside.all()
    found = sums.of_classes()[LIVER]
    assert found.highest == pytest.approx(logits[LIVER].max().item())
    expected = {
        "probability": p.sum(),
        "probability_inside": p[inside].sum(),
        "doubt": (4 * p * (1 - p)).sum(),
        "doubt_inside": (4 * p * (1 - p))[inside].sum(),
        "entropy_inside": entropy[inside].sum(),
        "intensity_inside": image[0].numpy()[inside].sum(),
        "above_0.25": (p > 0.25).sum(),
        "above_0.5": (p > 0.5).sum(),
        "above_0.75": (p > 0.75).sum(),
    }
    assert found.sums == pytest.approx(expected, rel=1e-5)


class _OnGPU:
    """Values that say so."""

    device = torch.device("cuda")

    def __init__(self, values):
        self.values = values

    def __getitem__(self, where):
        return self.values[where]

    def to(self, device):
        return self.values


class _CrowdedReadout:
    """Of a GPU that has no memory for the logits of a block's second part."""

    def __init__(self):
        self.parts = 0

    def to(self, device):
        return Readout()

    def __call__(self, values):
        self.parts += 1
        if self.parts == 2:
            raise torch.cuda.OutOfMemoryError
        return values


def test_a_block_that_the_gpu_has_no_memory_for_counts_once(volume):
    logits, image = volume
    found, expected = BlockSums(image, range(6), TREE), BlockSums(image, range(6), TREE)
    whole = Block.whole(logits)
    expected(whole)
    crowded = _CrowdedReadout()
    found(replace(whole, values=_OnGPU(logits), readout=crowded))
    assert crowded.parts == 2
    assert found.of_classes()[SPLEEN].sums == expected.of_classes()[SPLEEN].sums


def test_counts_of_voxels_by_logit_leave_out_what_nobody_annotated(volume):
    logits, image = volume
    reference = np.random.default_rng(0).integers(0, 7, SHAPE)
    table = tiny_model.ANNOTATION.tables[0]  # of a source of livers, whose background may be a spleen
    sums = BlockSums(image, range(6), TREE, reference, table)
    for block in blocks(logits):
        sums(block)
    flat = logits[LIVER].numpy()
    bins = np.searchsorted(LOGIT_EDGES, flat)
    active = flat > LOGIT_EDGES[0]
    is_liver = np.isin(reference, (1, 2))
    counts = sums.of_classes()[LIVER].counts
    for state, where in enumerate((~is_liver, is_liver)):
        expected = np.bincount(bins[active & where], minlength=len(LOGIT_EDGES) + 1)
        assert np.array_equal(counts[state], expected)
    spleen = sums.of_classes()[SPLEEN].counts
    says = table[:, SPLEEN][reference]
    assert spleen.sum() == ((says != 2) & (logits[SPLEEN].numpy() > LOGIT_EDGES[0])).sum()


def test_the_image_is_held_no_longer_than_needed(volume):
    logits, image = volume
    sums = BlockSums(image, range(6), TREE)
    for block in blocks(logits):
        assert sums._image is not None
        sums(block)
    assert sums._image is None


def test_an_ignored_part_is_a_border_for_what_lies_against_it():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2:4, 2:5, 2:6] = 1
    labels[4:, 2:5, 2:6] = 9
    labels[0, :, :] = 9  # a plane between
    assert shapes_of(labels, {"one": [1]}, (1.0, 1.0, 1.0))["one"].border_share == 0.0
    assert shapes_of(labels, {"one": [1]}, (1.0, 1.0, 1.0), ignore=9)["one"].border_share == 0.5


def test_shapes_of_a_few_voxels():
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[0, 1, 1] = labels[0, 1, 2] = 1  # at the first plane
    labels[3, 4, 5] = 2
    found = shapes_of(labels, {"one": [1], "both": [1, 2], "none": [3]}, (2.0, 1.0, 10.0))
    assert found.keys() == {"one", "both"}
    one, both = found["one"], found["both"]
    assert (one.voxels, one.volume_ml, one.pieces, one.largest_share) == (2, 0.04, 1, 1.0)
    assert one.centroid_mm == (0.0, 1.0, 15.0) and one.faces == 10 and one.border_share == 1.0
    assert (both.voxels, both.pieces, both.largest_share) == (3, 2, pytest.approx(2 / 3))
    assert both.border_share == pytest.approx(2 / 3) and both.faces == 16
    assert both.centroid_mm == pytest.approx((2.0, 2.0, 80 / 3))
