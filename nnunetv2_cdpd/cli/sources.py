"""cdpd sources: the public datasets that `cdpd convert` knows."""

from argparse import ArgumentParser, Namespace

from nnunetv2_cdpd.cli import convert
from nnunetv2_cdpd.cli.flags import flags_of, with_flags
from nnunetv2_cdpd.cli.terminal import print_json

DESCRIPTION = "List the public datasets, or tell what one annotates, where to get it and how its folder has to look."
EXAMPLES = (
    "cdpd sources",
    "cdpd sources KITS23",
    "cdpd sources --json",
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a public dataset (default: list all)")
    parser.add_argument("--json", action="store_true", help="print a list of them as JSON, for programs")


def run(args: Namespace) -> None:
    from nnunetv2_cdpd.conversion.describe import describe, described_as_json, overview
    from nnunetv2_cdpd.conversion.registry import public_dataset, public_datasets

    if args.json:
        chosen = public_datasets().values() if args.name is None else [public_dataset(args.name)]
        print_json(lambda: [described_as_json(dataset) for dataset in chosen])
        return
    converting = ArgumentParser()  # it is `cdpd convert` whose arguments are told of
    convert.add_arguments(converting)
    text = overview(public_datasets().values()) if args.name is None else describe(public_dataset(args.name))
    print(with_flags(text, flags_of(converting)))
