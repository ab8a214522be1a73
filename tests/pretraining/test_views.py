"""Views: windowed as the slice encoder does it, crops within their shares, masks within theirs; the seed tells all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.pretraining import ENCODER, SETTINGS, TINY

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretraining import views
from nnunetv2_cdpd.pretraining.views import clip_of, cropped, make_views, masked_patches, windowed


def encoder(window=(-175.0, 250.0)):
    return SliceEncoder(ENCODER, num_maps=1, intensity_windows=[window], model_kwargs=TINY)


def hu_slice(shape=(64, 64)):
    return torch.from_numpy(np.random.default_rng(0).normal(0, 200, shape).astype(np.int16))


def made(slices, settings=SETTINGS, seed=0):
    return make_views(slices, settings, 16, encoder().normalised, np.random.default_rng(seed))


def test_a_view_of_the_whole_slice_is_what_the_slice_encoder_sees(monkeypatch):
    monkeypatch.setattr(views, "JITTER", 0.0)
    monkeypatch.setattr(views, "cropped", lambda hu, share, rng: hu)
    hu = hu_slice()
    expected = encoder().images(hu.float()[None, None])  # (1, 3, 64, 64), as a 2D patch in HU
    found = made([hu])
    assert found.large.shape == (2, 3, 64, 64)
    torch.testing.assert_close(found.large[:1], expected)


def test_views_are_ordered_first_views_before_second_ones():
    low, high = torch.full((40, 40), -1000), torch.full((40, 40), 2000)
    found = made([low, high])
    assert found.large.shape == (4, 3, 64, 64) and found.small.shape == (4, 3, 32, 32) and found.mask.shape == (4, 4, 4)
    is_bright = [bool(view.mean() > 0) for view in (*found.large, *found.small)]
    assert is_bright == [False, True] * 4


def test_window_moves_by_a_quarter_of_its_width_at_most():
    rng = np.random.default_rng(0)
    ramp = torch.arange(-600, 600).float().repeat(2, 1)
    ends = []
    for _ in range(200):
        shown = windowed(ramp[:, :1200], (-100.0, 100.0), rng, 1200)[0]
        ends.append((ramp[0][shown > 1e-3][0].item(), ramp[0][shown < 1 - 1e-3][-1].item()))
    low, high = np.array(ends).T
    assert low.min() == pytest.approx(-150, abs=10) and low.max() == pytest.approx(-50, abs=10)
    assert high.min() == pytest.approx(50, abs=10) and high.max() == pytest.approx(150, abs=10)
    assert clip_of((-100.0, 100.0)) == (-150, 150)


@pytest.mark.parametrize("share", [(0.32, 1.0), (0.05, 0.32)])
def test_crops_keep_to_their_share_and_aspect(share):
    rng = np.random.default_rng(0)
    hu = torch.arange(100 * 120).reshape(100, 120)
    crops = [cropped(hu, share, rng) for _ in range(300)]
    areas = [crop.numel() / hu.numel() for crop in crops]
    assert max(areas) <= share[1] * 1.02 and min(areas) >= share[0] * 0.8  # a crop that is wider than the slice is cut
    aspects = [crop.shape[1] / crop.shape[0] for crop in crops]
    assert min(aspects) >= 0.73 and max(aspects) <= 1.36
    assert len({int(crop[0, 0]) for crop in crops}) > 100  # anywhere
    assert all(crop[0, 1] - crop[0, 0] == 1 for crop in crops)  # never mirrored


def test_half_of_the_views_are_masked_by_a_tenth_to_a_half():
    mask = masked_patches((40, 16, 16), seed=3)
    counts = mask.flatten(1).sum(1)
    assert (counts > 0).sum() == 20
    assert counts.max() <= 128 and 0.2 < mask[counts > 0].float().mean() < 0.4


def test_something_is_masked_always():
    assert all(masked_patches((2, 4, 4), seed).any() for seed in range(20))


def test_masks_leave_the_random_numbers_of_others_alone():
    import random

    random.seed(7)
    expected = random.Random(7).random()
    masked_patches((4, 4, 4), 0)
    assert random.random() == expected


def test_the_seed_tells_all_views():
    one, same, other = made([hu_slice()]), made([hu_slice()]), made([hu_slice()], seed=1)
    assert all(torch.equal(getattr(one, name), getattr(same, name)) for name in ("large", "small", "mask"))
    assert not torch.equal(one.large, other.large)


def test_no_small_views_are_none():
    assert len(made([hu_slice()], replace(SETTINGS, local_views=0)).small) == 0
