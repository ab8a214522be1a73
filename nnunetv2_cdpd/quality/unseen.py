"""Unseen cases: a calibration is learned from cases that a network was not trained on, of which an extended model has none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.models import read_descriptions


def check_has_unseen_cases(folder: Path) -> None:
    """Raise UserError for the folder of an extended model: every case was trained on, in every fold."""
    plans, _ = read_descriptions(folder)
    if is_extended(plans):
        raise UserError(
            f"{folder}: an extended model, all of whose further cases were trained on, so that nothing tells the quality of its "
            "predictions; predict with the model that was extended for the quality of its classes"
        )


def is_extended(plans: Mapping[str, Any]) -> bool:
    """Whether plans are of an extended model."""
    return any(map(_has_extension, plans["configurations"].values()))


def _has_extension(configuration: Mapping[str, Any]) -> bool:
    architecture = configuration.get("architecture") or {}
    return bool((architecture.get("arch_kwargs") or {}).get("extensions"))
