"""Outputs: what a job of predictions writes, and what it leaves alone: images, a lower stage's predictions, foreign files.

A folder says in cdpd_predict.json how the predictions in it were made, so that those of other settings are never taken for
those of this job.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.predictions import SETTINGS_FILE
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import Case
from nnunetv2_cdpd.inference.prediction import check_masks
from nnunetv2_cdpd.jobs import read_json, remove, write_json

STATISTICS = "statistics"  # folder with a file per case, and the tables of all of them


@dataclass(frozen=True)
class Outputs:
    """What is written for a case; as the record of a batch, they tell that a case is done, since they appear whole.

    folder: For everything.
    one_file_per_class: CASE/CLASS.nii.gz in place of the label map CASE.nii.gz.
    probabilities: CASE.npz and CASE.pkl too, as nnU-Net's --save_probabilities.
    statistics: statistics/CASE.json, and at the end statistics.json and statistics.csv of all cases in the folder.
    """

    folder: Path
    file_ending: str
    one_file_per_class: bool = False
    probabilities: bool = False
    statistics: bool = False

    @property
    def flags(self) -> dict[str, bool]:
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "file_ending")}

    def segmentation(self, case: str) -> Path:
        return self.folder / (case if self.one_file_per_class else case + self.file_ending)

    def paths(self, case: str) -> list[Path]:
        """All that a case leaves; it is done when they exist."""
        paths = [self.segmentation(case)]
        paths += [self.folder / f"{case}.npz", self.folder / f"{case}.pkl"] if self.probabilities else []
        return paths + ([self.folder / STATISTICS / f"{case}.json"] if self.statistics else [])

    def holds(self, name: str, job: Case) -> bool:
        return all(path.exists() for path in self.paths(name))

    def enter(self, name: str, job: Case, result: None) -> None:
        """The files say it."""

    @property
    def tables(self) -> list[Path]:
        """Of the statistics of all cases."""
        return [self.folder / f"{STATISTICS}.json", self.folder / f"{STATISTICS}.csv"] if self.statistics else []


def prepare_folder(
    outputs: Outputs,
    cases: Sequence[Case],
    settings: Mapping[str, Any],
    *,
    classes: Collection[str],
    dataset_json: Mapping[str, Any],
    read: Iterable[Path],
    resume: bool,
    alone: bool,
) -> None:
    """Make the folder ready for a job, and write its settings; earlier predictions of these cases by other settings go.

    Args:
        cases: Of all parts.
        classes: All of the model: a folder of their masks may be replaced.
        dataset_json: That of the predictions; another one that is there is a raw dataset's or a model's.
        read: Files that the job reads and that must stay as they are.
        resume: Earlier predictions of these cases stay, which takes the same settings.
        alone: No other job shares the folder.

    Raises:
        UserError: An output would take the place of something else, or predictions are there that are not of these settings.
    """
    path = outputs.folder / SETTINGS_FILE
    written = json.loads(json.dumps({**settings, **outputs.flags}))
    before = read_json(path)
    if path.exists() and not isinstance(before, dict):
        raise UserError(
            f"{path}: cannot be read as JSON of settings; delete it together with the predictions there, or use another folder"
        )
    flags: dict[str, Any] = {flag: bool((before or {}).get(flag)) for flag in outputs.flags}
    former = outputs if before is None else replace(outputs, **flags)
    of_cases = list(dict.fromkeys(file for kind in (former, outputs) for case in cases for file in kind.paths(case.identifier)))
    descriptions = [outputs.folder / name for name in (SETTINGS_FILE, "dataset.json", "plans.json")]
    _check_places([*of_cases, *outputs.tables, *descriptions], read)
    there = [file for file in of_cases if file.exists()]
    for folder in there:
        check_masks(folder, classes, outputs.file_ending)
    described = outputs.folder / "dataset.json"
    if before is None and described.is_file() and read_json(described) != json.loads(json.dumps(dataset_json)):
        raise UserError(f"{described}: describes something else than these predictions; use another folder")
    if there and before is None:
        raise UserError(f"{there[0]}: nothing tells how it was made (no {SETTINGS_FILE}); move it away, or use another folder")
    changed = [key for key in written if before is not None and before.get(key) != written[key]]
    if changed and (resume or (there and not alone)):
        raise UserError(
            f"{path}: the predictions there were made with other settings ({', '.join(changed)}); use the same ones, or "
            "another folder"
        )
    if changed and there:
        for old in (*there, *former.tables):  # else this job, interrupted and resumed, would take them for its own
            remove(old)
    outputs.folder.mkdir(parents=True, exist_ok=True)
    if outputs.statistics:
        (outputs.folder / STATISTICS).mkdir(exist_ok=True)
    write_json(path, written)


def _check_places(written: Iterable[Path], read: Iterable[Path]) -> None:
    """Raise UserError if a file or folder that is written is one that is read, or a folder above one."""
    # Of a link both the link and what it leads to must stay.
    places = {place: file for file in read for place in (file.parent.resolve() / file.name, file.resolve())}
    for folder, file in {place.parent: file for place, file in places.items()}.items():
        for above in (folder, *folder.parents):
            places.setdefault(above, file)
    for path in written:
        if (taken := places.get(path.parent.resolve() / path.name)) is not None:
            raise UserError(f"{path}: the prediction would take the place of {taken}, which is read; use another output folder")
