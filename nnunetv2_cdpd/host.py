"""Host: names that are exchanged inside nnU-Net for the length of one call, each with the reason why it has no hook for it.

A few of nnU-Net's functions build what they use from names of their module. Exchanging the name while the host's own function
runs keeps that function the host's; a copy of it would rot with nnU-Net's next release. Where a release moves a name, or no
longer uses it, entering fails at once and says which function of this file has to be changed (tests/test_host.py enters all).
"""

import importlib
import importlib.metadata
import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Any

from nnunetv2_cdpd.errors import UserError

Exchange = AbstractContextManager[None]

_TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
_RUN = "nnunetv2.run.run_training"


# ---- training --------------------------------------------------------------------------------------------------------


def data_parallel(wrap: Callable[..., Any]) -> Exchange:
    """`initialize` wraps the network in DDP between the optimizer and the loss; it takes the rank for the index of the GPU."""
    return _exchanged("data_parallel", wrap, (_TRAINER, "nnUNetTrainer.initialize", "DDP"))


def data_loader(make: Callable[..., Any]) -> Exchange:
    """`get_dataloaders` makes the loaders and has their processes load a first batch before it returns."""
    return _exchanged("data_loader", make, (_TRAINER, "nnUNetTrainer.get_dataloaders", "nnUNetDataLoader"))


def final_metrics(compute: Callable[..., dict[str, Any]]) -> Exchange:
    """`perform_actual_validation` predicts, scores and logs the scores in one function."""
    use = (_TRAINER, "nnUNetTrainer.perform_actual_validation", "compute_metrics_on_folder")
    return _exchanged("final_metrics", compute, use)


# ---- commands --------------------------------------------------------------------------------------------------------


def training(run: Callable[..., None]) -> Exchange:
    """nnUNetv2_train parses its arguments and trains in one function."""
    return _exchanged("training", run, (_RUN, "run_training_entry", "run_training"))


def trainer_look_up(find: Callable[[str], type]) -> Exchange:
    """nnUNetv2_train finds trainers in its own folder and in nnUNet_extTrainer only."""
    return _exchanged("trainer_look_up", find, (_RUN, "get_trainer_from_args", "recursive_find_trainer_class_by_name"))


def process_of_pretrained_weights(process: Any) -> Exchange:
    """-pretrained_weights asks torch.distributed for the rank, and takes it for the index of the GPU to load onto."""
    use = ("nnunetv2.run.load_pretrained_weights", "load_pretrained_weights", "dist")
    return _exchanged("process_of_pretrained_weights", process, use)


def planner_look_up(find: Callable[..., type | None]) -> Exchange:
    """nnUNetv2_plan_experiment finds planners in the folders of its own package only, by file names."""
    use = ("nnunetv2.experiment_planning.plan_and_preprocess_api", "plan_experiments", "recursive_find_python_class")
    return _exchanged("planner_look_up", find, use)


def cross_validation_metrics(compute: Callable[..., dict[str, Any]]) -> Exchange:
    """nnU-Net scores folds, ensembles and their postprocessing where it makes them, in three modules."""
    name = "compute_metrics_on_folder"
    return _exchanged(
        "cross_validation_metrics",
        compute,
        ("nnunetv2.evaluation.accumulate_cv_results", "accumulate_cv_results", name),
        ("nnunetv2.evaluation.find_best_configuration", "find_best_configuration", name),
        ("nnunetv2.postprocessing.remove_connected_components", "determine_postprocessing", name),
    )


EXCHANGES: tuple[Callable[[Any], Exchange], ...] = (
    data_parallel,
    data_loader,
    final_metrics,
    training,
    trainer_look_up,
    process_of_pretrained_weights,
    planner_look_up,
    cross_validation_metrics,
)


@contextmanager
def _exchanged(exchange: str, replacement: Any, *uses: tuple[str, str, str]) -> Iterator[None]:
    """Put the replacement in place of names, each given as (module, the function of it that uses the name, name).

    Raises:
        UserError: This nnU-Net has no such name, or that function makes no use of it.
    """
    with ExitStack() as stack:
        for module_name, user, name in uses:
            stack.enter_context(_attribute(_module_that_uses(exchange, module_name, user, name), name, replacement))
        yield


def _module_that_uses(exchange: str, module_name: str, user: str, name: str) -> ModuleType:
    try:
        module = importlib.import_module(module_name)
        function = inspect.unwrap(operator.attrgetter(user)(module))
        if hasattr(module, name) and name in function.__code__.co_names:
            return module
    except (ImportError, AttributeError):
        pass  # said below
    raise UserError(
        f"nnU-Net {importlib.metadata.version('nnunetv2')} has no {name} in {module_name}.{user} any more: "
        f"nnunetv2_cdpd.host.{exchange} has to be changed; until then, install the nnunetv2 that it was written for (2.8)"
    )


@contextmanager
def _attribute(target: Any, name: str, value: Any) -> Iterator[None]:
    """The attribute has this value until the context is left."""
    own = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, own)


@contextmanager
def lent_arguments(command: str, arguments: Sequence[str], **defaults: str) -> Iterator[None]:
    """sys.argv, from which nnU-Net's entry points read, as if this command had been called.

    Args:
        command: Shown in nnU-Net's usage and errors.
        defaults: Options (without the dash) to give where the arguments do not.
    """
    given = {argument.split("=")[0] for argument in arguments}
    added = [text for name, value in defaults.items() if f"-{name}" not in given for text in (f"-{name}", value)]
    with _attribute(sys, "argv", [command, *arguments, *added]):
        yield


@contextmanager
def substituted(module: ModuleType, **replacements: Any) -> Iterator[None]:
    """Set attributes of a module and put the originals back on leaving; for what has no name above yet.

    Raises:
        AttributeError: The module has no such name.
    """
    with ExitStack() as stack:
        for name, replacement in replacements.items():
            stack.enter_context(_attribute(module, name, replacement))
        yield
