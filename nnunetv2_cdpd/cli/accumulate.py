"""cdpd accumulate: nnUNetv2_accumulate_crossval_results, scored on what each source annotates."""

import argparse

DESCRIPTION = """
nnUNetv2_accumulate_crossval_results, with its arguments (see its -h); -tr is nnUNetTrainerCDPD unless given. Joins the validation
predictions of all folds in one folder, and scores each case on what its source annotates (nnU-Net's own command takes
the rest for absent).

  cdpd accumulate 400 -c 3d_fullres -p nnUNetCDPDPlans
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd accumulate DATASET -c CONFIGURATION [any argument of nnUNetv2_accumulate_crossval_results]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.cli.nnunet_commands import accumulate

    accumulate(args.rest)
