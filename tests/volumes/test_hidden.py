"""Hidden parts of a label map: where it goes on hidden, plane by plane."""

import numpy as np

from nnunetv2_cdpd.volumes.hidden import beside_hidden, goes_on_hidden

HIDDEN = np.array([0, 1, 1, 0, 0, 1, 0, 0, 1, 1], bool)


def goes_on(step, planes):
    return np.flatnonzero(goes_on_hidden(HIDDEN, 0, step, planes)).tolist()


def test_a_line_goes_on_hidden_for_so_many_voxels_or_up_to_its_end():
    assert goes_on(1, 1) == [0, 1, 4, 7, 8] and goes_on(-1, 1) == [2, 3, 6, 9]
    assert goes_on(1, 2) == [0, 7, 8] and goes_on(-1, 2) == [3]
    assert goes_on(1, 3) == goes_on(1, 99) == [7, 8] and goes_on(-1, 3) == []


def test_of_an_axis_of_one_voxel_nothing_goes_on():
    assert not goes_on_hidden(np.ones((1, 3), bool), 0, 1, 4).any()


def test_beside_hidden_voxels_are_those_that_share_a_face():
    hidden = np.zeros((3, 3, 4), bool)
    hidden[1, 1, 1] = True
    assert np.argwhere(beside_hidden(hidden)).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 2], [1, 2, 1], [2, 1, 1]]
