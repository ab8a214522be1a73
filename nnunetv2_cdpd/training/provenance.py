"""Provenance: what a training began with that its model folder would not tell: where frozen weights came from, and the packages.

nnU-Net writes the attributes of a trainer to debug.json of the fold, which its export takes along; so what the model card needs
is one of them. No path is in it: of a file that the user gave its checksum tells which one it was.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.shapes import TEXT, check_shape, list_of, map_of, none_or, record

PROVENANCE = "provenance"  # attribute of the trainer, and key of debug.json
VISION_PART, TEXT_PART = "vision encoder", "text embeddings"
PRETRAINED, FROM_FILE, AT_RANDOM, LEARNED_HERE, BROUGHT = "pretrained", "file", "random", "learned", "brought"
_ROOT = "nnunetv2-cdpd"
_PACKAGES = map_of(list_of(none_or(TEXT), 2, 2), "an object of packages")
_SHAPE = record(
    {"weights": list_of(record({"part": TEXT, "name": TEXT, "kind": TEXT, "sha256": none_or(TEXT)}, {"pretraining": TEXT}))},
    {"python": TEXT, "packages": _PACKAGES, "earlier_packages": list_of(_PACKAGES)},
)


@dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights of a frozen encoder came from.

    part: VISION_PART or TEXT_PART.
    name: timm's or open_clip's.
    kind: PRETRAINED (as its makers released it), FROM_FILE (of the user), AT_RANDOM, LEARNED_HERE (no text), or BROUGHT (with the
        weights that the training began with).
    sha256: Of the file, or of the embeddings; None: there is none.
    line: For the log, may name a path.
    pretraining: How `cdpd pretrain` made the file; None: it did not.
    """

    part: str
    name: str
    kind: str
    sha256: str | None
    line: str
    pretraining: str | None = None


def training_provenance(origins: Iterable[WeightsOrigin], former: Any) -> str:
    """The provenance of a training as JSON.

    Args:
        former: Content of the debug.json of the training that is continued; None: it begins.
    """
    entries = [asdict(origin) for origin in origins]
    for entry in entries:
        del entry["line"]
        if entry["pretraining"] is None:
            del entry["pretraining"]
    before = read_provenance(former)
    known = {entry["part"]: entry for entry in before.get("weights", ())}
    weights = [known.get(entry["part"], entry) if entry["kind"] == BROUGHT else entry for entry in entries]
    packages = installed_packages()
    earlier, sessions = before.get("packages", packages), before.get("earlier_packages", [])
    if changed := {name: its for name, its in earlier.items() if its != packages.get(name)}:
        sessions = [*sessions, changed]
    return json.dumps(
        {"weights": weights, "python": platform.python_version(), "packages": packages, "earlier_packages": sessions}
    )


def read_provenance(debug: Any) -> Mapping[str, Any]:
    """The provenance in the content of a debug.json; empty where there is none that can be read."""
    text = debug.get(PROVENANCE) if isinstance(debug, dict) else None
    try:
        found: Any = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    try:
        check_shape(found, _SHAPE, PROVENANCE, "-")
    except UserError:  # somebody else's, or half of one: what it says is not known
        return {}
    return found


def installed_packages() -> dict[str, list[str | None]]:
    """What is installed of this package and all that it requires: name -> version and license, as their metadata say."""
    found: dict[str, list[str | None]] = {}
    todo = [_ROOT, "nnunetv2"]
    while todo:
        name = _normal(todo.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = [distribution.version, _license(distribution.metadata)]
        for line in distribution.requires or ():
            with suppress(ValueError):  # a line that no tool understands; no training ends for it
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    todo.append(requirement.name)
    return dict(sorted(found.items()))


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _license(said: Any) -> str | None:
    """The license of a package: what its metadata call so, where that is a name and not a whole text, else its classifier."""
    for key in ("License-Expression", "License"):
        text = said.get(key)
        if text and len(text) < 100 and "\n" not in text and text.upper() != "UNKNOWN":
            return str(text)
    classifiers = [line for line in said.get_all("Classifier") or () if line.startswith("License :: OSI Approved :: ")]
    return classifiers[0].rpartition(" :: ")[2] if classifiers else None


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
