"""ModelFolder: what a trained model's folder says of itself, read without executing code from it; of any trainer of nnU-Net."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.card.text import Plain, plain_cases
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson, read_dataset_json
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import DEBUG_FILE
from nnunetv2_cdpd.inference.models import COPY_AGAIN, read_checkpoint
from nnunetv2_cdpd.jobs import read_json
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE, read_plans
from nnunetv2_cdpd.training.checkpoints import FINAL, ORDER
from nnunetv2_cdpd.training.provenance import file_checksum, read_provenance

_ENSEMBLE = "ensemble___"  # begins the name of an ensemble's folder, which holds no weights
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_OF_TRAINER = (  # attributes of nnU-Net's trainer and ours that debug.json holds as text, all of them numbers or flags
    "num_epochs",
    "num_iterations_per_epoch",
    "num_val_iterations_per_epoch",
    "batch_size",
    "initial_lr",
    "weight_decay",
    "warmup_epochs",
    "oversample_foreground_percent",
    "probabilistic_oversampling",
    "enable_deep_supervision",
    "source_sampling_exponent",
    "universal_task_probability",
    "border_patches",
    "foreground_jitter",
    "batch_dice",  # where it is a flag, it goes before the plans'
)


@dataclass(frozen=True)
class Fold:
    """A fold of a model folder.

    checkpoint: Name of its file, the final one where there is one; None: there is none.
    content: What the checkpoint says beside its weights.
    debug: Content of debug.json; {}: there is none that can be read.
    """

    name: str
    checkpoint: str | None
    sha256: str | None
    content: Mapping[str, Any]
    debug: Mapping[str, Any]

    @property
    def is_finished(self) -> bool:
        return self.checkpoint == FINAL

    @property
    def settings(self) -> dict[str, float | bool]:
        """Numbers and flags of the training, by the names of the trainer's attributes."""
        found = {key: _value(self.debug.get(key)) for key in _OF_TRAINER}
        return {key: value for key, value in found.items() if value is not None}

    @property
    def provenance(self) -> Mapping[str, Any]:
        return read_provenance(self.debug)


@dataclass(frozen=True)
class ModelFolder:
    """What `read_model_folder` reads."""

    path: Path
    plans: Mapping[str, Any]
    dataset_json: DatasetJson
    folds: tuple[Fold, ...]

    @property
    def annotation(self) -> Annotation:
        return self.dataset_json.annotation

    @cached_property
    def plain(self) -> Plain:
        """Takes this dataset's case identifiers out of texts."""
        listed = self.dataset_json.content.get("dataset")
        return plain_cases([*(self.annotation.case_source or ()), *(listed if isinstance(listed, Mapping) else ())])

    @property
    def trained(self) -> tuple[Fold, ...]:
        """The folds that have a checkpoint."""
        return tuple(fold for fold in self.folds if fold.checkpoint is not None)

    @cached_property
    def configuration(self) -> str | None:
        """That of the checkpoints; without any, what the folder's name says, or the only one of the plans."""
        said = [fold.content["init_args"]["configuration"] for fold in self.trained]
        named = self.path.resolve().name.split("__")[-1]
        known = list(self.plans["configurations"])
        return said[0] if said else named if named in known else known[0] if len(known) == 1 else None

    @property
    def trainer(self) -> str | None:
        parts = self.path.resolve().name.split("__")
        return self.trained[0].content["trainer_name"] if self.trained else parts[0] if len(parts) == 3 else None

    @property
    def architecture(self) -> Mapping[str, Any]:
        """Entry of the plans; {} where it is not known which, or it has none."""
        configuration = self.plans["configurations"].get(self.configuration or "", {})
        while isinstance(configuration, Mapping) and "architecture" not in configuration and "inherits_from" in configuration:
            parent = self.plans["configurations"].get(configuration["inherits_from"])
            configuration = {**parent, **{k: v for k, v in configuration.items() if k != "inherits_from"}} if parent else {}
        found = configuration.get("architecture") if isinstance(configuration, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def read_model_folder(path: Path, checksums: bool = True) -> ModelFolder:
    """Read the descriptions and checkpoints of a model folder.

    Args:
        checksums: Of the checkpoints, which have to be read whole for it.

    Raises:
        UserError: It is no model folder, or a file of it is damaged.
    """
    path = Path(path)
    if path.name.startswith(_ENSEMBLE):
        members = " and ".join(path.name.removeprefix(_ENSEMBLE).split("___")[:-1])
        raise UserError(f"{path}: an ensemble, which holds no weights; give the folder of one of its models, {members}")
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a model folder, as nnUNetv2_train writes it")
    if not (path / PLANS_FILE).is_file():
        hint = f"give the folder above it, {path.resolve().parent}" if path.name.startswith("fold_") else "give a model folder"
        raise UserError(f"{path}: no {PLANS_FILE}, so no training has begun here; {hint}, TRAINER__PLANS__CONFIGURATION")
    plans = read_plans(path / PLANS_FILE, COPY_AGAIN, networks=False)
    dataset_json = read_dataset_json(path / FILE_NAME)
    _ = dataset_json.annotation
    folds = [_fold(place, checksums) for place in path.glob("fold_*") if place.is_dir() and _is_fold(place.name)]
    return ModelFolder(path, plans, dataset_json, tuple(sorted(folds, key=lambda fold: (fold.name == "all", fold.name.zfill(4)))))


def _is_fold(name: str) -> bool:
    return bool(re.fullmatch(r"fold_(\d{1,4}|all)", name))


def _fold(place: Path, checksums: bool) -> Fold:
    checkpoint = next((name for name in ORDER if (place / name).is_file()), None)
    content: Mapping[str, Any] = {}
    if checkpoint is not None:
        whole = read_checkpoint(place / checkpoint, mapped=True)
        content = {key: whole[key] for key in ("trainer_name", "init_args", "current_epoch") if key in whole}
    debug = read_json(place / DEBUG_FILE)
    checksum = file_checksum(place / checkpoint) if checksums and checkpoint is not None else None
    name = place.name.removeprefix("fold_")
    return Fold(name, checkpoint, checksum, content, debug if isinstance(debug, dict) else {})


def _value(text: Any) -> float | bool | None:
    """A number or flag that a file holds as text; None for all else."""
    text = str(text)[:40]
    if text in ("True", "False"):
        return text == "True"
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if {".", "e"} & set(text) else int(text)
