"""cdpd find-best: nnUNetv2_find_best_configuration, scored on what each source annotates."""

import argparse

DESCRIPTION = """
nnUNetv2_find_best_configuration, with its arguments (see its -h); -tr is nnUNetTrainerCDPD unless given. nnU-Net's own command
runs on our models too, but takes what a source does not annotate for absent; here each case is scored on what its source
annotates, as in the final validation of a training.

  cdpd find-best 400 -c 2d 3d_fullres -p nnUNetCDPDPlans
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd find-best DATASET [any argument of nnUNetv2_find_best_configuration]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.cli.nnunet_commands import find_best

    find_best(args.rest)
