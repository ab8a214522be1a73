"""Preprocessing: nnU-Net's configuration of a model, with an image's resampling as one matrix per axis.

nnU-Net's preprocessor asks the configuration for the functions that resample. Its own interpolation of a CT takes longer
than a small network; and the label map that it resamples beside the image is one that nobody reads when there is none.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunetv2_cdpd.volumes.interpolation import resample_by_axis


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


def _as_it_is(segmentation: Any, *_shape_and_spacings: Any) -> Any:
    """What nnU-Net's preprocessor made to hold the image's outside, which it has used by then."""
    return segmentation
