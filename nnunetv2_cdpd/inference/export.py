"""Geometry of logits in their image, and probabilities on the image's grid, some slices at a time.

nnU-Net resamples the logits of every class to the full image before it looks at any of them; here nothing of all classes is
ever held at full size (label maps: `label_map`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor

from nnunetv2_cdpd.inference.resampling import axis_matrix, interpolation_kinds, resampled
from nnunetv2_cdpd.volumes.axes import LINEAR, AxisResampling, axis_resamplings


@dataclass(frozen=True)
class Geometry:
    """Where logits belong in the image.

    axes: Resampling of each axis, in the network's order of axes.
    crop: The part of the image that the network saw, in that order; outside is background.
    full_shape: Of the image, in that order.
    transpose_backward: Permutation from the network's order of axes to the image's.
    """

    axes: tuple[AxisResampling, ...]
    crop: tuple[slice, ...]
    full_shape: tuple[int, ...]
    transpose_backward: tuple[int, ...]

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.full_shape[axis] for axis in self.transpose_backward)


def geometry_of(
    shape: Sequence[int], plans: PlansManager, configuration: ConfigurationManager, properties: Mapping[str, Any]
) -> Geometry | None:
    """Find where logits belong in the image, as nnU-Net's export does.

    Args:
        shape: (x, y, z) of the logits.
        properties: Of the case, from nnU-Net's preprocessor.

    Returns:
        None if the plans name another resampling than linear.
    """
    kinds = interpolation_kinds(configuration.resampling_fn_probabilities, *_spacings(plans, configuration, properties))
    return None if kinds is None else _geometry(kinds, shape, plans, properties)


def place_logits(
    logits: Tensor, plans: PlansManager, configuration: ConfigurationManager, properties: Mapping[str, Any]
) -> tuple[Tensor, Geometry]:
    """Logits (K, x, y, z) and where they belong in the image.

    They are resampled here if the plans name another resampling than linear: all classes at once, as nnU-Net does.
    """
    geometry = geometry_of(logits.shape[1:], plans, configuration, properties)
    if geometry is not None:
        return logits, geometry
    shape = [int(length) for length in properties["shape_after_cropping_and_before_resampling"]]
    spacings = _spacings(plans, configuration, properties)
    logits = torch.as_tensor(configuration.resampling_fn_probabilities(logits, shape, *spacings))
    return logits, _geometry((LINEAR,) * 3, logits.shape[1:], plans, properties)


def _spacings(
    plans: PlansManager, configuration: ConfigurationManager, properties: Mapping[str, Any]
) -> tuple[Sequence[float], Sequence[float]]:
    """Of the logits and of the image, in mm and in the network's order of axes."""
    of_image = [properties["spacing"][axis] for axis in plans.transpose_forward]
    spacing = configuration.spacing
    return (spacing if len(spacing) == len(of_image) else [of_image[0], *spacing]), of_image


def _geometry(kinds: Sequence[str], shape: Sequence[int], plans: PlansManager, properties: Mapping[str, Any]) -> Geometry:
    cropped = [int(length) for length in properties["shape_after_cropping_and_before_resampling"]]
    return Geometry(
        axis_resamplings(kinds, shape, cropped),
        tuple(slice(int(start), int(stop)) for start, stop in properties["bbox_used_for_cropping"]),
        tuple(int(length) for length in properties["shape_before_cropping"]),
        tuple(plans.transpose_backward),
    )


def probability_slabs(logits: Tensor, geometry: Geometry, slices: int = 16) -> Iterator[np.ndarray]:
    """Probabilities of one class on the grid of the image, a few slices at a time; 0 outside of the crop, as nnU-Net.

    Args:
        logits: (x, y, z).
        slices: Along the first axis of the image.

    Yields:
        float32 (at most `slices`, Y, X), first to last.
    """
    first = geometry.transpose_backward[0]  # the network's axis along which the image's slices lie
    crop = geometry.crop[first]
    for start in range(0, geometry.image_shape[0], slices):
        stop = min(start + slices, geometry.image_shape[0])
        shape = list(geometry.full_shape)
        shape[first] = stop - start
        slab = np.zeros(shape, np.float32)
        inside = (max(start, crop.start), min(stop, crop.stop))
        if inside[0] < inside[1]:
            ranges = [(0, axis.num_outputs) for axis in geometry.axes]
            ranges[first] = (inside[0] - crop.start, inside[1] - crop.start)
            inputs = tuple(slice(*axis.inputs_of(outputs)) for axis, outputs in zip(geometry.axes, ranges))
            target = list(geometry.crop)
            target[first] = slice(inside[0] - start, inside[1] - start)
            matrices = [axis_matrix(axis, outputs) for axis, outputs in zip(geometry.axes, ranges)]
            slab[tuple(target)] = torch.sigmoid(resampled(logits[inputs][None].float(), matrices)[0]).numpy()
        yield slab.transpose(geometry.transpose_backward)
