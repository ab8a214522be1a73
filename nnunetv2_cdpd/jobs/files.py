"""JSON files that are there as a whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Content of a JSON file, None if there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file beside and rename it, so that it is never there by half."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(content, indent=4), encoding="utf-8")
    os.replace(beside, path)
