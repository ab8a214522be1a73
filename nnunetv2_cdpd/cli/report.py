"""cdpd report: scores, pictures and volumes as one HTML page."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_output, add_processes, given

CHOSEN_VOLUMES = 6  # where --volumes names none

DESCRIPTION = """
Write one HTML page of what `cdpd evaluate` found: tables that sort, box plots, the worst cases in three planes with the
contours of reference and prediction, training curves, a viewer of volumes. The page needs no other file and names
of a patient nothing but the case identifier. Without scores, of predictions by `cdpd predict --quality`: tables of what is
likely to be wrong with them, the worst first.
"""
EXAMPLES = (
    "cdpd report predictions --images imagesTs",
    "cdpd report -i predictions -o page.html --images imagesTs --volumes case_12 --training nnUNet_results/Dataset400_X",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = "where `cdpd evaluate` wrote summary.json, or `cdpd predict` quality.json"
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=f"{folder}; or -i FOLDER")
    parser.add_argument("-i", type=Path, dest="input", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument(
        "--images", type=Path, metavar="IMAGES", help="folder of the images, or the raw dataset (default: contours on black)"
    )
    parser.add_argument(
        "--references",
        type=Path,
        metavar="FOLDER",
        help="of the references (default: where they were scored, or moved with FOLDER)",
    )
    parser.add_argument("--predictions", type=Path, metavar="FOLDER", help="of the predictions (default: likewise)")
    add_output(parser, "the page, NAME.html, or a folder for report.html (default: FOLDER)", metavar="FILE")
    parser.add_argument("--name", metavar="TEXT", help="of these predictions on the page (default: what the files tell)")
    parser.add_argument("--other-name", metavar="TEXT", help="of those they are compared with (default: their folder)")
    parser.add_argument("--title", default="Evaluation", metavar="TEXT", help="of the page (default: %(default)s)")
    parser.add_argument(
        "--pictures",
        type=int,
        dest="num_pictures",
        metavar="N",
        help="cases with pictures, the worst first (default: 8; about 0.1 MB each)",
    )
    parser.add_argument(
        "--volumes",
        nargs="*",
        metavar="CASE",
        help=f"cases whose volume a viewer shows, about 1 MB each; without CASE {CHOSEN_VOLUMES}, the worst and typical ones",
    )
    parser.add_argument(
        "--training", nargs="+", type=Path, default=[], metavar="PLACE", help="training logs, fold folders or model folders"
    )
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="intensities shown as black and white (default: soft tissue for CT)",
    )
    add_processes(parser, "default: 1; each holds three volumes")


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.errors import UserError
    from nnunetv2_cdpd.report.folder import report_folder

    if args.folder is None:
        args.folder, args.input = args.input, None
    if args.folder is None or (args.input and args.images):
        raise UserError("give one folder, FOLDER or -i FOLDER, where `cdpd evaluate` wrote summary.json; see cdpd report -h")
    args.images = args.images or args.input  # FOLDER -i IMAGES was the spelling
    if args.window and not args.window[0] < args.window[1]:
        raise UserError(f"--window {args.window[0]:g} {args.window[1]:g}: the first must be below the second")
    args.window = args.window and tuple(args.window)
    args.volumes = CHOSEN_VOLUMES if args.volumes == [] else args.volumes
    names = (
        "output",
        "images",
        "references",
        "predictions",
        "name",
        "other_name",
        "title",
        "num_pictures",
        "volumes",
        "training",
        "window",
        "num_processes",
    )
    path = report_folder(args.folder, **given(args, *names))
    print(f"written to {path}")
