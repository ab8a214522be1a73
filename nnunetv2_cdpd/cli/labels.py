"""cdpd labels: what each source's label values say about each class, and why."""

import argparse
import sys

from nnunetv2_cdpd.cli.options import DATASET_HELP, add_dataset_place
from nnunetv2_cdpd.cli.terminal import print_json

DESCRIPTION = """
Show, for every source of a dataset, what a stored label value says about each class: positive, negative or not supervised,
and why. This is the table that the loss, the validation and `cdpd evaluate` read.

With --check, only look for what cannot be (a class both annotated and in a merged label of the same source, a region that no
label fills, a class nested in itself, ...): one line each and exit code 1, or one line and 0 where all is well.
"""
EXAMPLES = (
    "cdpd labels 400",
    "cdpd labels nnUNet_raw/Dataset400_MultiCT/dataset.json --check",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, DATASET_HELP)
    parser.add_argument("--source", nargs="+", metavar="SOURCE", help="only these sources (default: all)")
    parser.add_argument(
        "--all-values", action="store_true", help="also the rows of values that a source's label maps do not hold"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--check", action="store_true", help="only list contradictions; exit code 1 if there are any")
    output.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.annotation import cases_without_source, contradictions, never_learned, read_unchecked_annotation
    from nnunetv2_cdpd.annotation.explain import choose_sources, table_as_text, tables_as_json
    from nnunetv2_cdpd.datasets.dataset_json import dataset_json_of

    dataset_json = dataset_json_of(args.dataset)
    path = dataset_json.path
    if args.check:
        annotation = read_unchecked_annotation(dataset_json.content, path)
        found = list(contradictions(annotation)) or [*cases_without_source(annotation), *never_learned(annotation)]
        for line in found:
            print(f"{path}: {line}", file=sys.stderr)
        if not found:
            print(f"{path}: {len(annotation.classes)} classes, {len(annotation.sources)} sources, no contradiction")
        return 1 if found else 0
    annotation = dataset_json.annotation
    sources = choose_sources(annotation, args.source)
    if args.json:
        print_json(lambda: tables_as_json(annotation, sources))
    else:
        print("\n\n".join(table_as_text(annotation, source, args.all_values) for source in sources))
    return 0
