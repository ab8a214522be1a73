"""Files of PyTorch that somebody else may have written: read without executing code, and what is wrong in plain words."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError

from nnunetv2_cdpd.errors import UserError, reason

_OF_DAMAGE = (RuntimeError, ValueError, LookupError, AssertionError, AttributeError, TypeError)  # what readers stumble over


def read_torch(path: Path, way_out: str, missing: str, allowed: Sequence[Any] = (), mapped: bool = False) -> Any:
    """Content of a file of torch.save, on the CPU.

    Args:
        way_out: Ends the message about a file that cannot be read.
        missing: Ends that about one that is not there.
        allowed: What it may hold beside tensors and plain values, as torch.serialization.safe_globals takes it.
        mapped: Leave the tensors in the file until they are looked at.

    Raises:
        UserError: There is none, it could run code, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; {missing}")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zipfile(path))
    except Exception as error:  # pickle, zip and torch have their own, and what was cut off can raise any
        raise UserError(f"{path}: {why_unreadable(error)}; {way_out}") from error


def numbers_of_numpy() -> list[Any]:
    """`allowed` of a checkpoint of nnU-Net: all that it holds beside tensors and plain Python."""
    scalar = np.float64(0).__reduce__()[0]
    kinds: list[Any] = [bool, *np.sctypeDict.values()]
    dtypes = {type(np.dtype(kind)) for kind in kinds if kind is not np.object_}
    return [np.dtype, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), *dtypes]


def why_unreadable(error: Exception) -> str:
    """What is wrong with a file of weights, where torch would advise to read it unsafely, or names its own functions."""
    text = str(error)
    if isinstance(error, PermissionError):
        return "may not be read"
    if isinstance(error, pickle.UnpicklingError) and "global" in text.lower():
        return "holds more than tensors and plain values, and reading it could run code of it; it is not read"
    if "state_dict" in text:
        return "holds the weights of another model"
    if isinstance(error, (pickle.UnpicklingError, EOFError, SafetensorError, OSError, *_OF_DAMAGE)):
        return "cut off, damaged, or no file of weights"
    return f"cannot be read ({reason(error)})"
