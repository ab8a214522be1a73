"""cdpd place: learn where in the body each class can lie."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.flags import report_failed, reporter
from nnunetv2_cdpd.cli.options import OUTPUT, add_dataset_place, add_processes

DESCRIPTION = """
Learn from a raw dataset of CTs where in the body each class can lie: the range along the body, from front to back and
sideways, from the cases whose source annotates it. Nothing is said of a class that fewer than five cases show.

Writes place.json into the dataset's folder of nnUNet_preprocessed; trainings that start then copy it into their model
folder. `cdpd predict --clean` of such a model and `cdpd clean --place` remove false structures by it.
"""
EXAMPLES = (
    """cdpd place 400
cdpd clean predictions cleaned --place nnUNet_preprocessed/Dataset400_MultiCT --images imagesTs""",
    """cdpd place 400 -o MODEL_FOLDER
cdpd predict -i imagesTs -o predictions -m MODEL_FOLDER --clean""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, "id, name or folder of a raw dataset")
    parser.add_argument(
        *OUTPUT,
        type=Path,
        dest="output",
        metavar="OUTPUT",
        help="where to write, or the folder of a model that is trained already (default: the dataset's, in nnUNet_preprocessed)",
    )
    add_processes(parser, "default: nnU-Net's, at most one per core")


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.place.learning import learn_dataset, place_table

    place, path, failed = learn_dataset(args.dataset, args.output, num_processes=args.num_processes, report=reporter(args.flags))
    print(place_table(place))
    print(f"written to {path}")
    return report_failed(failed.items(), args.flags)
