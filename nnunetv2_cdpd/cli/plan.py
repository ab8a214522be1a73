"""cdpd plan: nnUNetv2_plan_experiment with our planners, for an nnunetv2 that cannot be linked."""

import argparse

DESCRIPTION = """
nnUNetv2_plan_experiment that finds nnUNetPlannerCDPD and its variants without `cdpd link`, for an nnunetv2 in a read-only
folder. Takes the arguments of nnUNetv2_plan_experiment (see its -h); -pl is nnUNetPlannerCDPD unless given.

In place of nnUNetv2_plan_and_preprocess -d 400 -pl nnUNetPlannerCDPD:
  nnUNetv2_extract_fingerprint -d 400 --verify_dataset_integrity
  cdpd plan -d 400
  nnUNetv2_preprocess -d 400 -plans_name nnUNetCDPDPlans
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd plan -d DATASET_ID [DATASET_ID ...] [any argument of nnUNetv2_plan_experiment]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.cli.nnunet_commands import plan

    plan(args.rest)
