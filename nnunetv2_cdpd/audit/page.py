"""Page: what an audit found as one HTML file with pictures. It names cases by dataset and identifier, and no path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.audit.pictures import draw_case_planes, draw_pair
from nnunetv2_cdpd.audit.result import Audit
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.palette import colours_of
from nnunetv2_cdpd.pages.tables import Cell, Table, columns, count, row_head, value, words
from nnunetv2_cdpd.pages.template import render
from nnunetv2_cdpd.same_scan.pairs import Pair

TITLE = "Dataset audit"
URGENT = ("file", "empty", "values", "left and right", "intensities", "geometry", "volume")  # kinds, those with pictures first


def write_page(path: Path, audit: Audit, num_pictures: int) -> None:
    """Write the page; num_pictures: of cases with findings, and of pairs."""
    layers = Layers({}, {}, {}, {}, _colours(audit))
    shown = _flagged(audit)[:num_pictures]
    anchors = {name: f"case-{number}" for number, name in enumerate(shown, start=1)}
    page = render(
        "audit.html",
        title=TITLE,
        colours=layers.numbered_colours,
        key_figures=_key_figures(audit),
        datasets=list(dict.fromkeys(case.dataset for case in audit.cases)),
        listing=audit.listing,
        findings=_findings(audit, anchors, layers) if audit.findings else None,
        pairs=_pairs(audit) if audit.pairs else None,
        pair_pictures=[draw_pair(audit.cases, pair) for pair in _telling(audit)[:num_pictures]],
        classes=_class_table(audit, layers),
        geometry=_geometry_table(audit),
        cases=_articles(audit, shown, anchors, layers),
    )
    write_text(path, page)


def _colours(audit: Audit) -> dict[str, str]:
    annotations = {id(case.annotation): case.annotation for case in audit.cases}.values()
    return colours_of(name for each in annotations for name in (*each.classes, *(label.name for label in each.merged_labels)))


def _key_figures(audit: Audit) -> list[tuple[int, str]]:
    datasets = {case.dataset for case in audit.cases}
    affected = {(finding.dataset, finding.case) for finding in audit.findings if finding.case}
    return [
        (len(audit.cases), f"cases of {len(datasets)} dataset{'s' * (len(datasets) > 1)}"),
        (len(affected), "cases with findings"),
        (len(audit.pairs), "pairs of the same scan"),
        (len(audit.groups), "groups of them"),
    ]


def _findings(audit: Audit, anchors: Mapping[str, str], layers: Layers) -> Table:
    rows = []
    for finding in audit.findings:
        case = f"{finding.dataset}/{finding.case}"
        rows.append(
            [
                row_head(finding.kind),
                words(case if finding.case else f"all of {finding.dataset}", link=anchors.get(case, "")),
                words(finding.source),
                words(finding.name, layers.colour(finding.name) if finding.name else ""),
                words(finding.text),
            ]
        )
    return Table(columns("kind", "case", "source", "class", "what"), rows)


def _pairs(audit: Audit) -> Table:
    head = columns("case", "case", ("score", "1 at best"), ("shared", "of the smaller body"), "mirrored")
    rows = [
        [
            row_head(audit.cases[pair.first].name),
            words(audit.cases[pair.second].name),
            value(pair.score, 2),
            value(pair.shared, 2),
            words(pair.mirrored),
        ]
        for pair in audit.pairs
    ]
    return Table(head, rows)


def _telling(audit: Audit) -> list[Pair]:
    """Pairs of which pictures tell most: the least sure ones and the mirrored ones first."""
    return sorted(audit.pairs, key=lambda pair: (not pair.mirrored, pair.score))


def _class_table(audit: Audit, layers: Layers) -> Table:
    head = columns(
        "class", "dataset", "source", "cases", "present", ("smallest", "ml"), ("median", "ml"), ("largest", "ml"), "outliers"
    )
    rows = [
        [
            row_head(row.name, layers.colour(row.name)),
            words(row.dataset),
            words(row.source),
            count(row.cases),
            count(len(row.volumes)),
            *(value(ml, 1) for ml in row.range_ml),
            count(len(row.outliers), "bad"),
        ]
        for row in audit.classes
    ]
    return Table(head, rows)


def _geometry_table(audit: Audit) -> Table:
    axes = ("left-right", "front-back", "feet-head")
    ranges = ((f"{what} {axis}", "min, median, max") for what in ("voxels", "mm") for axis in axes)
    head = columns("dataset", "source", "images", *ranges, ("orientation", "of the files"))
    rows = [
        [
            row_head(row.dataset),
            words(row.source),
            count(row.cases),
            *(Cell(", ".join(f"{number:.4g}" for number in values)) for values in (*row.size, *row.spacing)),
            words(", ".join(f"{number} {name}" for name, number in row.orientations.items())),
        ]
        for row in audit.geometry
    ]
    return Table(head, rows)


def _flagged(audit: Audit) -> list[str]:
    """Names of cases with findings that a picture may explain, the most urgent kinds first."""
    ranked = sorted(
        (URGENT.index(finding.kind), f"{finding.dataset}/{finding.case}")
        for finding in audit.findings
        if finding.case and finding.kind in URGENT[1:]
    )
    return list(dict.fromkeys(name for _, name in ranked))


def _articles(audit: Audit, shown: Sequence[str], anchors: Mapping[str, str], layers: Layers) -> list[dict[str, Any]]:
    """Pictures of the shown cases, each with what was found in it; or why there are none."""
    cases = {case.name: case for case in audit.cases}
    articles: list[dict[str, Any]] = []
    for name in shown:
        texts = [
            f"{finding.name}: {finding.text}" if finding.name else finding.text
            for finding in audit.findings
            if f"{finding.dataset}/{finding.case}" == name
        ]
        case = cases[name]
        article = {
            "anchor": anchors[name],
            "name": name,
            "identifier": case.identifier,
            "source": case.source.name,
            "texts": texts,
            "problem": None,
        }
        try:
            article["planes"] = draw_case_planes(case, layers)
        except UserError as error:
            article["problem"] = str(error)
        articles.append(article)
    return articles
