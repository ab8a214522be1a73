"""Sealed: JSON that tells whether it is as it was written, so that a torn or an edited file is never taken for a measurement."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.jobs.files import read_json, write_json
from nnunetv2_cdpd.jobs.record import digest

_SEAL = "seal"  # the digest of all other entries


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON-able content; its keys are texts, at every depth."""
    write_json(path, {**content, _SEAL: digest(dict(content))})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What was written there; None: nothing, or it is not as it was written."""
    found = read_json(path)
    if not isinstance(found, dict):
        return None
    seal = found.pop(_SEAL, None)
    return found if seal == digest(found) else None
