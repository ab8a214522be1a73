"""Filters: what `cdpd complete` writes with each of its filters, beside the truth that the sources of a study do not show.

A source of `equal_contours` annotates a third of the organs of a patient; of most others OpenKBP has a contour too. The teachers
are one network per source, so a class is asked of one network alone: `agreement` has nothing to compare, and `reliability` needs
a cross-validation.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import SimpleITK as sitk
from patients import ORGANS, Patients
from raw_data import dataset_folder
from results import FOLDER, write_json
from runs import Run
from studies import STUDIES
from study import COMPLETED, COMPLETED_BORDERS, COMPLETED_CONFIDENT, MERGED

from nnunetv2_cdpd.classes.lookup import class_key
from nnunetv2_cdpd.completion import run as completion
from nnunetv2_cdpd.completion.networks import Answer, Networks
from nnunetv2_cdpd.completion.settings import CONFIDENCE, OUTLIER, CompletionSettings

STUDY, ARM = "equal_contours", "student"


@dataclass(frozen=True)
class Choice:
    """One way to complete.

    made: Dataset that an arm's run has completed this way, with the seed behind it.
    """

    words: str
    settings: CompletionSettings
    made: str | None = None


_NONE, _BOTH = CompletionSettings(filters=()), CompletionSettings(filters=(CONFIDENCE, OUTLIER))
CHOICES = {
    "none": Choice("no filter", _NONE),
    "confidence": Choice("confidence", replace(_NONE, filters=(CONFIDENCE,)), COMPLETED_CONFIDENT),
    "outlier": Choice("outlier", replace(_NONE, filters=(OUTLIER,))),
    "both": Choice("confidence, outlier", _BOTH, COMPLETED),
    "sure": Choice("confidence, outlier, `--low 0.05`", replace(_BOTH, low=0.05)),
    "borders": Choice("confidence, outlier, `--border 6`", replace(_BOTH, border_mm=6.0), COMPLETED_BORDERS),
}
COMPLETED_NAME, COMPLETED_ID = "Filtered", 779
Counts = dict[str, int]
COUNTS = ("truth", "right", "wrong", "elsewhere", "ignored")


class KnownNetworks(Networks):
    """Networks that are asked about an image once, whatever the filters are."""

    known: ClassVar[dict[tuple[Path, tuple[Path, ...]], list[Answer]]] = {}

    def answers(self, teacher: Any, folds: Any, images: Sequence[Path], classes: Sequence[int]) -> Iterator[Answer]:
        key = teacher.folder, tuple(images)
        if key not in self.known:
            self.known[key] = list(super().answers(teacher, folds, images, classes))
        return iter(self.known[key])


def measure_filters(one: Run) -> None:
    """Complete the merged dataset in each way, unless it was, and count; a way that has a result is passed over."""
    one.set_environment()
    patients, teachers = Patients.read(one.data), one.models(STUDIES[STUDY].arms[ARM].teachers or "")
    completion.Networks = KnownNetworks
    KnownNetworks.known.clear()  # those of another seed
    for name, choice in CHOICES.items():
        path = FOLDER / "filters" / f"{name}_split{one.split}_seed{one.seed}.json"
        if path.exists():
            continue
        folder = None if choice.made is None else dataset_folder(one.work, f"{choice.made}{one.seed}")
        if folder is None or not (folder / "dataset.json").exists():
            merged = dataset_folder(one.work, MERGED)
            settings = choice.settings
            folder = completion.complete_dataset(
                merged, teachers, COMPLETED_ID, COMPLETED_NAME, settings=settings, num_processes=1
            )
        write_json(path, {"iterations": one.iterations, "organs": counted(folder, one.work / "visible" / "labels", patients)})


def counted(folder: Path, truths: Path, patients: Patients) -> dict[str, dict[str, Counts]]:
    """Organ -> case -> its outcome, and voxels of the truth, of them those that are taught right, as something else, or not at
    all ("ignored"), and voxels that are taught as the organ and are wrong; of cases with a contour that their source lacks."""
    content = json.loads((folder / "dataset.json").read_text())
    labels = content["labels"]
    named = {class_key(name): name for name in labels}  # a merged dataset gives structures names of its own
    names = {organ: named[class_key(organ)] for organ in ORGANS}
    told: dict[str, dict[str, Counts]] = {organ: {} for organ in ORGANS}
    for case, facts in content["cdpd"]["completion"]["cases"].items():
        made, truth = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path / f"{case}.nii.gz"))) for path in (folder / "labelsTr", truths)
        )
        for organ in patients.annotated[case]:
            if names[organ] in facts.get("real", ()):
                continue
            is_truth, is_made, is_ignored = truth == ORGANS[organ], made == labels[names[organ]], made == labels["ignore"]
            masks = is_truth, is_truth & is_made, is_made & ~is_truth, is_truth & ~is_made & ~is_ignored, is_truth & is_ignored
            told[organ][case] = {"completed": names[organ] in facts.get("completed", ())} | dict(
                zip(COUNTS, (int(mask.sum()) for mask in masks))
            )
    return {organ: cases for organ, cases in told.items() if cases}


def filters_table() -> str:
    """Each way over all cases and organs, and the organs' means; '' without results."""
    rows = []
    for name, choice in CHOICES.items():
        files = [json.loads(path.read_text()) for path in sorted((FOLDER / "filters").glob(f"{name}_split*.json"))]
        if not files:
            continue
        organs = [cases.values() for file in files for cases in file["organs"].values()]
        asked = sum(map(len, organs))
        cells = [sum(case["completed"] for cases in organs for case in cases) / asked]
        cells += [_mean_of_organs(organs, count) for count in COUNTS[1:]]
        rows.append(f"| {choice.words} | {asked} | {' | '.join(f'{cell:.1%}' for cell in cells)} | {_dice(organs):.3f} |")
    if not rows:
        return ""
    columns = ["filters", "organs", "written", "voxels taught right", "wrong voxels", "taught as something else", "not taught"]
    columns += ["Dice of what is taught"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def _mean_of_organs(organs: list[Collection[Counts]], name: str) -> float:
    """Voxels in those of the truth, mean of the organs, so that a large one does not count for more."""
    return float(np.mean([sum(case[name] for case in cases) / sum(case["truth"] for case in cases) for cases in organs]))


def _dice(organs: list[Collection[Counts]]) -> float:
    """Mean over organs of the mean Dice of what is taught in its cases, ignored voxels left out; of cases with any of it."""
    means = []
    for cases in organs:
        sums = [(case["right"], 2 * case["right"] + case["wrong"] + case["elsewhere"]) for case in cases]
        means.append(np.mean([2 * right / both for right, both in sums if both]))
    return float(np.mean(means))
