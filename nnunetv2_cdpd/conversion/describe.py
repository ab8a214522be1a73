"""A public dataset in words, or as JSON: for `cdpd sources`."""

from collections.abc import Iterable
from dataclasses import asdict
from textwrap import indent, wrap
from typing import Any

from nnunetv2_cdpd.conversion.declaration import SourceDataset

_WIDTH = 110


def overview(datasets: Iterable[SourceDataset]) -> str:
    """A paragraph per dataset: cases, classes, license, size, link."""
    lines = []
    for dataset in datasets:
        names = dataset.structures if len(dataset.structures) <= 20 else (f"{len(dataset.structures)} structures",)
        lines += [f"{dataset.name}: {dataset.num_cases} cases, {dataset.region}, {dataset.size}", *_indented(", ".join(names))]
        lines += [f"    license: {dataset.license}", f"    {dataset.link}"]
    lines.append("\n`cdpd sources NAME` tells how its folder has to look; `cdpd convert NAME FOLDER` converts it")
    return "\n".join(lines)


def describe(dataset: SourceDataset) -> str:
    """All that is declared."""
    lines = [f"{dataset.name}: {dataset.title}", f"  {dataset.num_cases} cases, {dataset.region}, {dataset.size}"]
    lines += [f"  license:   {dataset.license}", f"  get it at: {dataset.link}", f"  reference: {dataset.reference}"]
    lines += ["  unpacked, below the folder that you give:"]
    lines.append(indent(dataset.layout.strip("\n"), "    "))
    for source, annotated in dataset.annotated_by_source.items():
        lines += [f"  {source} annotates", *_indented(", ".join(annotated))]
    for name, meant in dataset.merged_labels.items():
        lines.append(f"  {name} means {' or '.join(meant)}, not known which (argument split_sides separates clear cases)")
    lines += [f"  {inner} lies in {outer}" for inner, outer in dataset.nested.items()]
    lines += [f"  {name} is {', '.join(members)}" for name, members in dataset.unions.items()]
    for name, text in dataset.definitions.items():
        lines += _indented(f"{name}: {text}", "  ")
    if dataset.definitions:
        name = next(iter(dataset.definitions))
        lines.append(f"  (`labels: {{{name}: {name}@{dataset.name}}}` in the YAML of `cdpd merge` keeps such a class apart)")
    for erratum in dataset.errata:
        cases = ", ".join(erratum.cases[:6]) + (" ..." if len(erratum.cases) > 6 else "")
        said_by = f" ({erratum.source})" if erratum.source else ""
        lines += _indented(f"{'skipped' if erratum.skip else 'known'}: {cases}: {erratum.reason}{said_by}", "  ")
    if dataset.sources_by_content:
        text = "each case belongs to the smallest of these sources that annotates all that its label holds; "
        text += "one whose label holds nothing is left out"
        lines += _indented(text, "  ")
    if dataset.ignore_values:
        lines.append(f"  label value {', '.join(map(str, dataset.ignore_values))} becomes the ignore label")
    if dataset.hu_offset:
        lines.append(f"  {dataset.hu_offset:+g} is added to the stored values of the images, which are no HU")
    if dataset.ignores:
        lines.append("  background outside of the labelled slices becomes the ignore label")
    if dataset.overlaps:
        lines += _indented(f"patients also in: {'; '.join(dataset.overlaps)}", "  ")
    for text in dataset.unchecked:
        lines += _indented(f"not checked: {text}", "  ")
    lines.append(f"\ncdpd convert {dataset.name} FOLDER argument dataset_id ID")
    return "\n".join(lines)


def described_as_json(dataset: SourceDataset) -> dict[str, Any]:
    """What a program may want to know of a dataset, JSON-able."""
    same = (
        "name",
        "title",
        "region",
        "license",
        "license_names",
        "link",
        "reference",
        "size",
        "num_cases",
        "layout",
        "structures",
    )
    kept = ("nested", "unions", "merged_labels", "definitions", "overlaps", "unchecked")
    annotates = {source: list(names) for source, names in dataset.annotated_by_source.items()}
    errata = [asdict(erratum) for erratum in dataset.errata]
    return {**_named(dataset, same), "annotates": annotates, **_named(dataset, kept), "errata": errata}


def _named(dataset: SourceDataset, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in names}


def _indented(text: str, indent: str = "    ") -> list[str]:
    return wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
