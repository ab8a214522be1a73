"""Host: the names of nnU-Net that we exchange for the length of a call, each with the reason why there is no hook for it.

A few of nnU-Net's functions build what they use from names of their module. Exchanging the name while the host's own function
runs keeps that function the host's; a copy of it would rot with nnU-Net's next release. Should nnU-Net rename one of them,
entering fails at once instead of doing nothing; `pytest -m host` looks at all of them.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """A name of nnU-Net.

    modules: Where it is looked up, dotted.
    why: Why it has to be exchanged there.
    """

    modules: tuple[str, ...]
    name: str
    why: str


_TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
_RUN = "nnunetv2.run.run_training"
EXCHANGES = {
    "data_parallel": Exchange(
        (_TRAINER,), "DDP", "initialize() wraps the network for the GPU of the rank, though a launcher may number GPUs by node"
    ),
    "data_loader": Exchange(
        (_TRAINER,), "nnUNetDataLoader", "get_dataloaders() builds loader, transforms and augmenter in one method"
    ),
    "final_metrics": Exchange(
        (_TRAINER,), "compute_metrics_on_folder", "perform_actual_validation() predicts and scores in one method"
    ),
    "cross_validation_metrics": Exchange(
        (
            "nnunetv2.evaluation.accumulate_cv_results",
            "nnunetv2.evaluation.find_best_configuration",
            "nnunetv2.postprocessing.remove_connected_components",
        ),
        "compute_metrics_on_folder",
        "the cross-validation commands score folders by this function and take no other",
    ),
    "training": Exchange(
        (_RUN,), "run_training", "the command starts it when it has read its arguments, and starts processes for GPUs only"
    ),
    "trainer_look_up": Exchange(
        (_RUN,),
        "recursive_find_trainer_class_by_name",
        "trainers are looked up in folders, which a read-only nnunetv2 cannot have",
    ),
    "rank_of_pretrained_weights": Exchange(
        ("nnunetv2.run.load_pretrained_weights",), "dist", "-pretrained_weights are loaded onto the GPU of the rank"
    ),
    "planner_look_up": Exchange(
        ("nnunetv2.experiment_planning.plan_and_preprocess_api",),
        "recursive_find_python_class",
        "planners are looked up in the folders of nnunetv2 itself, by file names, so there is no path to extend",
    ),
}


@contextmanager
def exchanged(which: str, replacement: Any) -> Iterator[None]:
    """Exchange a name of `EXCHANGES`, and put the original back on leaving.

    Raises:
        RuntimeError: This nnU-Net has no such name.
    """
    exchange = EXCHANGES[which]
    with ExitStack() as stack:
        for module in exchange.modules:
            imported = importlib.import_module(module)
            stack.callback(setattr, imported, exchange.name, original(imported, exchange.name, which))
            setattr(imported, exchange.name, replacement)
        yield


def original(module: ModuleType, name: str, which: str) -> Any:
    """What nnU-Net has under a name.

    Raises:
        RuntimeError: Nothing.
    """
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise RuntimeError(
            f"this release of nnU-Net has no {module.__name__}.{name} any more; `{which}` of nnunetv2_cdpd.host has to follow it, "
            "until then use an older nnunetv2"
        ) from error


@contextmanager
def lent_arguments(command: str, arguments: Sequence[str], **defaults: str) -> Iterator[None]:
    """sys.argv, from which nnU-Net's entry points read, as if this command had been called.

    Args:
        command: Shown in nnU-Net's usage and errors.
        defaults: Options (without the dash) to give where the arguments do not.
    """
    given = {argument.split("=")[0] for argument in arguments}
    added = [text for name, value in defaults.items() if f"-{name}" not in given for text in (f"-{name}", value)]
    process_arguments = sys.argv
    sys.argv = [command, *arguments, *added]
    try:
        yield
    finally:
        sys.argv = process_arguments
