"""Stand-ins: import nnU-Net and nnunetv2_cdpd where readers of files are not installed, since nothing here reads any.

What is installed wins. Only packages of NOT_NEEDED that cannot be found become empty modules whose names can be imported,
annotated with and inherited from; to call one of them is an error that says so.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NOT_NEEDED = ("SimpleITK", "blosc2", "cc3d", "isal", "nibabel", "pydicom")


class _Name(type):
    """Of a class, function or constant of a package that is not there."""

    def __getattr__(cls, name: str) -> "_Name":
        return _name(cls.__qualname__, name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{cls.__qualname__} is not installed here, and only stood in for")


def _name(owner: str, name: str) -> _Name:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Name(name, (), {"__qualname__": f"{owner}.{name}"})


class _Module(ModuleType):
    def __getattr__(self, name: str) -> _Name:
        return _name(self.__name__, name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install(bare: bool = False) -> tuple[str, ...]:
    """Stand in for what is missing; returns its names.

    Args:
        bare: Stand in for all, installed or not: how it is on such a machine.
    """
    absent = tuple(name for name in NOT_NEEDED if bare or importlib.util.find_spec(name) is None)
    sys.meta_path.insert(0, _Finder(absent))
    return absent
