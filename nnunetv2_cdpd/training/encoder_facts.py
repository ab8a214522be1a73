"""What the header of a file of vision weights says of how they were pretrained, where `cdpd pretrain` made it.

No path and no name of a patient is in it. `pretraining` writes it; it is read where a training begins with the file, and goes
into the provenance, from which the model card tells it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from nnunetv2_cdpd.errors import UserError, amount
from nnunetv2_cdpd.jobs.shapes import OBJECT, TEXT, check_shape, list_of, map_of, none_or, record, whole_number
from nnunetv2_cdpd.training.provenance import AT_RANDOM, PRETRAINED

HEADER_KEY = "cdpd_pretraining"  # of a safetensors file's metadata
HEADER_VERSION = 1
_SHAPE = record(
    {
        "version": whole_number(HEADER_VERSION, HEADER_VERSION),
        "recipe": TEXT,
        "encoder": TEXT,
        "data": list_of(record({"name": TEXT, "images": whole_number(1), "slices": whole_number(1)}), 1),
        "iterations": whole_number(1),
        "began_with": record({"kind": TEXT, "sha256": none_or(TEXT), "license": none_or(TEXT), "pretrained": none_or(TEXT)}),
        "settings": OBJECT,
        "versions": map_of(TEXT, "an object of versions"),
    }
)


def encoder_facts_of(path: Path) -> Mapping[str, Any] | None:
    """The facts in a file's header; None: it is no file of `cdpd pretrain`, or of another release's."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[HEADER_KEY])
        check_shape(facts, _SHAPE, path, "-")
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError, UserError):
        return None
    return facts


def told_facts(facts: Mapping[str, Any]) -> str:
    """The facts in a line, for a model card."""
    images = ", ".join(f"{amount(each['images'], 'image')} of {each['name']}" for each in facts["data"])
    start = facts["began_with"]
    if start["kind"] == AT_RANDOM:
        began = "from nothing"
    else:
        which = "the released weights" if start["kind"] == PRETRAINED else "a file that the user gave"
        began = f"from {which} of {facts['encoder']}, license {start['license'] or 'not known'}"
        began += f" ({start['pretrained']})" if start["pretrained"] else ""
    return f"pretrained without labels ({facts['recipe']}), {facts['iterations']} iterations on {images}, {began}"
