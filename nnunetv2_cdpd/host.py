"""Host: the names of nnU-Net that we exchange for the length of a call, each with the reason why there is no hook for it.

A few of nnU-Net's functions build what they use from names of their module. Exchanging the name while the host's own function
runs keeps that function the host's; a copy of it would rot with nnU-Net's next release. Should nnU-Net rename one of them,
entering ends in one line that says so, instead of doing nothing; `pytest -m host` looks at all of them. Here too are the names
of files that nnU-Net gives and looks for.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from threading import RLock
from types import ModuleType
from typing import Any

from nnunetv2_cdpd.errors import UserError

DATASET_FILE = "dataset.json"  # of a raw dataset, a preprocessed one, a model folder and predictions
PLANS_FILE = "plans.json"  # of a model folder and predictions
FINGERPRINT_FILE = "dataset_fingerprint.json"  # of a preprocessed dataset and a model folder, where nothing reads it
DEBUG_FILE = "debug.json"  # of a fold: the attributes of its trainer, as text


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
    "json_files": Exchange(
        (_TRAINER,), "save_json", "on_train_start() and what it calls write plans.json, dataset.json and splits where they belong"
    ),
    "final_metrics": Exchange(
        (_TRAINER,), "compute_metrics_on_folder", "perform_actual_validation() predicts and scores in one method"
    ),
    "final_predictor": Exchange(
        (_TRAINER,), "nnUNetPredictor", "perform_actual_validation() makes a predictor that knows windows without their place"
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
    "fill_holes": Exchange(
        ("nnunetv2.preprocessing.cropping.cropping",),
        "binary_fill_holes",
        "crop_to_nonzero() fills holes of a mask of which only the box is used where no normalization asks for the mask",
    ),
    "planner_look_up": Exchange(
        ("nnunetv2.experiment_planning.plan_and_preprocess_api",),
        "recursive_find_python_class",
        "planners are looked up in the folders of nnunetv2 itself, by file names, so there is no path to extend",
    ),
}


# Two threads that exchange a name at once would put each other's replacement back as the original.
_IN_USE = {which: RLock() for which in EXCHANGES}


@contextmanager
def exchanged(which: str, replacement: Any) -> Iterator[None]:
    """Exchange a name of `EXCHANGES`, and put the original back on leaving; another thread waits until then.

    Raises:
        UserError: This nnU-Net has no such name.
    """
    name = EXCHANGES[which].name
    with _IN_USE[which], ExitStack() as stack:
        for module in _modules_with(which):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, replacement)
        yield


def original(which: str) -> Any:
    """What nnU-Net itself has under a name of `EXCHANGES`.

    Raises:
        UserError: This nnU-Net has no such name.
    """
    return getattr(_modules_with(which)[0], EXCHANGES[which].name)


def _modules_with(which: str) -> list[ModuleType]:
    """The modules of an exchange, which all have its name."""
    exchange, modules = EXCHANGES[which], []
    for module in exchange.modules:
        try:
            modules.append(importlib.import_module(module))
            getattr(modules[-1], exchange.name)
        except (AttributeError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{error.name}."):
                raise  # what nnU-Net itself imports is not there
            version = metadata.version("nnunetv2")
            raise UserError(
                f"nnunetv2 {version} has no {module}.{exchange.name}, which nnunetv2_cdpd exchanges ({which}: {exchange.why}); "
                f"run: pip install 'nnunetv2<{version}', or take a newer nnunetv2_cdpd"
            ) from error
    return modules


NNUNET_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@contextmanager
def lent_arguments(command: str, arguments: Sequence[str], **defaults: str) -> Iterator[None]:
    """sys.argv, from which nnU-Net's entry points read, as if this command had been called.

    Args:
        command: Shown in nnU-Net's usage and errors.
        defaults: Options (without the dash) to give where the arguments do not.

    Raises:
        UserError: A variable of nnU-Net is set to nothing.
    """
    for variable in NNUNET_FOLDERS:
        if os.environ.get(variable, "set").strip() == "":  # nnU-Net would take the working folder
            raise UserError(f"{variable} is set to nothing; `export {variable}=/path/to/folder` and call again")
    given = {argument.split("=")[0] for argument in arguments}
    added = [text for name, value in defaults.items() if f"-{name}" not in given for text in (f"-{name}", value)]
    process_arguments = sys.argv
    sys.argv = [command, *arguments, *added]
    try:
        yield
    finally:
        sys.argv = process_arguments
