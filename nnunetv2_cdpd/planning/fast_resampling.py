"""FastResamplingPlanning: plans that name our resampling, so that nnU-Net's own preprocessing takes a fraction of the time.

Off by default: nnU-Net finds the function only where it is linked, so such plans are less portable. Our own commands
resample as fast on any plans, and read these where nothing is linked.
"""

from collections.abc import Callable
from typing import Any

from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.link import RESAMPLING
from nnunetv2_cdpd.planning.planner import CDPDPlanning
from nnunetv2_cdpd.volumes.interpolation import cdpd_resample_by_axis


class FastResamplingPlanning(CDPDPlanning):
    """Where nnU-Net's planner chooses its default function for images, ours takes its place; label maps keep nnU-Net's.

    Images are the same to rounding, so the folder of preprocessed data is shared with plans of the other planners.

    Raises:
        UserError: nnU-Net would not find the function.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            recursive_find_resampling_fn_by_name(RESAMPLING)
        except RuntimeError as error:
            raise UserError(
                f"nnU-Net does not find {RESAMPLING}, which these plans would name; run: cdpd link, or, where nnunetv2 is "
                f"read-only, plan with {type(self).__name__.replace('FastResampling', '')}"
            ) from error

    def determine_resampling(self, *args: Any, **kwargs: Any) -> tuple[Callable, dict, Callable, dict]:
        function, *others = super().determine_resampling(*args, **kwargs)
        return cdpd_resample_by_axis if function is resample_data_or_seg_to_shape else function, *others
