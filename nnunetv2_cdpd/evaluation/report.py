"""Report: scores and pictures of a few cases as one HTML page without external files.

The page names cases by their identifier and shows nothing else of a patient.
"""

import os
from html import escape
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

import numpy as np

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.evaluation.palette import colours_of
from nnunetv2_cdpd.evaluation.pictures import PANEL_PIXELS, PlanePictures, case_pictures, read_volume
from nnunetv2_cdpd.evaluation.report_style import STYLE
from nnunetv2_cdpd.evaluation.results import CaseScores, ClassSummary, Results
from nnunetv2_cdpd.evaluation.tables import number


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
        intro_lines: What the reader has to know, as plain text; one like "Machine: 2 cores" is shown as name and value.
        cases: To show with pictures, in this order. A case whose pictures cannot be made is named with the reason.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.
    """
    # both label maps are painted by the stored values of their own dataset.json, merged labels included
    painted = (*results.prediction.classes, *_painted_names(results.prediction).values(), *_painted_names(results.reference).values())
    colours = colours_of((*painted, *results.class_names))
    sections = [
        _header(title, intro_lines),
        _scores(results, colours),
        _scores_by_source(results, colours) if len(results.source_names) > 1 else "",
        _pictures(results, [ReportCase(*case) for case in cases], colours, window) if cases else "",
        _problems(results) if results.problems else "",
        _how_to_read(results),
    ]
    path = Path(path)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(_page(title, "\n".join(filter(None, sections))), encoding="utf-8")
    os.replace(beside, path)
    return path


def _page(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<footer>Made by nnunetv2-cdpd {escape(__version__)}</footer>
</body>
</html>
"""


def _header(title: str, intro_lines: Sequence[str]) -> str:
    facts = []
    for line in intro_lines:
        name, colon, value = line.partition(": ")
        if colon and len(name) <= 30:
            facts.append(f'<div class="name">{escape(name)}</div><div>{escape(value)}</div>')
        else:
            facts.append(f'<div class="line">{escape(line)}</div>')
    listed = "\n".join(['<div class="facts">', *facts, "</div>"]) if facts else ""
    return f"<h1>{escape(title)}</h1>\n{listed}"


# ---- tables ----------------------------------------------------------------------------------------------------------


def _scores(results: Results, colours: Mapping[str, str]) -> str:
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    figures = [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(results.foreground_mean("Dice"), 3), "mean Dice"),
        (number(results.foreground_mean("HD95_mm"), 2), "mean HD95 in mm"),
        (number(results.foreground_mean("SurfaceDice"), 3), f"mean surface Dice at {results.tolerance_mm:g} mm"),
    ]
    tiles = "".join(f"<li><b>{value}</b><span>{label}</span></li>" for value, label in figures)
    rows = [_class_row(results, name, results.summary(name), colours) for name in results.class_names]
    return f"""<h2>Scores per class</h2>
<ul class="key-figures">{tiles}</ul>
<div class="table"><table>
<thead><tr><th scope="col">class</th><th scope="col">cases</th><th scope="col">present</th><th scope="col">Dice</th>
<th scope="col">HD95<small>mm</small></th><th scope="col">surface Dice<small>{results.tolerance_mm:g} mm</small></th>
<th scope="col">missed</th><th scope="col">spurious</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
<tfoot><tr><th scope="row">mean of classes</th><td></td><td></td>{_score_cells(lambda metric: results.foreground_mean(metric))}
<td></td><td></td></tr></tfoot>
</table></div>"""


def _class_row(results: Results, name: str, summary: ClassSummary, colours: Mapping[str, str]) -> str:
    head = f'<th scope="row">{_swatch(name, colours)}{escape(name)}</th>'
    if not summary.cases:
        return f'<tr>{head}<td>0</td><td class="none" colspan="6">{_why_not_scored(results, name)}</td></tr>'
    counts = f"<td>{summary.cases}</td><td>{summary.present}</td>"
    errors = "".join(f'<td{_class("bad" if count else "")}>{count}</td>' for count in (summary.missed, summary.spurious))
    return f"<tr>{head}{counts}{_score_cells(summary.means.__getitem__)}{errors}</tr>"


def _score_cells(mean: Callable[[str], float]) -> str:
    return (
        _bar(mean("Dice"), number(mean("Dice"), 3))
        + f'<td>{number(mean("HD95_mm"), 2)}</td>'
        + _bar(mean("SurfaceDice"), number(mean("SurfaceDice"), 3))
    )


def _bar(share: float, text: str) -> str:
    """A cell filled as far as the score goes, from 0 to 1."""
    return f'<td class="score" style="--share: {100 * np.nan_to_num(share):.1f}%">{text}</td>'


def _scores_by_source(results: Results, colours: Mapping[str, str]) -> str:
    heads = "".join(
        f'<th scope="col">{escape(source)}<small>{len(results.cases_of(source))} cases</small></th>'
        for source in results.source_names
    )
    rows = [
        f'<tr><th scope="row">{_swatch(name, colours)}{escape(name)}</th>'
        + "".join(_source_cell(results, name, source) for source in results.source_names)
        + "</tr>"
        for name in results.class_names
    ]
    means = "".join(_source_mean(results, source) for source in results.source_names)
    return f"""<h2>Scores per source</h2>
<p class="quiet">In each cell the Dice, below it HD95 in mm, surface Dice and the number of cases scored.</p>
<div class="table"><table>
<thead><tr><th scope="col">class</th>{heads}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
<tfoot><tr><th scope="row">mean of classes</th>{means}</tr></tfoot>
</table></div>"""


def _source_cell(results: Results, name: str, source: str) -> str:
    summary = results.summary(name, source)
    if not summary.cases:
        return f'<td class="none">{_why_not_scored(results, name)}</td>'
    return _bar(summary.means["Dice"], f"{_three_scores(summary.means)} &middot; {summary.cases}</small>")


def _source_mean(results: Results, source: str) -> str:
    means = {metric: results.foreground_mean(metric, source) for metric in ("Dice", "HD95_mm", "SurfaceDice")}
    return f"<td>{_three_scores(means)}</small></td>"


def _three_scores(means: Mapping[str, float]) -> str:
    """Dice, then an open <small> with the surface metrics."""
    return f'{number(means["Dice"], 3)}<small>{number(means["HD95_mm"], 2)} &middot; {number(means["SurfaceDice"], 3)}'


def _why_not_scored(results: Results, name: str) -> str:
    return "not predicted" if name in results.unknown_classes else "not annotated"


# ---- pictures --------------------------------------------------------------------------------------------------------


def _pictures(
    results: Results, cases: Sequence[ReportCase], colours: Mapping[str, str], window: tuple[float, float] | None
) -> str:
    scores = {case.case: case for case in results.cases}
    articles = [_case(results, case, scores.get(case.case), colours, window) for case in cases]
    return f"""<h2>Pictures</h2>
<p class="quiet">In each plane the slice that shows most classes. The patient's right is on the left of axial and coronal
slices. The numbers are the Dice of the class in this case.</p>
{chr(10).join(articles)}"""


def _case(
    results: Results,
    case: ReportCase,
    scores: CaseScores | None,
    colours: Mapping[str, str],
    window: tuple[float, float] | None,
) -> str:
    source = f" <span>source {escape(scores.source)}</span>" if scores and len(results.reference.sources) > 1 else ""
    head = f'<article class="case">\n<h3>{escape(case.case)}{source}</h3>\n'
    painted = [_painted_names(annotation) for annotation in (results.reference, results.prediction)]
    try:
        volumes = [read_volume(file) for file in (case.image_file, case.reference_file, case.prediction_file)]
        label_maps = [volume.array.astype(np.int32) for volume in volumes[1:]]
        by_value = [{value: colours[name_key(name)] for value, name in names.items()} for names in painted]
        planes = case_pictures(volumes[0], *label_maps, *by_value, window)
    except (RuntimeError, ValueError, OSError) as error:
        # the reason without the reader's own words, which hold paths
        reason = str(error) if type(error) is ValueError else "one of its files cannot be read"
        return f'{head}<p class="warning">No pictures: {escape(reason)}.</p>\n</article>'
    seen = {names[value] for names, values in zip(painted, map(np.unique, label_maps)) for value in values if value in names}
    rows = "\n".join(_plane(case.case, plane) for plane in planes)
    return f"""{head}<div class="pictures">
<div class="head">image</div><div class="head">reference</div><div class="head">prediction</div>
{rows}
</div>
{_legend(results, scores, seen, colours)}
</article>"""


def _plane(case: str, plane: PlanePictures) -> str:
    figures = []
    width = f"{100 * plane.width / PANEL_PIXELS:.1f}%"
    for what in ("image", "reference", "prediction"):
        text = f"{what} of {case}, {plane.plane} slice {plane.slice_number}"
        caption = f"{plane.plane}, slice {plane.slice_number} of {plane.num_slices}" if what == "image" else "&nbsp;"
        figures.append(
            f'<figure><img src="{getattr(plane, what)}" alt="{escape(text)}" style="width: {width}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "".join(figures)


def _legend(results: Results, scores: CaseScores | None, seen: set[str], colours: Mapping[str, str]) -> str:
    """Classes that are painted or scored in a case, with their Dice."""
    metrics = scores.metrics if scores else {}
    order = dict.fromkeys((*results.class_names, *_painted_names(results.reference).values(), *results.prediction.classes))
    seen_keys = {name_key(name) for name in seen}
    entries, shown = [], set()
    for name in order:
        dice = metrics[name]["Dice"] if name in metrics else np.nan
        if name_key(name) in shown or not (name_key(name) in seen_keys or np.isfinite(dice)):
            continue
        shown.add(name_key(name))
        value = number(dice, 3) if name in metrics else "not annotated"
        entries.append(f'<li>{_swatch(name, colours)}{escape(name)}<span class="value">{value}</span></li>')
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _painted_names(annotation: Annotation) -> dict[int, str]:
    """Stored value -> name of the class or merged label that it is painted as: of nested classes the innermost."""
    by_size = sorted(zip(annotation.classes, annotation.values, annotation.regions), key=lambda entry: -len(entry[2]))
    names = {value: name for name, value, _ in by_size}
    return names | {label.value: label.name for label in annotation.merged_labels}


def _swatch(name: str, colours: Mapping[str, str]) -> str:
    return f'<span class="swatch" style="background: {colours[name_key(name)]}"></span>'


# ---- words -----------------------------------------------------------------------------------------------------------


def _problems(results: Results) -> str:
    # the reasons may hold paths, and the page is passed on
    named = escape(", ".join(results.problems))
    return f'<h2>Not scored</h2>\n<p class="warning">{named}: <code>cdpd evaluate</code> tells why.</p>'


def _how_to_read(results: Results) -> str:
    return f"""<h2>How to read the scores</h2>
<p>A case is scored on the classes that its source annotates; <b>cases</b> counts them, <b>present</b> those with the class in
the reference. <b>Dice</b> leaves out cases in which reference and prediction are both empty; it is 0 where one of them is.
<b>HD95</b> is the larger of the two directed 95th percentiles of the surface distances, over cases with both;
<b>surface Dice</b> is the share of both surfaces within {results.tolerance_mm:g} mm of each other. <b>missed</b>: in the
reference but not predicted at all; <b>spurious</b>: predicted but not in the reference at all. A merged label is scored as
the union of its classes, a class includes the classes nested in it, and a voxel that may or may not be of a class is not
held against either side. A union counts in
the mean only where none of its classes is scored alone.</p>"""


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
