"""Protocols: which rules a score follows, nnU-Net's or those of CDPDNet's released evaluation.

Source of PAPER: the released evaluation code of arXiv 2505.18958. What differs here: it scored its network's output on the
1.5 mm grid, HD95 before the post-processing and at a probability of 0.62; here both scores are of the label maps as they
lie in the folder, resampled to that grid (nearest voxel).
"""

import math
from dataclasses import dataclass

DEFAULT_TOLERANCE_MM = 3.0  # of the surface Dice: two voxels of the usual 1.5 mm
COUNTS = ("TP", "FP", "FN", "TN", "n_ref", "n_pred")


@dataclass(frozen=True)
class Protocol:
    """Rules of an evaluation.

    distance: Name of the HD95 among the metrics.
    unit: Of the HD95, in words.
    pooled: HD95 is the 95th percentile of both directions' distances together (MedPy), not the larger of the two
        directed 95th percentiles (MONAI).
    distance_if_empty: HD95 where either the reference or the prediction is empty.
    grid_mm: Both label maps are resampled to this isotropic spacing first; None: scored as they are.
    dice_smoothing: Added to the denominator of the Dice.
    needs_reference: A case counts for a class only if its reference holds the class.
    """

    name: str
    distance: str
    unit: str
    pooled: bool
    distance_if_empty: float
    grid_mm: float | None
    dice_smoothing: int
    needs_reference: bool

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, in the order in which they are written."""
        return ("Dice", "IoU", self.distance, "SurfaceDice", *COUNTS)


NNUNET = Protocol("nnunet", "HD95_mm", "mm", False, math.inf, None, 0, False)
PAPER = Protocol("paper", "HD95_voxels", "voxels of 1.5 mm", True, 999.0, 1.5, 1, True)
PROTOCOLS = {protocol.name: protocol for protocol in (NNUNET, PAPER)}
