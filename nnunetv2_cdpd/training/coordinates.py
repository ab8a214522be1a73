"""Patches that tell their coordinates in the image: channels behind those of the image, which the augmentation moves alike.

    training    the loader knows the box of a patch; batchgeneratorsv2 moves what it calls a regression target as it moves the
                image, and leaves it alone where it changes intensities only
    validation  nnU-Net's predictor gets the channels of the whole image, of which it cuts and mirrors its windows

Only networks that need them get them (network/coordinates.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunetv2_cdpd.network.coordinates import coordinates_of_box, with_coordinates
from nnunetv2_cdpd.training.token_files import TokenFiles


class CoordinateTransforms:
    """nnU-Net's transforms of one sample, which get its coordinates too and leave them behind the channels of the image.

    Where tokens are of whole slices, those at the coordinates are taken from the case's file, and the channels are left out.

    Args:
        transforms: nnU-Net's.
        files: Tokens of the cases; None: tokens are of the coordinates alone.

    Attributes:
        box: First voxel, the one after the last, and shape of the image that the next sample is of; set by the loader.
        case: Its identifier.
        tokens: Of the samples since they were last taken away, (maps, E, S, h, w) each, in half precision.
    """

    box: tuple[Sequence[int], Sequence[int], Sequence[int] | np.ndarray]
    case: str

    def __init__(self, transforms: Callable[..., dict[str, Any]], files: TokenFiles | None = None) -> None:
        self.transforms = transforms
        self.files = files
        self.tokens: list[Tensor] = []

    def __call__(self, image: Tensor, **sample: Any) -> dict[str, Any]:
        coordinates = coordinates_of_box(*self.box)
        if image.ndim == 3:  # a patch of 2D, one slice of the box
            coordinates = coordinates[:, 0]
        moved = self.transforms(image=image, regression_target=coordinates, **sample)
        coordinates = moved.pop("regression_target")
        if self.files is None:
            moved["image"] = torch.cat([moved["image"], coordinates])
        else:
            self.tokens.append(self.files.at(self.case, coordinates).half())
        return moved

    def taken(self) -> Tensor:
        """The tokens of a batch, which are forgotten."""
        tokens, self.tokens = self.tokens, []
        return torch.stack(tokens)


class CoordinatePredictor(nnUNetPredictor):
    """nnU-Net's, for a network whose patches tell their coordinates."""

    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        network: Any = self.network
        for wrapper in ("module", "_orig_mod"):  # of DDP, of torch.compile
            network = getattr(network, wrapper, network)
        if network.volume is not None:
            network.to(self.device).show(input_image)
        padded, inside = pad_nd_image(input_image, self.configuration_manager.patch_size, "constant", {"value": 0}, True)
        logits = super().predict_sliding_window_return_logits(with_coordinates(padded, inside[1:]))
        for axis, part in enumerate(inside[1:], start=1):
            logits = logits.narrow(axis, part.start, part.stop - part.start)
        return logits
