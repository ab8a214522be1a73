"""cdpd plan: nnUNetv2_plan_experiment with our planners, for an nnunetv2 that cannot be linked."""

import argparse
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import exchanged, lent_arguments, original
from nnunetv2_cdpd.link import DEFAULT_PLANNER, class_names, own_class

DESCRIPTION = """
nnUNetv2_plan_experiment that finds nnUNetPlannerCDPD and its variants without `cdpd link`, for an nnunetv2 in a read-only
folder. Takes the arguments of nnUNetv2_plan_experiment (see its -h); -pl is nnUNetPlannerCDPD unless given. Where
CDPD_VISION_ENCODER names an encoder (as dinov2), the network gets its tokens, and plans count their memory.
It comes between nnUNetv2_extract_fingerprint and nnUNetv2_preprocess; the three stand for nnUNetv2_plan_and_preprocess.
"""
EXAMPLES = (
    """nnUNetv2_extract_fingerprint -d 400 --verify_dataset_integrity
cdpd plan -d 400
nnUNetv2_preprocess -d 400 -plans_name nnUNetCDPDPlans""",
    "cdpd plan -d 400 -pl nnUNetPlannerCDPDL -gpu_memory_target 24",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd plan -d DATASET_ID [DATASET_ID ...] [any argument of nnUNetv2_plan_experiment]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_experiment_entry

    from nnunetv2_cdpd.cli.host_checks import check_planning

    host_look_up = original("planner_look_up")

    def look_up(folder: str, class_name: str, *rest: Any, **options: Any) -> type | None:
        # Else nnU-Net's own, or a user's variant.
        found = own_class(class_name) or host_look_up(folder, class_name, *rest, **options)
        if found is None:
            ours = ", ".join(class_names(DEFAULT_PLANNER))
            raise UserError(f"-pl {class_name}: there is no such planner; ours are {ours}, nnU-Net's are taken too")
        return found

    with lent_arguments("cdpd plan", args.rest, pl=DEFAULT_PLANNER), exchanged("planner_look_up", look_up):
        check_planning(args.rest)
        plan_experiment_entry()
