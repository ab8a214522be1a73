"""cdpd accumulate: nnUNetv2_accumulate_crossval_results, scored on what each source annotates."""

import argparse
from collections.abc import Sequence

from nnunetv2_cdpd.cli.flags import report_failed, reporter
from nnunetv2_cdpd.cli.options import add_device, add_output, by_position
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import lent_arguments
from nnunetv2_cdpd.link import DEFAULT_PLANS, DEFAULT_TRAINER

DESCRIPTION = """
nnUNetv2_accumulate_crossval_results, with its arguments (see its -h); unless given, -tr is nnUNetTrainerCDPD and -p
nnUNetCDPDPlans. Joins the validation predictions of all folds in one folder, and scores each case on what its source
annotates (nnU-Net's own command takes the rest for absent).

With --quality every network then predicts its validation cases again, from their images, and three times degraded;
what their quality can be told from goes into the model folder, for `cdpd predict --quality`.
"""
EXAMPLES = (
    "cdpd accumulate 400 -c 3d_fullres",
    "cdpd accumulate 400 -c 3d_fullres -p nnUNetCDPDLPlans -f 0 1 2",
    "cdpd accumulate 400 -c 3d_fullres --quality",
)
_OF_QUALITY = ("device", "tile_step_size", "use_mirroring", "align_windows", "clean")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd accumulate DATASET -c CONFIGURATION [any argument of nnUNetv2_accumulate_crossval_results]"
    add_output(parser, "folder for all predictions, empty or not there yet (default: in the model folder)")
    quality = parser.add_argument_group("quality of predictions")
    quality.add_argument("--quality", action="store_true", help="calibrate the model for `cdpd predict --quality`")
    add_device(quality)
    quality.add_argument(
        "-step_size", type=float, dest="tile_step_size", metavar="SHARE", help="as the predictions will have it (default: 0.5)"
    )
    quality.add_argument(
        "--disable_tta", action="store_const", const=False, dest="use_mirroring", help="as the predictions will have it"
    )
    for flag in ("--align_windows", "--clean"):
        quality.add_argument(flag, action="store_const", const=True, help="as the predictions will have it")


def run(args: argparse.Namespace) -> int:
    from nnunetv2.evaluation.find_best_configuration import accumulate_crossval_results_entry_point

    from nnunetv2_cdpd.cli.host_checks import check_trained
    from nnunetv2_cdpd.datasets.output import check_own_folder
    from nnunetv2_cdpd.evaluation.cross_validation import annotated_metrics

    for name in _OF_QUALITY:
        if not args.quality and getattr(args, name) is not None:
            raise UserError(f"argument {name}: is for argument quality; give it too, or leave both out")
    arguments = by_position(args.rest, "-d")
    if args.output is not None:  # nnU-Net empties a folder
        check_own_folder(args.output, made_here=False, command="cdpd accumulate", way_out="give another argument output")
        arguments = [*arguments, "-o", str(args.output)]
    with annotated_metrics(), lent_arguments("cdpd accumulate", arguments, tr=DEFAULT_TRAINER, p=DEFAULT_PLANS):
        into_model = args.quality or args.output is None
        check_trained(arguments, DEFAULT_TRAINER, (), written=into_model)  # nnU-Net asks for -c
        accumulate_crossval_results_entry_point()
    return _calibrate(args, arguments) if args.quality else 0


def _calibrate(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Calibrate the models that nnU-Net's command has joined the validations of."""
    from nnunetv2_cdpd.cli.host_checks import peeked
    from nnunetv2_cdpd.datasets.raw import read_dataset
    from nnunetv2_cdpd.inference.models import model_folder_of
    from nnunetv2_cdpd.quality.calibrate import calibrate_model
    from nnunetv2_cdpd.quality.collect import PathSettings

    found = peeked(arguments, "dataset", p=None, c=None, tr=None, f="+")
    if found is None:
        return 0
    folder = model_folder_of(found.dataset, found.tr or DEFAULT_TRAINER, found.p or DEFAULT_PLANS, found.c)
    given_settings = {
        "step_size": args.tile_step_size,
        "tta": args.use_mirroring,
        "align_windows": args.align_windows,
        "clean": args.clean,
    }
    settings = PathSettings(**{name: value for name, value in given_settings.items() if value is not None})
    failed = calibrate_model(
        folder,
        read_dataset(found.dataset),
        [int(fold) for fold in found.f or range(5)],
        settings=settings,
        device=args.device,
        tell=reporter(args.flags),
    )
    return report_failed(failed.items(), args.flags)
