"""cdpd card: what a trained model was made from, what it may be used for, and how well it does."""

import argparse
import json
import sys
from pathlib import Path

from nnunetv2_cdpd.cli.flags import reporter
from nnunetv2_cdpd.cli.options import add_output, add_place
from nnunetv2_cdpd.cli.terminal import print_json

DESCRIPTION = """
Show the card of a model folder (classes, sources with licenses and citations, scores, training, weights, intended use, limits,
and what is not known), made from what the folder holds now. With -o it is written: as JSON, as Markdown, and as a list of
components (CycloneDX). A training of nnUNetTrainerCDPD writes its card when it ends, and nnUNetv2_export_model_to_zip takes the
JSON along.
"""
EXAMPLES = (
    "cdpd card MODEL_FOLDER",
    "cdpd card MODEL_FOLDER -o MODEL_FOLDER --words words.yaml",
    "cdpd card MODEL_FOLDER -o exported.zip",
    "cdpd card MODEL_FOLDER --check",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser, ("-m",), "model", "TRAINER__PLANS__CONFIGURATION, as nnUNetv2_train writes it", metavar="MODEL_FOLDER")
    place = "folder to write the card to, such as the model folder, or a zip that nnUNetv2_export_model_to_zip wrote of it"
    words = "YAML of your own words: description, intended_use, out_of_scope, limits, license, authors, contact (docs/card.md)"
    parser.add_argument("--words", type=Path, metavar="FILE", help=words)
    shown = parser.add_mutually_exclusive_group()
    add_output(shown, place, metavar="FOLDER_OR_ZIP")
    shown.add_argument("--json", action="store_true", help="print the card as JSON")
    shown.add_argument("--components", action="store_true", help="print the list of components as JSON")
    shown.add_argument("--check", action="store_true", help="only say where the folder's card is stale; exit code 1 if it is")


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.card.check import check_card
    from nnunetv2_cdpd.card.components import components_json
    from nnunetv2_cdpd.card.files import card_of, write_card
    from nnunetv2_cdpd.card.markdown import card_markdown
    from nnunetv2_cdpd.card.words import read_words
    from nnunetv2_cdpd.errors import UserError

    if args.check and args.words is not None:
        raise UserError("argument words: nothing is written by --check; leave one of the two out")
    if args.check:
        found = list(check_card(args.model))
        for line in found:
            print(line, file=sys.stderr)
        if not found:
            print(f"{args.model}: its card tells what the folder holds")
        return 1 if found else 0
    _, card = card_of(args.model, None if args.words is None else read_words(args.words))
    if args.output is not None:
        write_card(card, args.output, args.model, reporter(args.flags))
        print(f"{args.output}: holds the card")
    elif args.json:
        print_json(lambda: card)
    elif args.components:
        print_json(lambda: json.loads(components_json(card)))
    else:
        print(card_markdown(card), end="")
    return 0
