"""cdpd accumulate: nnUNetv2_accumulate_crossval_results, scored on what each source annotates."""

import argparse

from nnunetv2_cdpd.cli.options import add_output, by_position
from nnunetv2_cdpd.host import lent_arguments
from nnunetv2_cdpd.link import DEFAULT_PLANS, DEFAULT_TRAINER

DESCRIPTION = """
nnUNetv2_accumulate_crossval_results, with its arguments (see its -h); unless given, -tr is nnUNetTrainerCDPD and -p
nnUNetCDPDPlans. Joins the validation predictions of all folds in one folder, and scores each case on what its source
annotates (nnU-Net's own command takes the rest for absent).
"""
EXAMPLES = (
    "cdpd accumulate 400 -c 3d_fullres",
    "cdpd accumulate 400 -c 3d_fullres -p nnUNetCDPDLPlans -f 0 1 2",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd accumulate DATASET -c CONFIGURATION [any argument of nnUNetv2_accumulate_crossval_results]"
    add_output(parser, "folder for all predictions, empty or not there yet (default: in the model folder)")


def run(args: argparse.Namespace) -> None:
    from nnunetv2.evaluation.find_best_configuration import accumulate_crossval_results_entry_point

    from nnunetv2_cdpd.cli.host_checks import check_trained
    from nnunetv2_cdpd.datasets.output import check_own_folder
    from nnunetv2_cdpd.evaluation.cross_validation import annotated_metrics

    arguments = by_position(args.rest, "-d")
    if args.output is not None:  # nnU-Net empties a folder
        check_own_folder(args.output, made_here=False, command="cdpd accumulate", way_out="give another argument output")
        arguments = [*arguments, "-o", str(args.output)]
    with annotated_metrics(), lent_arguments("cdpd accumulate", arguments, tr=DEFAULT_TRAINER, p=DEFAULT_PLANS):
        check_trained(arguments, DEFAULT_TRAINER, ())  # nnU-Net asks for -c
        accumulate_crossval_results_entry_point()
