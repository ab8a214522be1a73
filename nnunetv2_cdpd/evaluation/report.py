"""Report: scores and pictures of a few cases as one HTML page without external files.

The page names cases by their identifier and shows nothing else of a patient.
"""

import math
import os
from html import escape
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.evaluation.palette import colours_of
from nnunetv2_cdpd.evaluation.pictures import PlanePictures, case_pictures, read_volume
from nnunetv2_cdpd.evaluation.results import CaseScores, ClassSummary, Results
from nnunetv2_cdpd.evaluation.tables import number

CSS = (Path(__file__).parent / "report.css").name  # installed beside this module
NOT_ANNOTATED = "not annotated"


class ReportCase(NamedTuple):
    """Files of a case to show; the label maps lie on the grid of the image."""

    case: str
    image_file: str | Path
    reference_file: str | Path
    prediction_file: str | Path


def write_report(
    path: str | Path,
    *,
    title: str,
    intro_lines: Sequence[str],
    results: Results,
    cases: Sequence[ReportCase | tuple] = (),
    window: tuple[float, float] | None = None,
) -> Path:
    """Write the page, beside and renamed.

    Args:
        intro_lines: What the reader has to know, as plain text, one entry per line; one like "Machine: 2 cores" is
            shown as a name and a value.
        cases: To show with pictures, in this order; a case whose pictures cannot be made says why.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.
    """
    names = (*results.prediction.classes, *_label_names(results.prediction), *results.class_names, *_label_names(results.reference))
    colours = colours_of(names)
    sections = [
        _header(title, intro_lines),
        _scores_section(results, colours),
        _sources_section(results, colours) if len(results.source_names) > 1 else "",
        _cases_section(results, [ReportCase(*case) for case in cases], colours, window),
        _problems_section(results),
        _reading_section(results),
    ]
    path = Path(path)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(_page(title, "\n".join(filter(None, sections))), encoding="utf-8")
    os.replace(beside, path)
    return path


def _page(title: str, body: str) -> str:
    style = (Path(__file__).parent / CSS).read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<footer>nnunetv2-cdpd {escape(__version__)}</footer>
</body>
</html>
"""
