"""Filters: what `cdpd complete` writes with each of its filters, beside the truth that the sources of a study do not show.

A source of `equal_contours` annotates a third of the organs of a patient; of most others OpenKBP has a contour too. Teachers:
one network per source, so that a class is asked of one network alone; these and one of all sources, which may disagree; and
the five folds of one of all sources, whose cross-validation says on which classes it is reliable.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import SimpleITK as sitk
from cross_validation import FOLDS, train_fold
from patients import ORGANS, Patients
from raw_data import IDS, dataset_folder
from results import FOLDER, write_json
from runs import PLANS, Run
from studies import STUDIES
from study import COMPLETED, COMPLETED_BORDERS, COMPLETED_CONFIDENT, MERGED, OURS

from nnunetv2_cdpd.classes.lookup import class_key
from nnunetv2_cdpd.completion import run as completion
from nnunetv2_cdpd.completion.networks import Answer, Networks
from nnunetv2_cdpd.completion.settings import AGREEMENT, CONFIDENCE, OUTLIER, RELIABILITY, CompletionSettings

STUDY, ARM = "equal_contours", "student"


def per_source(one: Run) -> list[Path]:
    return one.models(STUDIES[STUDY].arms[ARM].teachers or "")


def with_one_of_all(one: Run) -> list[Path]:
    """These, and the masked loss, which no source has taught an organ in a patient that it is asked about."""
    return [*per_source(one), *one.models("masked_longer")]


def cross_validated(one: Run) -> list[Path]:
    """Five folds of the masked loss, trained unless they were."""
    results = one.folder.with_name("masked_folds") / "nnUNet_results"
    model = results / f"Dataset{IDS[MERGED]}_{MERGED}" / f"{OURS}_lossOnlyCV__{PLANS}__3d_fullres"
    one.set_environment(results)
    for fold in FOLDS:
        train_fold(model, MERGED, fold, one.device)
    return [model]


@dataclass(frozen=True)
class Teachers:
    """models: Of a run; allow_seen: They were trained on these patients, but not taught there what they are asked about."""

    words: str
    models: Callable[[Run], list[Path]]
    allow_seen: bool = False


TEACHERS = {
    "per_source": Teachers("one network per source", per_source),
    "with_one_of_all": Teachers("these, and one network of all sources", with_one_of_all, allow_seen=True),
    "cross_validated": Teachers("a cross-validated network of all sources", cross_validated),
}


@dataclass(frozen=True)
class Choice:
    """One way to complete.

    teachers: Of TEACHERS.
    made: Dataset that an arm's run has completed this way, with the seed behind it.
    """

    words: str
    settings: CompletionSettings
    teachers: str = "per_source"
    made: str | None = None


_NONE, _BOTH = CompletionSettings(filters=()), CompletionSettings(filters=(CONFIDENCE, OUTLIER))
_CONFIDENCE, _AGREEMENT, _RELIABILITY = (replace(_NONE, filters=(name,)) for name in (CONFIDENCE, AGREEMENT, RELIABILITY))
CHOICES = {
    "none": Choice("no filter", _NONE),
    "confidence": Choice("confidence", _CONFIDENCE, made=COMPLETED_CONFIDENT),
    "outlier": Choice("outlier", replace(_NONE, filters=(OUTLIER,))),
    "both": Choice("confidence, outlier", _BOTH, made=COMPLETED),
    "sure": Choice("confidence, outlier, `--low 0.05`", replace(_BOTH, low=0.05)),
    "borders": Choice("confidence, outlier, `--border 6`", replace(_BOTH, border_mm=6.0), made=COMPLETED_BORDERS),
    "more_none": Choice("no filter", _NONE, "with_one_of_all"),
    "more_confidence": Choice("confidence", _CONFIDENCE, "with_one_of_all"),
    "more_agreement": Choice("agreement", _AGREEMENT, "with_one_of_all"),
    "folds_none": Choice("no filter", _NONE, "cross_validated"),
    "folds_confidence": Choice("confidence", _CONFIDENCE, "cross_validated"),
    "folds_reliability": Choice("reliability", _RELIABILITY, "cross_validated"),
    "folds_all": Choice("all four", CompletionSettings(), "cross_validated"),
}
COMPLETED_NAME, COMPLETED_ID = "Filtered", 779
Counts = dict[str, int]
COUNTS = ("truth", "right", "wrong", "elsewhere", "ignored")


class KnownNetworks(Networks):
    """Networks that are asked about an image once, whatever the filters are."""

    known: ClassVar[dict[tuple, list[Answer]]] = {}

    def answers(self, teacher: Any, folds: Any, images: Sequence[Path], classes: Sequence[int]) -> Iterator[Answer]:
        key = teacher.folder, tuple(folds), tuple(images), tuple(classes)
        if key not in self.known:
            self.known[key] = list(super().answers(teacher, folds, images, classes))
        return iter(self.known[key])


def measure_filters(one: Run) -> None:
    """Complete the merged dataset in each way, unless it was, and count; a way that has a result is passed over."""
    patients = Patients.read(one.data)
    completion.Networks = KnownNetworks
    KnownNetworks.known.clear()  # those of another seed
    for name, choice in CHOICES.items():
        path = FOLDER / "filters" / f"{name}_split{one.split}_seed{one.seed}.json"
        if path.exists():
            continue
        one.set_environment()
        folder = None if choice.made is None else dataset_folder(one.work, f"{choice.made}{one.seed}")
        if folder is None or not (folder / "dataset.json").exists():
            teachers = TEACHERS[choice.teachers]
            folder = completion.complete_dataset(
                dataset_folder(one.work, MERGED),
                teachers.models(one),
                COMPLETED_ID,
                COMPLETED_NAME,
                settings=choice.settings,
                allow_seen=teachers.allow_seen,
                num_processes=1,
            )
        write_json(path, {"iterations": one.iterations, "organs": counted(folder, one.visible / "labels", patients)})


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
        teachers = TEACHERS[choice.teachers].words
        rows.append(
            f"| {teachers} | {choice.words} | {asked} | {' | '.join(f'{cell:.1%}' for cell in cells)} | {_dice(organs):.3f} |"
        )
    if not rows:
        return ""
    columns = [
        "teachers",
        "filters",
        "organs",
        "written",
        "voxels taught right",
        "wrong voxels",
        "taught as something else",
        "not taught",
    ]
    columns += ["Dice of what is taught"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|---|{'---:|' * (len(columns) - 2)}", *rows])


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
