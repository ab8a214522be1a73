"""The one door to nnU-Net's commands: train, plan, accumulate and find-best run as they are, with our classes and our scores.

They read their arguments themselves, so `sys.argv` is lent to them; what they look up or call by name is exchanged (host.py).
"""

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import EXCHANGES, exchanged, lent_arguments
from nnunetv2_cdpd.link import FOLDER_OF_PREFIX, ensure_linked, find_class

DEFAULT_TRAINER, DEFAULT_PLANNER = "nnUNetTrainerCDPD", "nnUNetPlannerCDPD"


def train(arguments: Sequence[str]) -> None:
    """nnUNetv2_train: one process of several where a launcher started it, else as nnU-Net does it.

    Args:
        arguments: Those of nnUNetv2_train; the trainer is ours unless -tr names another.

    Raises:
        UserError: The arguments and the launcher contradict each other, or there is no such trainer.
    """
    from nnunetv2.run import run_training

    host_training = run_training.run_training

    def training(*args: Any, **kwargs: Any) -> None:
        from nnunetv2_cdpd.training.distributed import launched, process_group, rank_of_pretrained_weights

        given = inspect.signature(host_training).bind(*args, **kwargs).arguments
        num_gpus, device = given["num_gpus"], given["device"]
        if not launched():
            _check_num_gpus(num_gpus, device.type)
            host_training(*args, **kwargs)
            return
        if num_gpus > 1:
            raise UserError("-num_gpus: the launcher has started the processes already; leave -num_gpus out")
        with process_group(device), exchanged("rank_of_pretrained_weights", rank_of_pretrained_weights(device)):
            host_training(*args, **kwargs)

    with (
        lent_arguments("cdpd train", arguments, tr=DEFAULT_TRAINER),
        exchanged("training", training),
        exchanged("trainer_look_up", _trainer_look_up()),
    ):
        run_training.run_training_entry()


def plan(arguments: Sequence[str]) -> None:
    """nnUNetv2_plan_experiment; the planner is ours unless -pl names another.

    Raises:
        UserError: There is no such planner.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api, plan_and_preprocess_entrypoints

    host_look_up = plan_and_preprocess_api.recursive_find_python_class

    def look_up(folder: str, class_name: str, *args: Any, **kwargs: Any) -> type | None:
        with suppress(AttributeError):
            return find_class(class_name)
        found = host_look_up(folder, class_name, *args, **kwargs)  # nnU-Net's own, or a user's variant
        if found is None and class_name.startswith(tuple(FOLDER_OF_PREFIX)):
            raise UserError(f"-pl {class_name}: there is no such planner; README.md lists ours")
        return found

    with lent_arguments("cdpd plan", arguments, pl=DEFAULT_PLANNER), exchanged("planner_look_up", look_up):
        plan_and_preprocess_entrypoints.plan_experiment_entry()


def accumulate(arguments: Sequence[str]) -> None:
    """nnUNetv2_accumulate_crossval_results; the trainer is ours unless -tr names another."""
    from nnunetv2.evaluation.find_best_configuration import accumulate_crossval_results_entry_point

    from nnunetv2_cdpd.evaluation.cross_validation import annotated_metrics

    with annotated_metrics(), lent_arguments("cdpd accumulate", arguments, tr=DEFAULT_TRAINER):
        accumulate_crossval_results_entry_point()


def find_best(arguments: Sequence[str]) -> None:
    """nnUNetv2_find_best_configuration; the trainer is ours unless -tr names others."""
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration_entry_point

    from nnunetv2_cdpd.evaluation.cross_validation import annotated_metrics

    with annotated_metrics(), lent_arguments("cdpd find-best", arguments, tr=DEFAULT_TRAINER):
        find_best_configuration_entry_point()


def _trainer_look_up() -> Any:
    """nnU-Net's look-up, which finds ours where nnunetv2 is read-only and not linked too."""
    from nnunetv2.run import run_training

    host_look_up = getattr(run_training, EXCHANGES["trainer_look_up"].name)

    def look_up(name: str) -> type:
        with suppress(AttributeError):
            return find_class(name)
        try:
            return host_look_up(name)  # nnU-Net's own, or the user's
        except RuntimeError as error:
            raise UserError(
                f"-tr {name}: nnU-Net finds no such trainer; a folder of your own is named by nnUNet_extTrainer"
            ) from error

    return look_up


def _check_num_gpus(num_gpus: int, device: str) -> None:
    if num_gpus > 1 and device != "cuda":
        raise UserError(
            f"-num_gpus {num_gpus}: nnU-Net starts processes for GPUs only; on CPUs: "
            f"torchrun --nproc_per_node {num_gpus} --no-python cdpd train ... -device cpu"
        )
    if num_gpus > 1:
        ensure_linked()  # the processes that nnU-Net starts look the trainer up by themselves
