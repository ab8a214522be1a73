"""cdpd clean: clean predictions by what is known of the anatomy."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.flags import report_failed
from nnunetv2_cdpd.cli.options import OUTPUT, add_place, add_processes

DESCRIPTION = """
Clean predicted label maps as the released CDPDNet code does: organs keep their largest component, the lungs are
separated, tumors lie in or at their organ. With --place and --images, what lies where its class cannot lie goes too.
Needs the dataset.json that nnUNetv2_predict puts beside the predictions.

Writes the cleaned label maps and cleanup.json, which tells what each rule changed in each case; `cdpd evaluate --compare`
shows the effect.
"""
EXAMPLES = (
    """cdpd clean -i predictions -o cleaned
cdpd evaluate cleaned labelsTs --compare predictions""",
    "cdpd clean -i predictions -o cleaned --rules sides largest",
    "cdpd clean -i predictions -o cleaned --rules place --place MODEL_FOLDER --images imagesTs",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser, ("-i",), "in_dir", "predictions, as nnUNetv2_predict writes them", metavar="IN_FOLDER")
    add_place(parser, OUTPUT, "out_dir", "folder for the cleaned predictions", metavar="OUT_FOLDER")
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="only these rules (default: all; see --list-rules)")
    parser.add_argument(
        "--place", type=Path, metavar="PLACE", help="place.json of `cdpd place`, or a folder that holds it, for the rule `place`"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the images that were predicted, for the same")
    parser.add_argument("--list-rules", action=_ListRules, nargs=0, help="say what each rule does, and end")
    add_processes(parser, "default: nnU-Net's, at most one per core")


class _ListRules(argparse.Action):
    """Like --help: prints and ends before the folders are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from nnunetv2_cdpd.cleanup.rules import RULES, description_of

        for rule in RULES:
            print(f"{rule:16}  {description_of(rule)}")
        parser.exit()


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.cleanup.folder import clean_folder, effects_table

    cleaned = clean_folder(
        args.in_dir, args.out_dir, rules=args.rules, place=args.place, images=args.images, num_processes=args.num_processes
    )
    print(effects_table(cleaned))
    print(f"written to {args.out_dir}")
    return report_failed(cleaned.failed.items(), args.flags)
