"""Votes of made-up networks on a small volume, for tests of completion."""

import numpy as np

from nnunetv2_cdpd.completion.votes import votes_of

SHAPE = (10, 12, 14)
SPACING = (2.0, 1.0, 1.5)
BOX = np.s_[3:7, 4:9, 5:10]  # 4 x 5 x 5 voxels


def probability(box=BOX, inside=0.95, outside=0.01, shape=SHAPE):
    """(Z, Y, X): a structure in a box."""
    volume = np.full(shape, outside, np.float32)
    volume[box] = inside
    return volume


def votes(*volumes, weights=None, plausible=0.05, margin_mm=2.0):
    return votes_of(volumes or (probability(),), weights or [1.0] * max(1, len(volumes)), SPACING, plausible, margin_mm)
