"""Results: what a run found, a small JSON file each, which lies in the repository: benchmarks/results/STUDY/ARM/."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from patients import ORGANS

import nnunetv2_cdpd
from nnunetv2_cdpd.jobs import write_text

FOLDER = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Result:
    """One arm on one split with one seed.

    cpu_seconds: Of all its trainings; None where one of them was stopped and went on.
    prediction_cpu_seconds: Of all its predictions; None where they are not told.
    scores: Patient -> organ -> metric; only organs that the patient's reference has. None: infinite.
    """

    study: str
    arm: str
    split: int
    seed: int
    cpu_seconds: int | None
    setting: dict[str, Any]
    versions: dict[str, str]
    scores: dict[str, dict[str, dict[str, float | None]]]
    prediction_cpu_seconds: int | None = None

    def metric(self, name: str, patients: list[str]) -> np.ndarray:
        """(patients, organs); nan where there is no reference, inf where a prediction is empty."""
        table = np.full((len(patients), len(ORGANS)), np.nan)
        for row, patient in enumerate(patients):
            for column, organ in enumerate(ORGANS):
                if (values := self.scores.get(patient, {}).get(organ)) is not None:
                    table[row, column] = math.inf if values[name] is None else values[name]
        return table


def mean_of_known(values: np.ndarray | list, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Mean of what is not nan; nan where nothing is known, without a warning."""
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    sums, counts = np.asarray(np.where(known, values, 0.0).sum(axis)), np.asarray(known.sum(axis))
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def versions() -> dict[str, str]:
    """Of what a result depends on; ours is that of the code which runs, installed or not."""
    return {"nnunetv2-cdpd": nnunetv2_cdpd.__version__} | {name: metadata.version(name) for name in ("nnunetv2", "torch")}


def path_of(study: str, arm: str, split: int, seed: int) -> Path:
    return FOLDER / study / arm / f"split{split}_seed{seed}.json"


def write_result(result: Result) -> None:
    write_json(path_of(result.study, result.arm, result.split, result.seed), asdict(result))


def write_json(path: Path, content: Any) -> None:
    """Write a result file beside its place, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")


def results_of(study: str, arm: str) -> Iterator[Result]:
    for path in sorted((FOLDER / study / arm).glob("split*_seed*.json")):
        yield Result(**json.loads(path.read_text()))
