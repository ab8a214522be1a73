"""Windows of a network whose tokens are made of coordinates in the image."""

import copy

import pytest
import torch
from builders.model import make_plans, write_model
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.onnx_export import export_onnx
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.network.coordinates import with_coordinates
from nnunetv2_cdpd.training.coordinates import CoordinatePredictor

PATCH = (8, 16, 24)


VISION = [{"source": "coordinates"}, {"whole_slices": True}, {"positions": "slice"}]


@pytest.fixture(scope="module", params=VISION, ids=["coordinates", "whole slices", "positions"])
def model(request, tmp_path_factory):
    architecture = copy.deepcopy(make_plans()["configurations"]["3d_fullres"]["architecture"])
    architecture["arch_kwargs"]["vision"] |= {"fusion": "sum", "gate": "open", **request.param}
    folder = tmp_path_factory.mktemp("coordinates") / "model"
    return write_model(folder, architecture=architecture, mirroring=(0, 2), folds=(0, 1))  # of two vision encoders


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.from_folder(model, [0], device="cpu", use_mirroring=False)


def noise(*size):
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(0))


def seen_whole(network, data):
    """Logits of an image of one window."""
    if network.volume is not None:
        network.show(data)
    with torch.no_grad():
        return network(with_coordinates(data, [slice(0, n) for n in PATCH])[None])[0]


def test_an_image_of_one_window_is_seen_with_its_coordinates(predictor):
    data = noise(*PATCH)
    found = predictor.predict_logits_from_preprocessed_data(data).float()
    torch.testing.assert_close(found, seen_whole(predictor.network.network, data), atol=2e-2, rtol=1e-2)


def test_every_fold_sees_the_volume_by_its_own_encoder(model):
    data = noise(*PATCH)
    alone = [seen_whole(Predictor.from_folder(model, [fold], device="cpu").network.network, data) for fold in (0, 1)]
    both = Predictor.from_folder(model, [0, 1], device="cpu", use_mirroring=False)
    torch.testing.assert_close(
        both.predict_logits_from_preprocessed_data(data).float(), torch.stack(alone).mean(0), atol=2e-2, rtol=1e-2
    )


def test_the_vision_encoder_runs_once_for_a_volume(model, monkeypatch):
    predictor = Predictor.from_folder(model, [0], device="cpu", use_mirroring=True)
    encoder = predictor.network.network.slice_encoder
    if predictor.network.network.volume is None:
        return
    seen, maps = [], encoder.token_maps
    monkeypatch.setattr(encoder, "token_maps", lambda images: seen.append(len(images)) or maps(images))
    predictor.predict_logits_from_preprocessed_data(noise(12, 20, 40))
    assert sum(seen) == 12 // encoder.slice_step


@pytest.mark.parametrize("mirroring", [False, True])
@pytest.mark.parametrize("size", [(8, 16, 40), (6, 20, 24)])  # two windows, and an image that is padded to one
def test_windows_are_those_of_nnunets_own_loop(model, size, mirroring):
    # weights of a Gaussian are too small at corners for the half precision of nnU-Net's sums
    ours = Predictor.from_folder(model, [0], device="cpu", use_mirroring=mirroring, use_gaussian=False)
    hosts = CoordinatePredictor(use_mirroring=mirroring, use_gaussian=False, device=torch.device("cpu"), allow_tqdm=False)
    hosts.manual_initialization(
        ours.network.network, ours.plans_manager, ours.configuration_manager, None, ours.dataset_json, "", (0, 2)
    )
    data = noise(*size)
    expected = hosts.predict_sliding_window_return_logits(data).float()
    assert expected.shape[1:] == data.shape[1:]
    torch.testing.assert_close(ours.predict_logits_from_preprocessed_data(data).float(), expected, atol=5e-2, rtol=2e-2)


def test_nnunets_own_predictor_is_refused(predictor):
    host = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    host.manual_initialization(
        predictor.network.network,
        predictor.plans_manager,
        predictor.configuration_manager,
        None,
        predictor.dataset_json,
        "",
        None,
    )
    with pytest.raises(ValueError, match="`cdpd predict` does, nnUNetv2_predict cannot"):
        host.predict_sliding_window_return_logits(noise(*PATCH))


def test_no_onnx(model, tmp_path):
    with pytest.raises(UserError, match="depend on a window's place in the image, which the runner does not tell; no ONNX"):
        export_onnx(model, tmp_path / "model.onnx")
