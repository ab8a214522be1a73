"""Ready text embeddings from the user's files: ours, two tables in a .pth, or the folder of the released ones.

Only our own files know their prompts; of the others, only the number of rows can be checked.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nnunetv2_cdpd.errors import UserError

TABLES = ("class_embeddings", "task_embeddings")
RELEASED_FILES = ("txt_encoding.pth", "txt_task_encoding.pth")  # of classes (32, 512) and tasks (11, 512)


def holds_our_embeddings(path: Path) -> bool:
    """Whether a file is one that TextEmbeddings wrote, not a checkpoint of an encoder."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return TABLES[0] in set(file.keys())
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors ({error})") from error


def read_tables(path: Path) -> tuple[Tensor, Tensor] | None:
    """Class and task embeddings, (K, E) and (T, E), float32; None where the path holds something else.

    Args:
        path: A .pth or .pt file of a dictionary of two tensors, `class_embeddings` and `task_embeddings`; or a folder with the
            two tables of the released network.

    Raises:
        UserError: A folder that holds one table only, or a file with a single table.
    """
    if path.is_dir():
        there = [name for name in RELEASED_FILES if (path / name).is_file()]
        if len(there) == 1:
            raise UserError(
                f"{path}: holds {there[0]} alone; the tables of classes and tasks are needed: {', '.join(RELEASED_FILES)}"
            )
        return _checked(path, [_loaded(path / name) for name in RELEASED_FILES]) if there else None
    if path.suffix not in (".pth", ".pt") or not path.is_file():
        return None
    content = _loaded(path)
    if isinstance(content, Tensor):
        raise UserError(
            f"{path}: holds a single table; give a file of two tensors, {' and '.join(TABLES)}, or a folder of "
            f"{', '.join(RELEASED_FILES)}"
        )
    if not isinstance(content, dict) or not set(TABLES) <= set(content):
        return None
    return _checked(path, [content[name] for name in TABLES])


def _loaded(path: Path) -> Any:
    """Content of a .pth; None where it is of another kind, as OpenAI's CLIP is."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # pickle, zip and torch have their own; the reader of checkpoints tells what is wrong with it
        return None


def _checked(path: Path, tables: list[Any]) -> tuple[Tensor, Tensor]:
    shapes = [tuple(table.shape) if isinstance(table, Tensor) else None for table in tables]
    widths = {shape[1] if shape is not None and len(shape) == 2 else None for shape in shapes}
    if None in widths or len(widths) > 1:
        raise UserError(f"{path}: the tables must be (classes, width) and (tasks, width), got {shapes[0]} and {shapes[1]}")
    classes, tasks = (table.detach().float() for table in tables)
    if not (torch.isfinite(classes).all() and torch.isfinite(tasks).all()):
        raise UserError(f"{path}: the tables hold values that are no finite numbers; make the embeddings again")
    return classes, tasks
