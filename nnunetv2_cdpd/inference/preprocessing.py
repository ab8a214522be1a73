"""Preprocessing: from an image to what the network sees, by nnU-Net's preprocessor with one matrix per axis as resampling.

nnU-Net's preprocessor asks the configuration for the functions that resample. Its own interpolation of a CT takes longer
than a small network; and the label map that it resamples beside the image is one that nobody reads when there is none. Nor
does anybody read where that label map has holes, unless a normalization is to leave out what is zero.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor

from nnunetv2_cdpd.datasets.dataset_json import channel_names
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import exchanged, original
from nnunetv2_cdpd.place.applied import CTPlace
from nnunetv2_cdpd.place.predicted import ImagePlace
from nnunetv2_cdpd.portable.preprocessing import check_new_shape
from nnunetv2_cdpd.volumes.interpolation import resample_by_axis
from nnunetv2_cdpd.volumes.reading import CheckedReader

PathLike = str | Path


@dataclass(frozen=True)
class PreprocessedCase:
    """What is made of an image.

    data: (C, x, y, z) as the network sees it.
    properties: nnU-Net's.
    place: Where classes can lie in it; None: not looked at, or its file does not say how it lies in the body.
    """

    data: Tensor
    properties: dict[str, Any]
    place: ImagePlace | None = None


@dataclass(frozen=True)
class CasePreprocessor:
    """Preprocesses images for one model, and checks them before and after.

    reader: nnU-Net's reader of the model's plans.
    verbose: As nnU-Net's preprocessing.
    place: Of images that are read from files, it is told where classes can lie; None: that is not looked at.
    """

    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]
    reader: CheckedReader
    verbose: bool = False
    place: CTPlace | None = None

    @property
    def num_channels(self) -> int:
        return len(channel_names(self.dataset_json))

    def files(self, files: Sequence[PathLike], previous_stage: PathLike | None = None) -> PreprocessedCase:
        """Read and preprocess the channels of one image.

        Args:
            files: One per channel.
            previous_stage: Label map that a cascade's lower stage predicted.

        Raises:
            UserError: Not the model's number of channels, or values that are no numbers.
        """
        image, properties = self.reader.read_images(files)
        if len(image) != self.num_channels:  # counted here, because a colour image holds several
            raise UserError(
                f"{len(image)} of the model's {self.num_channels} channels; each is a file, CASE_0000, CASE_0001, ..., or one "
                "file holds all (a colour image)"
            )
        previous = None if previous_stage is None else self.reader.read_seg(str(previous_stage))[0]
        place = None if self.place is None else self.place.of_image(image, properties)
        return replace(self.image(image, properties, previous), place=place)

    def array(self, image: np.ndarray, spacing_mm: Sequence[float]) -> PreprocessedCase:
        """Preprocess (Z, Y, X) or (C, Z, Y, X).

        Raises:
            ValueError: Another number of axes or channels, or a spacing that is not three positive numbers.
        """
        image = image[None] if image.ndim == 3 else image
        if image.ndim != 4 or image.shape[0] != self.num_channels:
            raise ValueError(
                f"an image is (Z, Y, X), or (C, Z, Y, X) with {self.num_channels} channels for this model, got {image.shape}"
            )
        spacing = [float(mm) for mm in spacing_mm]
        if len(spacing) != 3 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
            raise ValueError(f"spacing_mm is a positive number per axis of the array, got {tuple(spacing_mm)}")
        return self.image(image, {"spacing": spacing})

    def image(self, image: np.ndarray, properties: dict[str, Any], previous: np.ndarray | None = None) -> PreprocessedCase:
        """Preprocess (C, Z, Y, X) as nnU-Net's readers give it.

        Args:
            properties: nnU-Net's, with the spacing.
            previous: Label map of a cascade's lower stage.

        Raises:
            UserError: No voxel is left at the model's spacing, or values are no numbers.
        """
        axes = self.plans.transpose_forward
        target = list(self.configuration.spacing)
        spacing = [properties["spacing"][axis] for axis in axes][-len(target) :]
        shape = [image.shape[1 + axis] for axis in axes][-len(target) :]
        check_new_shape(shape, compute_new_shape(shape, spacing, target), target)
        configuration = PredictionConfiguration(self.configuration, reads_segmentation=previous is not None)
        managers = self.plans, self.dataset_json, configuration
        with nullcontext() if previous is not None or _reads_mask(configuration) else _holes_left():
            adapter = PreprocessAdapterFromNpy([image], [previous], [properties], None, *managers, verbose=self.verbose)
            try:
                item = next(adapter)
            except ZeroDivisionError as error:  # the host has cut away what is 0 around
                size = " x ".join(f"{mm:.3g}" for mm in target)
                raise UserError(
                    f"of what is not 0 in the image no voxel is left at the model's spacing, {size} mm; is it the right file?"
                ) from error
        data = item["data"].to(dtype=torch.float32, memory_format=torch.contiguous_format)
        if not torch.isfinite(data).all():
            raise UserError("the image holds values that are no numbers (nan or inf)")
        return PreprocessedCase(data, item["data_properties"])


class PredictionConfiguration(ConfigurationManager):
    """A configuration whose images are resampled by `resample_by_axis` where nnU-Net's own function would do the same.

    Args:
        configuration: The model's.
        reads_segmentation: Whether there is a label map to be resampled with the image: of a cascade's lower stage.
    """

    def __init__(self, configuration: ConfigurationManager, *, reads_segmentation: bool) -> None:
        super().__init__(configuration.configuration)
        self.reads_segmentation = reads_segmentation

    @property
    def resampling_fn_data(self) -> Callable:
        function = super().resampling_fn_data
        return partial(resample_by_axis, **function.keywords) if function.func is resample_data_or_seg_to_shape else function

    @property
    def resampling_fn_seg(self) -> Callable:
        return super().resampling_fn_seg if self.reads_segmentation else _as_it_is


def _reads_mask(configuration: ConfigurationManager) -> bool:
    """Whether preprocessing needs the voxels that are zero, not only their box; True where classes are not nnU-Net's own."""
    hosts_own = configuration.preprocessor_class is DefaultPreprocessor and all(
        hasattr(default_normalization_schemes, name) for name in configuration.normalization_schemes
    )
    return not hosts_own or any(configuration.use_mask_for_norm)


@contextmanager
def _holes_left() -> Iterator[None]:
    """nnU-Net leaves the holes of a mask as they are, in this thread: on a CT that takes longer than to resample it."""
    ours, fill = get_ident(), original("fill_holes")
    with exchanged("fill_holes", lambda mask: mask if get_ident() == ours else fill(mask)):
        yield


def _as_it_is(segmentation: Any, *_shape_and_spacings: Any) -> Any:
    """What nnU-Net's preprocessor made to hold the image's outside, which it has used by then."""
    return segmentation
