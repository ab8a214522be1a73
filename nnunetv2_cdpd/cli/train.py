"""cdpd train: nnUNetv2_train, also as one of several processes that a launcher starts, on one node or several."""

import argparse
import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.cli.options import by_position
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import exchanged, lent_arguments, original
from nnunetv2_cdpd.link import DEFAULT_PLANS, DEFAULT_TRAINER, class_names, ensure_linked, own_class

DESCRIPTION = """
nnUNetv2_train, with its arguments (see its -h); unless given, -tr is nnUNetTrainerCDPD and -p nnUNetCDPDPlans. DATASET,
CONFIGURATION and FOLD may also be given as -d, -c and -f; --c goes on with an interrupted training, and begins with
-pretrained_weights, if they are given too, where there is no checkpoint yet. CDPD_SAVE_MINUTES=15 saves that often. The
network has vision tokens where CDPD_VISION_ENCODER named an encoder (as dinov2) when plans were made, or does so now.

It differs where a launcher such as torchrun starts several processes: they train together, on one node or on several that
share nnU-Net's folders, with -device cuda (one GPU for each process of a node) or -device cpu. The last example is typed on
each of two nodes of four GPUs. The batch of the plans is shared out among all processes, so it must hold at least as many
samples.
"""
EXAMPLES = (
    "cdpd train 400 3d_fullres 0",
    "cdpd train 400 3d_fullres 0 --c                          # go on",
    """torchrun --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \\
    --no-python cdpd train 400 3d_fullres 0""",
)
NNUNET_FLAGS = {"device": "-device"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd train DATASET CONFIGURATION FOLD [any argument of nnUNetv2_train]"


def run(args: argparse.Namespace) -> None:
    import torch
    from nnunetv2.run.run_training import run_training_entry

    from nnunetv2_cdpd.cli.host_checks import check_training, check_training_inputs
    from nnunetv2_cdpd.training.distributed import launched, process_group, rank_of_pretrained_weights

    host_training, host_look_up = original("training"), original("trainer_look_up")

    def training(*given: Any, **options: Any) -> None:
        """One process of several where a launcher started it, else as nnU-Net does it."""
        arguments = inspect.signature(host_training).bind(*given, **options).arguments
        num_gpus, device = arguments["num_gpus"], arguments["device"]
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError("-device cuda: this PyTorch finds no GPU here; give -device cpu, or see cdpd doctor")
        if not launched():
            _check_num_gpus(num_gpus, device.type)
        elif num_gpus > 1:
            raise UserError("-num_gpus: the launcher has started the processes already; leave -num_gpus out")
        read = ("dataset_name_or_id", "configuration", "fold", "plans_identifier", "trainer_class_name", "pretrained_weights")
        check_training_inputs(*(arguments[name] for name in (*read, "only_run_validation")))
        if arguments["continue_training"] and arguments["pretrained_weights"] is not None:  # nnU-Net takes one of them
            arguments |= {"pretrained_weights": None} if _has_begun(arguments) else {"continue_training": False}
        if not launched():
            host_training(**arguments)
            return
        with process_group(device), exchanged("rank_of_pretrained_weights", rank_of_pretrained_weights(device)):
            host_training(**arguments)

    def look_up(name: str) -> type:
        """nnU-Net's, which finds ours where nnunetv2 is read-only and not linked too."""
        try:
            return own_class(name) or host_look_up(name)  # nnU-Net's own, or the user's
        except (RuntimeError, AssertionError, TypeError) as error:
            alike = difflib.get_close_matches(name, class_names(DEFAULT_TRAINER), 3)
            meant = f"meant is maybe {' or '.join(alike)}" if alike else "docs/training.md lists ours"
            raise UserError(
                f"-tr {name}: nnU-Net finds no such trainer; {meant}, and a folder of your own is named by nnUNet_extTrainer"
            ) from error

    arguments = by_position(args.rest, "-d", "-c", "-f")
    with (
        lent_arguments("cdpd train", arguments, tr=DEFAULT_TRAINER, p=DEFAULT_PLANS),
        exchanged("training", training),
        exchanged("trainer_look_up", look_up),
    ):
        check_training(arguments)
        run_training_entry()


def _has_begun(arguments: Mapping[str, Any]) -> bool:
    """Whether a training has a checkpoint to go on from."""
    from nnunetv2.utilities.file_path_utilities import get_output_folder

    from nnunetv2_cdpd.training.checkpoints import ORDER

    names = ("dataset_name_or_id", "trainer_class_name", "plans_identifier", "configuration", "fold")
    folder = get_output_folder(*(arguments[name] for name in names))
    return any(Path(folder, name).is_file() for name in ORDER)


def _check_num_gpus(num_gpus: int, device: str) -> None:
    if num_gpus > 1 and device != "cuda":
        raise UserError(
            f"-num_gpus {num_gpus}: nnU-Net starts processes for GPUs only; on CPUs: "
            f"torchrun --nproc_per_node {num_gpus} --no-python cdpd train ... -device cpu"
        )
    if num_gpus > 1:
        ensure_linked()  # the processes that nnU-Net starts look the trainer up by themselves
