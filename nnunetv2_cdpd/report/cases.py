"""Cases: read the files of a case, draw its pictures and its volume, and write both as HTML. May run in spawned processes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import number
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.pictures import PANEL_PIXELS, PlanePicture, case_pictures, read_label_map, read_volume
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
        RuntimeError, OSError: A file cannot be read.
        ValueError: The files do not lie on one grid.
    """
    image = None if job.case.image_file is None else read_volume(job.case.image_file).array
    reference, prediction = (read_label_map(file) for file in (job.case.reference_file, job.case.prediction_file))
    layers = job.layers
    planes = case_pictures(image, reference, prediction.array, layers.reference, layers.prediction, job.window)
    sheets = None
    if job.with_volume:
        indices = [
            {value: layers.index(name) for value, name in names.items()}
            for names in (layers.reference_names, layers.prediction_names)
        ]
        sheets = volume_sheets(image, reference, prediction.array, *indices, job.window)
    return DrawnCase(planes, sheets, layers.seen(reference.array, prediction.array))


def case_article(
    results: Results, case: ReportCase, scores: CaseScores | None, drawn: DrawnCase | Exception, layers: Layers, anchor: str
) -> str:
    """The pictures and the volume of a case, with the Dice of each of its classes."""
    source = f" <span>source {escape(scores.source)}</span>" if scores and len(results.reference.sources) > 1 else ""
    head = f'<article class="case" id="{anchor}">\n<h3>{escape(case.case)}{source}</h3>\n'
    if isinstance(drawn, Exception):
        # the reason without the reader's own words, which hold paths
        reason = str(drawn) if type(drawn) is ValueError else "one of its files cannot be read"
        return f'{head}<p class="warning">No pictures: {escape(reason)}.</p>\n</article>'
    rows = "\n".join(_plane(case.case, plane, f"{anchor}-{plane.plane}", layers) for plane in drawn.planes)
    names = _legend_names(results, scores, drawn.seen, layers)
    return f"""{head}<div class="pictures">
<div class="head">image</div><div class="head">reference</div><div class="head">prediction, reference dashed</div>
{rows}
</div>
{legend(names, layers)}
{_viewer(case.case, drawn.sheets, layers) if drawn.sheets else ""}</article>"""


def _plane(case: str, plane: PlanePicture, anchor: str, layers: Layers) -> str:
    """Image, reference, and prediction of a plane; the image and the reference are defined once and used again."""
    view = f'viewBox="0 0 {plane.width} {plane.height}" style="width: {100 * plane.width / PANEL_PIXELS:.1f}%"'
    text = f"{case}, {plane.plane} slice {plane.slice_number}"
    image = f'<image id="{anchor}" href="{plane.image}" width="{plane.width}" height="{plane.height}"/>' if plane.image else ""
    again = f'<use href="#{anchor}"/>' if plane.image else ""
    reference, prediction = (_paths(paths, layers) for paths in (plane.reference, plane.prediction))
    contents = (
        ("image", image),
        ("reference", f'{again}<g id="{anchor}-reference">{reference}</g>'),
        ("prediction", f'{again}<g>{prediction}</g><use class="outline" href="#{anchor}-reference"/>'),
    )
    captions = f"{plane.plane}, slice {plane.slice_number} of {plane.num_slices}", "&nbsp;", "&nbsp;"
    figures = [
        f'<figure><svg {view} role="img" aria-label="{escape(what)} of {escape(text)}">{content}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
        for (what, content), caption in zip(contents, captions)
    ]
    return "".join(figures)


def _paths(paths: dict[str, str], layers: Layers) -> str:
    return "".join(
        f'<path class="contour c{layers.index(name)}" d="{path}"><title>{escape(name)}</title></path>'
        for name, path in paths.items()
    )


def _legend_names(results: Results, scores: CaseScores | None, seen: frozenset[str], layers: Layers) -> list[tuple[str, str]]:
    """Classes that are drawn or scored in a case, with their Dice."""
    metrics = scores.metrics if scores else {}
    entries = {}
    for name in (*results.class_names, *layers.reference, *layers.prediction):
        dice = metrics[name]["Dice"] if name in metrics else np.nan
        if name_key(name) not in entries and (name_key(name) in seen or np.isfinite(dice)):
            entries[name_key(name)] = name, number(dice, 3) if name in metrics else "not annotated"
    return list(entries.values())


def _viewer(case: str, sheets: VolumeSheets, layers: Layers) -> str:
    """The data of a volume; script.js builds the viewer from it."""
    names = {layers.index(name): name for name in (*layers.prediction_names.values(), *layers.reference_names.values())}
    data = {
        "case": case,
        "shape": sheets.shape,
        "spacing": [round(mm, 4) for mm in sheets.spacing],
        "columns": sheets.columns,
        "classes": [{"index": index, "name": name, "colour": layers.colour(name)} for index, name in sorted(names.items())],
        "image": sheets.image,
        "reference": sheets.reference,
        "prediction": sheets.prediction,
    }
    # "</script>" in a class name would end the element
    text = json.dumps(data).replace("<", "\\u003c")
    return f"""<div class="viewer"><noscript>The volume needs JavaScript.</noscript>
<script type="application/json">{text}</script></div>
"""
