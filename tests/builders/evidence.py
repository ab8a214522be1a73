"""benchmarks/evidence and the trainers beside it, whose modules lie in no package: loaded for a test and forgotten after it."""

import importlib
import sys
from types import SimpleNamespace

from builders.project import CLONE

RUNNER, TRAINERS = CLONE / "benchmarks" / "evidence", CLONE / "benchmarks" / "trainers"


def modules_of(folder, monkeypatch):
    """Yield the modules of a folder by name, those that begin with an underscore left out."""
    names = [path.stem for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
    monkeypatch.syspath_prepend(str(folder))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        del sys.modules[name]


def made_up_patients(evidence):
    """83 patients, every third of them complete; every fourth CT has thick slices."""
    few = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid")
    organs = {f"p{index:02}": tuple(evidence.patients.ORGANS) if index % 3 == 0 else few for index in range(83)}
    return evidence.patients.Patients(organs, {name: 3.0 if index % 4 == 0 else 2.5 for index, name in enumerate(organs)})
