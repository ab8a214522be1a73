"""Page: what an audit found as one HTML file with pictures. It names cases by dataset and identifier, and no path."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from nnunetv2_cdpd.audit.pictures import case_figures, pair_figures
from nnunetv2_cdpd.audit.result import Audit
from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.pages.html import cell, head_row, swatch, table
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.palette import colours_of
from nnunetv2_cdpd.report.page import html_page

TITLE = "Dataset audit"
URGENT = ("file", "empty", "values", "left and right", "intensities", "geometry", "volume")  # kinds, those with pictures first


def write_page(path: Path, audit: Audit, num_pictures: int) -> Path:
    """Write the page; num_pictures: of cases with findings, and of pairs."""
    layers = Layers({}, {}, {}, {}, _colours(audit))
    shown = _flagged(audit)[:num_pictures]
    anchors = {name: f"case-{number}" for number, name in enumerate(shown, start=1)}
    sections = [
        f"<h1>{TITLE}</h1>\n{_key_figures(audit)}",
        _listing(audit.listing) if audit.listing else "",
        _findings(audit, anchors, layers),
        _duplicates(audit, num_pictures),
        f"<h2>Volumes per class and source</h2>\n{_class_table(audit, layers)}",
        f"<h2>Geometry per source</h2>\n{_geometry_table(audit)}",
        _pictures(audit, shown, anchors, layers) if shown else "",
    ]
    write_text(path, html_page(TITLE, "\n".join(filter(None, sections)), layers))
    return path


def _colours(audit: Audit) -> dict[str, str]:
    annotations = {id(case.annotation): case.annotation for case in audit.cases}.values()
    return colours_of(name for each in annotations for name in (*each.classes, *(label.name for label in each.merged_labels)))


def _key_figures(audit: Audit) -> str:
    datasets = dict.fromkeys(case.dataset for case in audit.cases)
    affected = {(finding.dataset, finding.case) for finding in audit.findings if finding.case}
    figures = [
        (len(audit.cases), f"cases of {len(datasets)} dataset{'s' * (len(datasets) > 1)}"),
        (len(affected), "cases with findings"),
        (len(audit.pairs), "pairs of the same scan"),
        (len(audit.groups), "groups of them"),
    ]
    tiles = "".join(f"<li><b>{value}</b><span>{escape(label)}</span></li>" for value, label in figures)
    return f'<ul class="key-figures">{tiles}</ul>\n<p>Datasets: {escape(", ".join(datasets))}</p>'


def _listing(problems: Sequence[str]) -> str:
    return "\n".join(f'<p class="warning">{escape(problem)}</p>' for problem in problems)


def _findings(audit: Audit, anchors: dict[str, str], layers: Layers) -> str:
    if not audit.findings:
        return "<h2>Findings</h2>\n<p>None.</p>"
    head = head_row([("kind", ""), ("case", ""), ("source", ""), ("class", ""), ("what", "")])
    rows = []
    for finding in audit.findings:
        name = escape(f"{finding.dataset}/{finding.case}" if finding.case else f"all of {finding.dataset}")
        anchor = anchors.get(f"{finding.dataset}/{finding.case}")
        named = f'<a href="#{anchor}">{name}</a>' if anchor else name
        colour = f"{swatch(layers.colour(finding.name))}{escape(finding.name)}" if finding.name else ""
        words = (named, escape(finding.source), colour, escape(finding.text))
        cells = "".join(f'<td class="words">{text}</td>' for text in words)
        rows.append(f'<tr><th scope="row">{escape(finding.kind)}</th>{cells}</tr>')
    return f"<h2>Findings</h2>\n{table(head, rows)}"


def _duplicates(audit: Audit, num_pictures: int) -> str:
    if not audit.pairs:
        return "<h2>The same scan twice</h2>\n<p>No pair was found.</p>"
    head = head_row([("case", ""), ("case", ""), ("score", "1 at best"), ("shared", "of the smaller body"), ("mirrored", "")])
    rows = [
        f'<tr><th scope="row">{escape(audit.cases[pair.first].name)}</th>'
        f'<td class="words">{escape(audit.cases[pair.second].name)}</td>{cell(pair.score, 2)}{cell(pair.shared, 2)}'
        f'<td class="words">{escape(pair.mirrored)}</td></tr>'
        for pair in audit.pairs
    ]
    pictures = [
        f'<article class="case"><h3>{escape(audit.cases[pair.first].name)} = {escape(audit.cases[pair.second].name)} '
        f"<span>score {pair.score:.2f}</span></h3>\n{pair_figures(audit.cases, pair)}</article>"
        for pair in _telling(audit)[:num_pictures]
    ]
    return f"""<h2>The same scan twice</h2>
<p class="quiet">Mirrored: the two are mirror images by what their headers say, so that one of them, or its label, has left and
right or head and feet exchanged. Pictures: what the search compares, the first case turned to lie like the second one.</p>
{table(head, rows)}
{chr(10).join(pictures)}"""


def _telling(audit: Audit) -> list:
    """Pairs of which pictures tell most: the least sure ones and the mirrored ones first."""
    return sorted(audit.pairs, key=lambda pair: (not pair.mirrored, pair.score))


def _class_table(audit: Audit, layers: Layers) -> str:
    head = head_row(
        [("class", ""), ("dataset", ""), ("source", ""), ("cases", ""), ("present", ""), ("smallest", "ml"), ("median", "ml"),
         ("largest", "ml"), ("outliers", "")]
    )  # fmt: skip
    rows = [
        f'<tr><th scope="row">{swatch(layers.colour(row.name))}{escape(row.name)}</th>'
        f'<td class="words">{escape(row.dataset)}</td><td class="words">{escape(row.source)}</td>'
        f"{cell(row.cases, 0)}{cell(len(row.volumes), 0)}"
        f"{''.join(cell(ml, 1) for ml in row.range_ml)}{cell(len(row.outliers), 0, css='bad' if row.outliers else '')}</tr>"
        for row in audit.classes
    ]
    return table(head, rows)


def _geometry_table(audit: Audit) -> str:
    axes = ("left-right", "front-back", "feet-head")
    head = head_row(
        [("dataset", ""), ("source", ""), ("images", ""), *((f"voxels {axis}", "min, median, max") for axis in axes),
         *((f"mm {axis}", "min, median, max") for axis in axes), ("orientation", "of the files")]
    )  # fmt: skip
    rows = []
    for row in audit.geometry:
        ranges = "".join(f"<td>{', '.join(f'{value:.4g}' for value in values)}</td>" for values in (*row.size, *row.spacing))
        letters = ", ".join(f"{count} {name}" for name, count in row.orientations.items())
        rows.append(
            f'<tr><th scope="row">{escape(row.dataset)}</th><td class="words">{escape(row.source)}</td>{cell(row.cases, 0)}'
            f'{ranges}<td class="words">{letters}</td></tr>'
        )
    return table(head, rows)


def _flagged(audit: Audit) -> list[str]:
    """Names of cases with findings that a picture may explain, the most urgent kinds first."""
    ranked = sorted(
        (URGENT.index(finding.kind), f"{finding.dataset}/{finding.case}")
        for finding in audit.findings
        if finding.case and finding.kind in URGENT[1:]
    )
    return list(dict.fromkeys(name for _, name in ranked))


def _pictures(audit: Audit, shown: Sequence[str], anchors: dict[str, str], layers: Layers) -> str:
    cases = {case.name: case for case in audit.cases}
    articles = []
    for name in shown:
        texts = [
            f"{finding.name}: {finding.text}" if finding.name else finding.text
            for finding in audit.findings
            if f"{finding.dataset}/{finding.case}" == name
        ]
        listed = "".join(f"<li>{escape(text)}</li>" for text in texts)
        articles.append(
            f'<article class="case" id="{anchors[name]}">\n<h3>{escape(name)} <span>source {escape(cases[name].source.name)}'
            f"</span></h3>\n<ul>{listed}</ul>\n{case_figures(cases[name], layers)}</article>"
        )
    return f"""<h2>Pictures of cases with findings</h2>
<p class="quiet">In each plane the slice that shows most classes, with the contours of the label map. The patient's right is on
the left of axial and coronal slices, by the image's own geometry.</p>
{chr(10).join(articles)}"""
