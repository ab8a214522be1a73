"""cdpd plan: nnUNetv2_plan_experiment with our planners, for an nnunetv2 that cannot be linked."""

import argparse
import sys
from contextlib import suppress

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.link import FOLDER_OF_PREFIX, find_class

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
    from nnunetv2.experiment_planning import plan_and_preprocess_api, plan_and_preprocess_entrypoints

    from nnunetv2_cdpd.host import substituted

    host_look_up = plan_and_preprocess_api.recursive_find_python_class

    def look_up(folder: str, class_name: str, *arguments: object, **keywords: object) -> type | None:
        with suppress(AttributeError):
            return find_class(class_name)
        found = host_look_up(folder, class_name, *arguments, **keywords)  # nnU-Net's own, or a user's variant
        if found is None and class_name.startswith(tuple(FOLDER_OF_PREFIX)):
            raise UserError(f"-pl {class_name}: there is no such planner; README.md lists ours")
        return found

    planner_given = any(argument.split("=")[0] == "-pl" for argument in args.rest)
    # nnU-Net looks planners up in the folders of its own package only, by file names, so there is no path to extend; its
    # entry reads sys.argv. Both are lent to it for this call.
    process_arguments = sys.argv
    sys.argv = ["cdpd plan", *args.rest, *([] if planner_given else ["-pl", "nnUNetPlannerCDPD"])]
    try:
        with substituted(plan_and_preprocess_api, recursive_find_python_class=look_up):
            plan_and_preprocess_entrypoints.plan_experiment_entry()
    finally:
        sys.argv = process_arguments
