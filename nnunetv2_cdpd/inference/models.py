"""Model folders: finding and checking them, and reading their checkpoints without executing code from them."""

import inspect
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names, read_dataset_json
from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.inference.plans import check_configuration, read_plans
from nnunetv2_cdpd.link import FOLDER_OF_PREFIX, find_class

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_COPY_AGAIN = "copy it again from where it was trained"
# What a prediction reads from the files of a model folder, and what it must be.
_NEEDED_IN_DATASET_JSON = {"labels": dict, "channel_names": dict, "file_ending": str}
_OF_CHECKPOINT: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "trainer_name": (lambda value: isinstance(value, str), "a name"),
    "init_args": (
        lambda value: isinstance(value, dict) and isinstance(value.get("configuration"), str),
        "the arguments of a training",
    ),
    "network_weights": (
        lambda value: isinstance(value, dict) and all(isinstance(each, torch.Tensor) for each in value.values()),
        "tensors by name",
    ),
}


def model_folder_of(dataset: str, trainer: str, plans: str, configuration: str) -> Path:
    """The model folder of a dataset in nnUNet_results.

    Raises:
        UserError: There is none; the ones that there are are listed.
    """
    from nnunetv2.utilities.file_path_utilities import get_output_folder

    try:
        folder = Path(get_output_folder(dataset, trainer, plans, configuration))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"dataset {dataset!r} is not found ({reason(error)}); set nnUNet_results, or give a folder as argument model"
        ) from error
    if not folder.is_dir():
        others = sorted(path.name for path in folder.parent.glob("*__*__*")) if folder.parent.is_dir() else []
        there = (
            f"trained are {', '.join(others)}; choose by argument trainer, argument plans and argument configuration"
            if others
            else "nothing is trained there"
        )
        raise UserError(f"{folder}: no such model; {there}")
    return folder


def read_descriptions(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plans and the dataset.json of a model folder.

    Raises:
        UserError: There is no model folder, or one of the files cannot be read or lacks what a prediction needs.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a model folder, as nnUNetv2_train writes it")
    path = folder / "plans.json"
    if not path.is_file():
        raise UserError(f"{folder}: no plans.json; give a model folder, TRAINER__PLANS__CONFIGURATION")
    plans = read_plans(path)
    dataset_json = dict(read_dataset_json(folder / FILE_NAME, needed=()).content)
    channels = dataset_json.get("channel_names") or dataset_json.get("modality")  # nnU-Net knows both
    _check_kinds(folder / FILE_NAME, {**dataset_json, "channel_names": channels}, _NEEDED_IN_DATASET_JSON)
    return plans, dataset_json


def _check_kinds(path: Path, content: Mapping[str, Any], needed: Mapping[str, type]) -> None:
    lacking = [key for key, kind in needed.items() if not content.get(key) or not isinstance(content[key], kind)]
    if lacking:
        raise UserError(f"{path}: `{lacking[0]}` is missing or malformed; {_COPY_AGAIN}")


def folds_of(folder: Path, wanted: Sequence[int | str] | None, checkpoint_name: str) -> list[int | str]:
    """The folds to use; raises UserError where one has no checkpoint."""
    found = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint_name}"))
    if not found:
        folds = sorted(path.name for path in folder.glob("fold_*")) or ["fold_X"]
        raise UserError(f"{folder}: no {folds[0]}/{checkpoint_name}; train first, or choose another checkpoint")
    if wanted is None:
        return [int(fold) for fold in found if fold.isdigit()] or ["all"]
    missing = [str(fold) for fold in wanted if str(fold) not in found]
    if missing:
        raise UserError(f"{folder}: no {checkpoint_name} of fold {', '.join(missing)}; there are {', '.join(found)}")
    return [fold if fold == "all" else int(fold) for fold in wanted]


def find_trainer(name: str) -> "type[nnUNetTrainer]":
    """Our trainers without `cdpd link`, others, a user's variants of ours among them, as nnU-Net finds them.

    Raises:
        UserError: It is unknown.
    """
    if name.startswith(tuple(FOLDER_OF_PREFIX)):
        with suppress(AttributeError):
            return find_class(name)
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise UserError(f"the model's trainer {name!r} is not known here; install what it came with") from error


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint of nnU-Net, read without executing code from it.

    Of what nnU-Net writes into one only numpy's numbers need to be allowed beside tensors and plain Python.

    Raises:
        UserError: It needs code to be read, is damaged, or is no checkpoint of nnU-Net.
    """
    scalar = np.float64(0).__reduce__()[0]
    kinds: list[Any] = [bool, *np.sctypeDict.values()]
    dtypes = {type(np.dtype(kind)) for kind in kinds if kind is not np.object_}
    allowed: list[Any] = [np.dtype, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), *dtypes]
    try:
        with torch.serialization.safe_globals(allowed):
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except Exception as error:  # a damaged file makes it raise whatever its bytes lead to
        if isinstance(error, pickle.UnpicklingError) and re.search(r"GLOBAL|allowlisted", str(error)):
            raise UserError(
                f"{file}: holds more than tensors and numbers, and is not read, because that would run code from it; get it from "
                "whom you trust, and export it again with nnU-Net"
            ) from error
        raise UserError(f"{file}: damaged, or no checkpoint; copy it again from where it was trained") from error
    for key, (is_right, wanted) in _OF_CHECKPOINT.items():
        if not isinstance(checkpoint, dict) or key not in checkpoint:
            raise UserError(f"{file}: no checkpoint of nnU-Net (`{key}` is missing); choose one that nnUNetv2_train wrote")
        if not is_right(checkpoint[key]):
            raise UserError(f"{file}: no checkpoint of nnU-Net (`{key}` is not {wanted}); choose one that nnUNetv2_train wrote")
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    if axes is not None and not (isinstance(axes, (list, tuple)) and set(axes) <= {0, 1, 2}):
        raise UserError(f"{file}: no checkpoint of nnU-Net (`inference_allowed_mirroring_axes` are no axes)")
    return checkpoint


class TrainedModel(NamedTuple):
    """What nnU-Net's `manual_initialization` takes of a model folder, in its order; weights: of each fold, on the CPU."""

    network: nn.Module
    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    weights: list[dict[str, Any]]
    dataset_json: dict[str, Any]
    trainer_name: str
    mirroring_axes: tuple[int, ...] | None


def load_model(folder: Path, folds: Sequence[int | str] | None, checkpoint_name: str) -> TrainedModel:
    """Read a model folder and build its network, filled with the weights of the first fold.

    Args:
        folds: None: all that have the checkpoint ("all" only where there is no other).

    Raises:
        UserError: A file is missing or damaged, or the files are not of one training.
    """
    plans, dataset_json = read_descriptions(folder)
    files = [folder / f"fold_{fold}" / checkpoint_name for fold in folds_of(folder, folds, checkpoint_name)]
    checkpoints = [read_checkpoint(file) for file in files]
    first, weights = checkpoints[0], [checkpoint["network_weights"] for checkpoint in checkpoints]
    try:
        trainer = find_trainer(first["trainer_name"])
    except UserError as error:
        raise UserError(f"{files[0]}: {error}") from error
    name, path = first["init_args"]["configuration"], folder / "plans.json"
    if name not in plans["configurations"]:
        raise UserError(f"{path}: has no configuration {name!r}, of which {files[0]} is; {_COPY_AGAIN}")
    plans_manager = PlansManager(plans)
    try:
        configuration_manager = plans_manager.get_configuration(name)
    except (KeyError, RuntimeError, TypeError, RecursionError) as error:  # RuntimeError: configurations that inherit in a circle
        raise UserError(f"{path}: configuration {name!r} is damaged ({reason(error)}); {_COPY_AGAIN}") from error
    check_configuration(path, name, configuration_manager.configuration)
    num_channels = len(channel_names(dataset_json))
    for key in ("normalization_schemes", "use_mask_for_norm"):
        if (count := len(configuration_manager.configuration[key])) != num_channels:
            raise UserError(
                f"{path}: `{key}` of configuration {name!r} are {count}, {FILE_NAME} has {num_channels} channels; {_COPY_AGAIN}"
            )
    descriptions = f"{path} and {folder / FILE_NAME}"
    try:
        network = _build_network(
            trainer,
            plans_manager,
            configuration_manager,
            determine_num_input_channels(plans_manager, configuration_manager, dataset_json),
            plans_manager.get_label_manager(dataset_json).num_segmentation_heads,
        )
    except Exception as error:  # a network raises whatever wrong arguments lead to
        raise UserError(f"{descriptions} do not make a network ({reason(error)}); {_COPY_AGAIN}") from error
    for file, of_fold in zip(files, weights):
        try:
            network.load_state_dict(of_fold)
        except RuntimeError as error:
            raise UserError(
                f"{file}: not of the training that {descriptions} describe ({reason(error)}); {_COPY_AGAIN}"
            ) from error
    network.load_state_dict(weights[0])
    axes = first.get("inference_allowed_mirroring_axes")
    return TrainedModel(network, plans_manager, configuration_manager, weights, dataset_json, first["trainer_name"], axes)


def _build_network(
    trainer: "type[nnUNetTrainer]", plans: PlansManager, configuration: ConfigurationManager, num_inputs: int, num_outputs: int
) -> nn.Module:
    described: tuple[Any, ...] = (plans, configuration)
    if "plans_manager" not in inspect.signature(trainer.build_network_architecture).parameters:  # as before nnU-Net 2.8
        described = (
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
        )
    return trainer.build_network_architecture(*described, num_inputs, num_outputs, enable_deep_supervision=False)
