"""FilterFinding: what a filter says of a class in an image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FilterFinding:
    """What a filter finds.

    is_uncertain: The structure as a whole cannot be trusted.
    voxels: Bool (z, y, x), within the box of the votes: where it cannot be trusted; None: nowhere.
    measured: Name -> number, for the table.
    """

    is_uncertain: bool
    voxels: np.ndarray | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
