"""Model folders: finding and checking them, and reading their checkpoints without executing code from them."""

import inspect
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunetv2_cdpd.annotation import moved_classes
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names, read_dataset_json
from nnunetv2_cdpd.datasets.names import dataset_name
from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS
from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.jobs import digest
from nnunetv2_cdpd.jobs.shapes import ANYTHING, NAME, Shape, check_shape, list_of, map_of, none_or, record, whole_number
from nnunetv2_cdpd.planning.one_model import differing_plans
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE, check_channels, read_plans
from nnunetv2_cdpd.pretrained.torch_files import numbers_of_numpy, read_torch
from nnunetv2_cdpd.trusted import IMAGE_READER, find_trainer, trusted

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

COPY_AGAIN = "copy it again from where it was trained"
_TOGETHER = "copy dataset.json, plans.json and checkpoint again, from one training"
# What a prediction reads of dataset.json and of a checkpoint, and what it must be.
_DATASET_JSON = record({"labels": map_of(ANYTHING, "an object of classes", least=1), "file_ending": NAME})
_TENSOR = Shape("a tensor", lambda value: isinstance(value, torch.Tensor))
_CHECKPOINT = record(
    {
        "trainer_name": NAME,
        "init_args": record({"configuration": NAME}),
        "network_weights": map_of(_TENSOR, "an object of tensors", least=1),
    },
    {"inference_allowed_mirroring_axes": none_or(list_of(whole_number(0, 2)))},
)


def model_folder_of(dataset: str, trainer: str, plans: str, configuration: str) -> Path:
    """The model folder of a dataset in nnUNet_results.

    Raises:
        UserError: There is none; the ones that there are are listed.
    """
    from nnunetv2.paths import nnUNet_results
    from nnunetv2.utilities.file_path_utilities import get_output_folder

    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results is not set; `export nnUNet_results=/path/to/models`, or give a folder as argument model")
    folder = Path(get_output_folder(dataset_name(dataset), trainer, plans, configuration))
    if not folder.is_dir():
        others = sorted(path.name for path in folder.parent.glob("*__*__*")) if folder.parent.is_dir() else []
        there = (
            f"trained are {', '.join(others)}; choose by argument trainer, argument plans and argument configuration"
            if others
            else f"nothing is trained there; train one: cdpd train {dataset} {configuration} 0"
        )
        raise UserError(f"{folder}: no such model; {there}")
    return folder


def read_descriptions(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plans and the dataset.json of a model folder.

    Raises:
        UserError: There is no model folder, or one of the files cannot be read or lacks what a prediction needs.
    """
    if folder.is_file():
        raise UserError(f"{folder}: a file, no model folder; {_unpacked(folder)}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a model folder, as nnUNetv2_train writes it")
    path, described = folder / PLANS_FILE, folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"{folder}: no {PLANS_FILE}; give a model folder, TRAINER__PLANS__CONFIGURATION")
    plans = read_plans(path, COPY_AGAIN)
    dataset_json = dict(read_dataset_json(described, needed=()).content)
    check_shape(dataset_json, _DATASET_JSON, described, COPY_AGAIN)
    channel_names(dataset_json, described)
    _check_writer(plans, dataset_json["file_ending"], path, described)
    return plans, dataset_json


def _check_writer(plans: Mapping[str, Any], ending: str, path: Path, described: Path) -> None:
    """Raise UserError where the predictions could not be written, before there are any."""
    writer: type[BaseReaderWriter] = trusted(
        plans["image_reader_writer"], IMAGE_READER, f"{path}: `image_reader_writer`", COPY_AGAIN
    )
    # nnU-Net lists some formats of SimpleITK only.
    writes = [*writer.supported_file_endings, *(VOLUME_ENDINGS if issubclass(writer, SimpleITKIO) else ())]
    if ending.lower() not in writes:
        raise UserError(
            f"{described}: `file_ending` is {ending}, which {writer.__name__}, the `image_reader_writer` of {path}, does not "
            f"write ({', '.join(dict.fromkeys(writes))}); {_TOGETHER}"
        )


def _unpacked(file: Path) -> str:
    if zipfile.is_zipfile(file) and file.suffix == ".zip":
        return "nnUNetv2_install_pretrained_model_from_zip unpacks one that you trust into nnUNet_results"
    return "give the folder that plans.json lies in"


def folds_of(folder: Path, wanted: Sequence[int | str] | None, checkpoint_name: str) -> list[int | str]:
    """The folds to use; raises UserError where one has no checkpoint."""
    names = (path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint_name}"))
    found = sorted(name for name in names if name == "all" or name.isdecimal())  # others are no folds of nnU-Net's
    if not found:
        there = sorted(path.name for path in folder.glob("fold_*") if path.is_dir()) or ["fold_X"]
        wanted_files = listed([f"{name}/{checkpoint_name}" for name in there])
        raise UserError(f"{folder}: no {wanted_files}; train first, or choose another checkpoint")
    if wanted is None:
        return [int(fold) for fold in found if fold.isdecimal()] or ["all"]
    missing = [str(fold) for fold in wanted if str(fold) not in found]
    if missing:
        raise UserError(f"{folder}: no {checkpoint_name} of fold {', '.join(missing)}; there is one of {', '.join(found)}")
    return [fold if fold == "all" else int(fold) for fold in wanted]


def read_checkpoint(file: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint of nnU-Net, read without executing code from it.

    Args:
        mapped: Leave the weights in the file until they are looked at.

    Raises:
        UserError: There is none, it needs code to be read, is damaged, or is no checkpoint of nnU-Net.
    """
    way_out = "give a checkpoint that nnUNetv2_train wrote"
    checkpoint = read_torch(file, f"{COPY_AGAIN}, or choose another checkpoint", way_out, numbers_of_numpy(), mapped)
    check_shape(checkpoint, _CHECKPOINT, file, way_out)
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
    used = folds_of(folder, folds, checkpoint_name)
    checkpoints = [read_checkpoint(folder / f"fold_{fold}" / checkpoint_name) for fold in used]
    first, weights = checkpoints[0], [checkpoint["network_weights"] for checkpoint in checkpoints]
    files = [folder / f"fold_{fold}" / checkpoint_name for fold in used]
    path, described = folder / PLANS_FILE, folder / FILE_NAME
    trainer = find_trainer(first["trainer_name"], f"{files[0]}: `trainer_name`")
    plans_manager = PlansManager(plans)
    name = first["init_args"]["configuration"]
    if name not in plans_manager.available_configurations:
        known = listed(plans_manager.available_configurations)
        raise UserError(f"{path}: no configuration {name!r}, of which {files[0]} is, but {known}; {_TOGETHER}")
    configuration = plans_manager.get_configuration(name)
    channels = channel_names(dataset_json, described)
    check_channels(plans, configuration.configuration, len(channels), path, _TOGETHER)
    try:
        num_classes = plans_manager.get_label_manager(dataset_json).num_segmentation_heads
    except Exception as error:  # what nnU-Net's label manager stumbles over
        raise UserError(f"{described}: nnU-Net cannot use its `labels` ({reason(error)}); {COPY_AGAIN}") from error
    prompts = configuration.network_arch_init_kwargs.get("text", {}).get("class_prompts")
    extensions = configuration.network_arch_init_kwargs.get("extensions", ())
    prompted = num_classes if prompts is None else len(prompts) + sum(len(each["class_prompts"]) for each in extensions)
    if prompted != num_classes:
        raise UserError(f"{described}: {num_classes} classes, and the network of {path} has {prompted}; {_TOGETHER}")
    try:
        num_inputs = determine_num_input_channels(plans_manager, configuration, dataset_json)
        network = _build_network(trainer, plans_manager, configuration, num_inputs, num_classes)
    except UserError:
        raise
    except Exception as error:  # of the network's parts, which check their arguments in their own ways
        raise UserError(
            f"{path}: no network can be built of `configurations: {name}: architecture` ({reason(error)}); {_TOGETHER}"
        ) from error
    for file, checkpoint in zip(files, checkpoints):
        _check_weights(network, checkpoint["network_weights"], file, path)
        check_of_model(folder, plans, dataset_json, file, checkpoint["init_args"])
    _share_equal_tensors(weights)
    network.load_state_dict(weights[0])
    axes = first.get("inference_allowed_mirroring_axes")
    return TrainedModel(network, plans_manager, configuration, weights, dataset_json, first["trainer_name"], axes)


def check_of_model(
    folder: Path, plans: Mapping[str, Any], dataset_json: Mapping[str, Any], file: Path, trained_with: Mapping[str, Any]
) -> None:
    """Raise UserError unless a fold was trained as plans.json and dataset.json of its model have it.

    Args:
        file: Its checkpoint.
        trained_with: `init_args` of the checkpoint.
    """
    if moved := moved_classes(trained_with.get("dataset_json") or dataset_json, dataset_json):
        raise UserError(
            f"{file}: trained with a dataset.json in which {listed(moved)} had other heads or stored values than in "
            f"{folder / FILE_NAME}; {_TOGETHER}, or leave the fold out"
        )
    of_fold = trained_with.get("plans")
    if isinstance(of_fold, Mapping) and (told := differing_plans(of_fold, plans, trained_with["configuration"])):
        raise UserError(
            f"{file}: trained with another network or preprocessing than {folder / PLANS_FILE} has ({listed(told)}); "
            f"{_TOGETHER}, or leave the fold out"
        )


def _share_equal_tensors(weights: Sequence[dict[str, Any]]) -> None:
    """Hold what folds have in common once: a frozen vision encoder is the most of a network's weights."""
    for others in weights[1:]:
        same = {key: v for key, v in weights[0].items() if v.dtype == others[key].dtype and torch.equal(v, others[key])}
        others |= same


def weights_digest(weights: Sequence[Mapping[str, Tensor]]) -> str:
    """What tells the weights of each fold from those of another training, wherever the files lie."""
    return digest(
        [[crc32(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data) for tensor in fold.values()] for fold in weights]
    )


def _check_weights(network: nn.Module, state_dict: dict[str, Any], file: Path, plans: Path) -> None:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state_dict]
    others = [key for key in state_dict if key not in expected]
    wrong = [key for key in expected if key in state_dict and state_dict[key].shape != expected[key].shape]
    told = [f"{what} {listed(keys, 2)}" for keys, what in ((missing, "lacks"), (others, "has in addition")) if keys]
    told += [f"has another size of {listed(wrong, 2)}"] if wrong else []
    if told:
        raise UserError(f"{file}: its weights are not of the network of {plans}: it {' and '.join(told)}; {_TOGETHER}")
    broken = [key for key, value in state_dict.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"{file}: weights that are no finite numbers ({listed(broken, 2)}); the training failed, take another")


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
