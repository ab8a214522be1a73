"""Case: read the reference and the prediction of one case, check that they fit, and score them.

Runs in spawned processes, so it imports little.
"""

import multiprocessing
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.evaluation.protocols import NNUNET, Protocol
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.reading import CheckedReader

# mm, and direction cosines: headers store them in single precision, and tools round them differently
GEOMETRY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ScoringJob:
    """What to score.

    source: Index into the reference's sources.
    tolerance_mm: Of the surface Dice; None: no surface metrics.
    strict: Refuse values that the labels do not declare, though others around them are; a training took them for background.
    """

    reference_file: str
    prediction_file: str
    reader: CheckedReader
    reference: Annotation
    source: int
    prediction: Annotation
    tolerance_mm: float | None
    protocol: Protocol = NNUNET
    strict: bool = True


def score_case(job: ScoringJob) -> dict[str, dict[str, float]]:
    """Class or union -> metric -> value.

    Raises:
        UserError: A file is damaged, they do not lie on the same grid, or hold values that their labels do not declare.
    """
    if multiprocessing.parent_process() is not None and job.tolerance_mm is not None:
        import torch  # MONAI's convolutions; the other processes want the cores too

        torch.set_num_threads(1)
    reference_map, its_properties = job.reader.read_seg(job.reference_file)
    prediction_map, properties = job.reader.read_seg(job.prediction_file)
    grid = Grid.of_array(reference_map.shape[1:], its_properties)
    _check_same_grid(job, grid, Grid.of_array(prediction_map.shape[1:], properties))
    return case_metrics(
        checked_label_map(reference_map, job.reference, job.reference_file, job.strict),
        checked_label_map(prediction_map, job.prediction, job.prediction_file, job.strict),
        its_properties["spacing"],
        reference=job.reference,
        source=job.source,
        prediction=job.prediction,
        tolerance_mm=job.tolerance_mm,
        protocol=job.protocol,
    )


def _check_same_grid(job: ScoringJob, reference: Grid, prediction: Grid) -> None:
    """Raise UserError unless both files lie on one grid."""
    what = same_place(reference, prediction, spacing_mm=GEOMETRY_TOLERANCE, position_mm=GEOMETRY_TOLERANCE)
    if what is not None:
        of_reference, of_prediction = (
            " ".join(f"{number:.6g}" for number in np.ravel(getattr(grid, what))) for grid in (reference, prediction)
        )
        raise UserError(
            f"{what} of prediction {job.prediction_file} ({of_prediction}) and reference {job.reference_file} ({of_reference}) "
            "differ; predict the image that belongs to the reference, or resample the prediction"
        )
