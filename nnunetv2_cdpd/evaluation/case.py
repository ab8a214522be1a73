"""Case: read the reference and the prediction of one case, check that they fit, and score them.

Runs in spawned processes, so it imports little.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.evaluation.protocols import NNUNET, Protocol

# mm, and direction cosines: headers store them in single precision, and tools round them differently
GEOMETRY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ScoringJob:
    """What to score.

    source: Index into the reference's sources.
    tolerance_mm: Of the surface Dice; None: no surface metrics.
    strict: Refuse values that the labels do not declare, though others around them are; a training took them for background.
    """

    identifier: str
    reference_file: str
    prediction_file: str
    reader: BaseReaderWriter
    reference: Annotation
    source: int
    prediction: Annotation
    tolerance_mm: float | None
    protocol: Protocol = NNUNET
    strict: bool = True


def score_case(job: ScoringJob) -> dict[str, dict[str, float]]:
    """Class or union -> metric -> value.

    Raises:
        UserError: The files do not lie on the same grid, or hold values that their labels do not declare.
    """
    if multiprocessing.parent_process() is not None and job.tolerance_mm is not None:
        import torch  # MONAI's convolutions; the other processes want the cores too

        torch.set_num_threads(1)
    reference_map, its_geometry = job.reader.read_seg(job.reference_file)
    prediction_map, geometry = job.reader.read_seg(job.prediction_file)
    its_geometry, geometry = {**its_geometry, "shape": reference_map.shape}, {**geometry, "shape": prediction_map.shape}
    check_geometry(job.reference_file, its_geometry, job.prediction_file, geometry)
    return case_metrics(
        checked_label_map(reference_map, job.reference, job.reference_file, job.strict),
        checked_label_map(prediction_map, job.prediction, job.prediction_file, job.strict),
        its_geometry["spacing"],
        reference=job.reference,
        source=job.source,
        prediction=job.prediction,
        tolerance_mm=job.tolerance_mm,
        protocol=job.protocol,
    )


def check_geometry(
    reference_file: str, reference: Mapping[str, Any], prediction_file: str, prediction: Mapping[str, Any]
) -> None:
    """Raise UserError unless both files lie on one grid.

    Args:
        reference: Properties as nnU-Net's readers return them, nested dicts of numbers, with `shape` added.
    """
    of_prediction = dict(_numbers(prediction))
    # a difference in shape explains the others
    for path, value in sorted(_numbers(reference), key=lambda item: item[0] != ("shape",)):
        other = of_prediction.get(path, np.array(np.nan))
        if value.shape != other.shape or not np.allclose(value, other, rtol=0, atol=GEOMETRY_TOLERANCE):
            raise UserError(
                f"{path[-1]} of prediction {prediction_file} ({_short(other)}) and reference {reference_file} "
                f"({_short(value)}) differ; predict the image that belongs to the reference, or resample the prediction"
            )


def _numbers(properties: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    for name, value in properties.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, (*path, name))
        elif value is not None:
            yield (*path, name), np.asarray(value, float)


def _short(value: np.ndarray) -> str:
    return " ".join(f"{number:.6g}" for number in value.ravel())
