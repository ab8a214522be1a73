"""Files of tokens: what is computed once is what would be computed anew, and is computed anew where it would be another."""

import numpy as np
import pytest
import torch

from nnunetv2_cdpd.network.coordinates import coordinates_of_box
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.whole_slices import tokens_at, volume_tokens
from nnunetv2_cdpd.training.token_files import TokenFiles, encoder_digest, filled_token_files

SHAPE, PATCH = (6, 40, 50), (4, 32, 32)


def make_encoder(seed=0, **changes):
    torch.manual_seed(seed)
    tiny = {"embed_dim": 24, "depth": 2, "num_heads": 2}
    return SliceEncoder("vit_tiny_patch16_224", **{"num_maps": 2, "slice_step": 2, "model_kwargs": tiny, **changes})


class Cases:
    """nnU-Net's dataset interface, of two images in files."""

    def __init__(self, folder):
        self.folder, self.identifiers, self.loaded = folder, ["one", "two[1]"], []
        folder.mkdir()
        for number, case in enumerate(self.identifiers):
            np.savez(folder / f"{case}.npz", np.random.default_rng(number).normal(size=(1, *SHAPE)).astype(np.float32))
            (folder / f"{case}.pkl").write_bytes(b"")

    def load_case(self, case):
        self.loaded.append(case)
        return np.load(self.folder / f"{case}.npz")["arr_0"], None, None, {}


@pytest.fixture
def cases(tmp_path):
    return Cases(tmp_path / "data")


def fill(cases, encoder, told=None):
    return filled_token_files(cases.folder, encoder, PATCH, [cases], (told if told is not None else []).append)


def test_kept_tokens_are_fresh_ones(cases):
    encoder, told = make_encoder(), []
    files = fill(cases, encoder, told)
    coordinates = coordinates_of_box((1, 5, 10), (5, 37, 42), SHAPE)
    for case in cases.identifiers:
        fresh = volume_tokens(encoder, torch.from_numpy(cases.load_case(case)[0]))
        found = files.at(case, coordinates)
        assert found.shape == (2, 24, 2, 2, 2)
        assert torch.equal(found, tokens_at(fresh, coordinates, files.size, 0))
    assert told == [
        f"Tokens of whole slices: of 2 of 2 cases, into {cases.folder.parent / 'data_tokens' / encoder_digest(encoder)}"
    ]


def test_what_is_there_is_not_computed_again_and_a_stopped_run_goes_on(cases):
    files = fill(cases, make_encoder())
    assert cases.loaded == cases.identifiers
    files.path("one").unlink()
    files.path("two[1]").write_bytes(files.path("two[1]").read_bytes()[:-40])  # damaged
    fill(cases, make_encoder())
    assert cases.loaded == 2 * cases.identifiers
    fill(cases, make_encoder())
    assert cases.loaded == 2 * cases.identifiers


def test_a_case_that_was_preprocessed_anew_is_computed_anew(cases):
    fill(cases, make_encoder())
    np.savez(cases.folder / "one.npz", np.zeros((1, 4, 40, 50), np.float32))
    fill(cases, make_encoder())
    assert cases.loaded == [*cases.identifiers, "one"]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"slice_step": 1}, {"slice_scale": 8}, {"channels": "neighbours"}, {"blocks": [1, 2]}]
)
def test_another_model_or_other_settings_have_files_of_their_own(other):
    same = other == {"blocks": [1, 2]}  # which is what the last two blocks of two are
    assert (encoder_digest(make_encoder(**other)) == encoder_digest(make_encoder())) == same


def test_a_folder_that_takes_no_file_is_told(cases):
    (cases.folder.parent / "data_tokens").write_text("a file")
    with pytest.raises(Exception, match=r"one.b2nd: tokens cannot be written \(.*\); make room and start again"):
        fill(cases, make_encoder())


def test_missing_names_the_cases_without_files(cases):
    files = TokenFiles(cases.folder, make_encoder(), PATCH)
    assert files.missing(cases.identifiers) == cases.identifiers
