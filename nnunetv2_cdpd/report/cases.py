"""Cases: read the files of a case and draw its pictures and its volume. May run in spawned processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.jobs.tables import number
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.pictures import PlanePicture, case_pictures, read_label_map, read_volume
from nnunetv2_cdpd.pages.viewer import VolumeSheets, volume_sheets
from nnunetv2_cdpd.report.tables import legend


class ReportCase(NamedTuple):
    """Files of a case to show; the label maps lie on the grid of the image. Without an image, they are drawn on black."""

    case: str
    image_file: str | Path | None
    reference_file: str | Path
    prediction_file: str | Path


@dataclass(frozen=True)
class DrawJob:
    """What to draw of a case: pictures, and a volume to scroll through."""

    case: ReportCase
    layers: Layers
    window: tuple[float, float] | None
    with_volume: bool


@dataclass(frozen=True)
class DrawnCase:
    """seen: Name keys of the classes that occur."""

    planes: Sequence[PlanePicture]
    sheets: VolumeSheets | None
    seen: frozenset[str]


def draw_case(job: DrawJob) -> DrawnCase:
    """Read and draw one case.

    Raises:
        UserError: A file cannot be read, or the files do not lie on one grid; without a reader's own words, which hold paths.
    """
    try:
        image = None if job.case.image_file is None else read_volume(job.case.image_file).array
        reference, prediction = (read_label_map(file) for file in (job.case.reference_file, job.case.prediction_file))
    except (RuntimeError, OSError) as error:
        raise UserError("one of its files cannot be read") from error
    layers = job.layers
    try:
        planes = case_pictures(image, reference, prediction.array, layers.reference, layers.prediction, job.window)
        sheets = None
        if job.with_volume:
            indices = [
                {value: layers.index(name) for value, name in names.items()}
                for names in (layers.reference_names, layers.prediction_names)
            ]
            sheets = volume_sheets(image, reference, prediction.array, *indices, job.window)
    except ValueError as error:
        raise UserError(str(error)) from error
    return DrawnCase(planes, sheets, layers.seen(reference.array, prediction.array))


def case_article(
    results: Results,
    case: ReportCase,
    scores: CaseScores | None,
    drawn: DrawnCase | None,
    problem: str | None,
    layers: Layers,
    anchor: str,
) -> dict[str, Any]:
    """What report.html shows of a case: pictures and volume, with the Dice of each of its classes; or the problem."""
    source = scores.source if scores and len(results.reference.sources) > 1 else ""
    head = {"anchor": anchor, "name": case.case, "source": source, "problem": problem}
    if drawn is None:
        return head
    return {
        **head,
        "planes": [layers.plane(plane, case.case, f"{anchor}-{plane.plane}") for plane in drawn.planes],
        "legend": legend(_legend_names(results, scores, drawn.seen, layers), layers),
        "volume": _volume(case.case, drawn.sheets, layers) if drawn.sheets else None,
    }


def _legend_names(results: Results, scores: CaseScores | None, seen: frozenset[str], layers: Layers) -> list[tuple[str, str]]:
    """Classes that are drawn or scored in a case, with their Dice."""
    metrics = scores.metrics if scores else {}
    entries = {}
    for name in (*results.class_names, *layers.reference, *layers.prediction):
        dice = metrics[name]["Dice"] if name in metrics else np.nan
        if name_key(name) not in entries and (name_key(name) in seen or np.isfinite(dice)):
            entries[name_key(name)] = name, number(dice, 3) if name in metrics else "not annotated"
    return list(entries.values())


def _volume(case: str, sheets: VolumeSheets, layers: Layers) -> dict[str, Any]:
    """The data of a volume; script.js builds the viewer from it."""
    names = {layers.index(name): name for name in (*layers.prediction_names.values(), *layers.reference_names.values())}
    return {
        "case": case,
        "shape": sheets.shape,
        "spacing": [round(mm, 4) for mm in sheets.spacing],
        "columns": sheets.columns,
        "classes": [{"index": index, "name": name, "colour": layers.colour(name)} for index, name in sorted(names.items())],
        "image": sheets.image,
        "reference": sheets.reference,
        "prediction": sheets.prediction,
    }
