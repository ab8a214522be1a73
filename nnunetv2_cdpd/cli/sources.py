"""cdpd sources: the public datasets that `cdpd convert` knows."""

from argparse import ArgumentParser, Namespace

from nnunetv2_cdpd.cli import convert
from nnunetv2_cdpd.cli.flags import flags_of, with_flags

DESCRIPTION = "List the public datasets, or tell what one annotates, where to get it and how its folder has to look."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a public dataset (default: list all)")


def run(args: Namespace) -> None:
    from nnunetv2_cdpd.conversion.describe import describe, overview
    from nnunetv2_cdpd.conversion.registry import public_dataset, public_datasets

    converting = ArgumentParser()  # it is `cdpd convert` whose arguments are told of
    convert.add_arguments(converting)
    text = overview(public_datasets().values()) if args.name is None else describe(public_dataset(args.name))
    print(with_flags(text, flags_of(converting)))
