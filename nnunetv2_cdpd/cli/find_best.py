"""cdpd find-best: nnUNetv2_find_best_configuration, scored on what each source annotates."""

import argparse

from nnunetv2_cdpd.cli.options import by_position
from nnunetv2_cdpd.host import lent_arguments
from nnunetv2_cdpd.link import DEFAULT_PLANS, DEFAULT_TRAINER

DESCRIPTION = """
nnUNetv2_find_best_configuration, with its arguments (see its -h); unless given, -tr is nnUNetTrainerCDPD and -p nnUNetCDPDPlans.
nnU-Net's own command runs on our models too, but takes what a source does not annotate for absent; here each case is scored
on what its source annotates, as in the final validation of a training.
"""
EXAMPLES = (
    "cdpd find-best 400 -c 2d 3d_fullres",
    "cdpd find-best 400 -c 3d_fullres -p nnUNetCDPDPlans nnUNetCDPDLPlans -f 0 1 2 --disable_ensembling",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd find-best DATASET [any argument of nnUNetv2_find_best_configuration]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration_entry_point

    from nnunetv2_cdpd.cli.host_checks import check_trained
    from nnunetv2_cdpd.evaluation.cross_validation import annotated_metrics

    arguments = by_position(args.rest, "-d")
    with annotated_metrics(), lent_arguments("cdpd find-best", arguments, tr=DEFAULT_TRAINER, p=DEFAULT_PLANS):
        check_trained(arguments, DEFAULT_TRAINER, ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"))
        find_best_configuration_entry_point()
