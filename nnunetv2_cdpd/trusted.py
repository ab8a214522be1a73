"""Trusted: the classes and functions that plans, dataset.json and checkpoints may name.

nnU-Net resolves whatever name stands in a model folder, of any module that Python finds, and calls it. A folder that somebody
else made could so have any code run. Our commands ask here first: a name has to lie in one of the packages of its kind, and to be
what the kind says. Trainers are the exception by design: a user's own lie in nnUNet_extTrainer, a folder that only the user sets.
"""

import contextlib
import importlib
import inspect
import io
import pydoc
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.link import own_class, own_resampling

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_DOTTED = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")


@dataclass(frozen=True)
class Kind:
    """What may be named somewhere.

    packages: Where it is defined.
    base: Class that it is one of, dotted; None: it is a function.
    dotted: It is named with its module, else nnU-Net looks through the packages for it.
    """

    what: str
    packages: tuple[str, ...]
    base: str | None
    dotted: bool = False

    def knows(self, found: Any) -> bool:
        """Whether this is one, defined where it may be."""
        module = f"{getattr(found, '__module__', None)}."
        if not module.startswith(tuple(f"{package}." for package in self.packages)):
            return False
        if self.base is None:
            return inspect.isfunction(found)
        base: Any = pydoc.locate(self.base)
        return isinstance(found, type) and issubclass(found, base) and not inspect.isabstract(found)


_OURS, _UNETS = ("nnunetv2_cdpd.network", "nnunetv2_cdpd.released"), "dynamic_network_architectures"
_NNUNET = "nnunetv2."
NETWORK = Kind("network", (*_OURS, _UNETS), "torch.nn.Module", dotted=True)
UNET = Kind("U-Net", (_UNETS,), "torch.nn.Module", dotted=True)
OPERATION = Kind("part of a network", ("torch.nn", _UNETS), "torch.nn.Module", dotted=True)
IMAGE_READER = Kind("reader of images", (f"{_NNUNET}imageio",), f"{_NNUNET}imageio.base_reader_writer.BaseReaderWriter")
LABEL_MANAGER = Kind(
    "label manager",
    (f"{_NNUNET}utilities.label_handling",),
    f"{_NNUNET}utilities.label_handling.label_handling.LabelManager",
)
PREPROCESSOR = Kind(
    "preprocessor",
    (f"{_NNUNET}preprocessing",),
    f"{_NNUNET}preprocessing.preprocessors.default_preprocessor.DefaultPreprocessor",
)
NORMALIZATION = Kind(
    "normalization",
    (f"{_NNUNET}preprocessing.normalization",),
    f"{_NNUNET}preprocessing.normalization.default_normalization_schemes.ImageNormalization",
)
RESAMPLING = Kind("function that resamples", (f"{_NNUNET}preprocessing.resampling",), None)


def trusted(name: Any, kind: Kind, where: str, way_out: str) -> Any:
    """The class or function of a name.

    Args:
        where: File and key, which begin the message.
        way_out: Ends it.

    Raises:
        UserError: It is none that is known.
    """
    if kind is RESAMPLING and (ours := own_resampling(name)) is not None:  # whether nnU-Net is linked or not
        return ours
    look_up: Callable[[str, Kind], Any] = _by_module if kind.dotted else _by_search
    found = look_up(name, kind) if isinstance(name, str) else None
    if not kind.knows(found):
        raise UserError(f"{where} names {str(name)[:80]!r}, no {kind.what} of {' or '.join(kind.packages)}; {way_out}")
    return found


def _by_module(name: str, kind: Kind) -> Any:
    if not _DOTTED.fullmatch(name) or not name.startswith(tuple(f"{package}." for package in kind.packages)):
        return None  # not even imported
    with suppress(pydoc.ErrorDuringImport):
        return pydoc.locate(name)
    return None


def _by_search(name: str, kind: Kind) -> Any:
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    if not name.isidentifier():
        return None
    for package in kind.packages:
        folder = Path(next(iter(importlib.import_module(package).__path__)))
        found = recursive_find_python_class(str(folder), name, package)
        if found is not None:
            return found
    return None


def find_trainer(name: Any, where: str = "argument trainer") -> "type[nnUNetTrainer]":
    """Our trainers without `cdpd link`, others, a user's variants of ours among them, as nnU-Net finds them.

    Args:
        where: File and key, which begin the message.

    Raises:
        UserError: It is unknown, or no trainer.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    told = f"{where} names {str(name)[:80]!r}, no trainer that is known here"
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"{told}; give a name like nnUNetTrainerCDPD")
    if (ours := own_class(name)) is not None:
        return ours
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # which folders it looks through
            return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"{told}; install what it came with, or name its folder in nnUNet_extTrainer") from error
