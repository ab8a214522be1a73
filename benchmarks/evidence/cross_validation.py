"""Cross-validation: five networks of one dataset, for what is measured of models that were cross-validated.

`complete`: the complete patients that split 0 does not keep back. `both`: every second patient of both kinds, who have what
OpenKBP has of them, so patients with the same organs are a source and the sources are merged. All others are held out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commands import run
from extension import EXTENSION
from patients import PARTIAL_SOURCES, Patients, Source
from raw_data import IDS, TEST, merge, write_datasets
from runs import PLANS, plan, set_environment
from study import COMPLETE, MERGED, OURS

FOLDS = ("0", "1", "2", "3", "4")
TRAINER = f"{OURS}CV"
SEED = 0
_STUDY = EXTENSION["extension"]  # whose setting the networks have


def _complete(patients: Patients) -> dict[Source, list[str]]:
    return {COMPLETE: patients.trained(0, patients.complete)}


def _both(patients: Patients) -> dict[Source, list[str]]:
    chosen = list(patients.annotated)[::2]
    return {
        source: [patient for patient in chosen if set(patients.annotated[patient]) == set(source.organs)]
        for source in (COMPLETE, *PARTIAL_SOURCES)
    }


TRAINED: dict[str, Callable[[Patients], dict[Source, list[str]]]] = {"complete": _complete, "both": _both}


@dataclass(frozen=True)
class CrossValidation:
    """Trained and tested patients of a kind, in a folder of their own.

    kind: A key of TRAINED.
    work: Folder for datasets, models and predictions.
    """

    kind: str
    data: Path
    work: Path
    device: str = "cpu"
    threads: int | None = None

    @property
    def dataset(self) -> str:
        return MERGED if self.kind == "both" else COMPLETE.name

    @property
    def tested(self) -> Path:
        """Dataset of the patients that are held out, with the organs that they have."""
        return self.work / TEST

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        trained = f"{TRAINER}__{PLANS}__3d_fullres"
        return self.work / "nnUNet_results" / f"Dataset{IDS[self.dataset]}_{self.dataset}" / trained

    def set_environment(self) -> None:
        results = self.work / "nnUNet_results"
        set_environment(self.work, results, SEED, _STUDY.iterations, _STUDY, self.device, self.threads)

    def prepare(self, patients: Patients) -> None:
        """Write, merge, plan and preprocess the datasets."""
        dealt = TRAINED[self.kind](patients)
        trained = {patient for cases in dealt.values() for patient in cases}
        write_datasets(dealt, [patient for patient in patients.annotated if patient not in trained], self.data, self.work)
        if self.dataset == MERGED:
            merge(self.work, dealt)
        plan(self.work, self.dataset, batch_dice=_STUDY.batch_dice)

    def train(self, fold: str) -> None:
        """Train and validate a fold, unless it was."""
        train_fold(self.model, self.dataset, fold, self.device)


def train_fold(model: Path, dataset: str, fold: str, device: str) -> None:
    """Train and validate a fold of a model, unless it was; one that was stopped goes on.

    Args:
        model: Its folder, which names the trainer.
    """
    folder, trainer = model / f"fold_{fold}", model.name.split("__")[0]
    if (folder / "validation" / "summary.json").exists():
        return
    going_on = ["--c"] if (folder / "checkpoint_latest.pth").exists() else []
    going_on = ["--val"] if (folder / "checkpoint_final.pth").exists() else going_on
    common = ["-tr", trainer, "-p", PLANS, "-device", device]
    run(["nnUNetv2_train", str(IDS[dataset]), "3d_fullres", fold, *common, *going_on])
