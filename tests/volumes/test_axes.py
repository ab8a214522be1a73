"""Axes: which one nnU-Net treats separately."""

from itertools import product

import pytest
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

from nnunetv2_cdpd.volumes.axes import LINEAR, NEAREST, ResamplingRule

SPACINGS = [(1, 1, 1), (5, 1, 1), (1, 4, 1.2), (1, 1, 3), (6, 6, 1), (0.24, 1.25, 1.25), (3.1, 1, 1), (2, 2, 2.0)]


@pytest.mark.parametrize("force", [None, False, True])
def test_the_same_axis_as_the_host(force):
    for current, new in product(SPACINGS, repeat=2):
        separate, axis = determine_do_sep_z_and_axis(force, current, new, 3)
        assert ResamplingRule(3, 0, force, 3).axis_across(current, new) == (axis if separate else None), (current, new)


def test_kinds():
    thick, thin = (5, 1, 1), (1, 1, 1)
    assert ResamplingRule(1, 0, None, 3).linear_kinds(thick, thin) == (NEAREST, LINEAR, LINEAR)
    assert ResamplingRule(1, 1, None, 3).linear_kinds(thick, thin) == (LINEAR,) * 3
    assert ResamplingRule(3, 0, None, 3).linear_kinds(thick, thin) is None
