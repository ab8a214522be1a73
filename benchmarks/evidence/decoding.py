"""Decoding: label maps that begin at half, and where the highest Dice is expected, of the same networks on the same patients.

The networks are those of the five folds of the cross-validation of `extension`; each predicts the patients that none of them
was trained on, alone. Complete patients are like those of training, partial ones of another hospital and field of view.
"""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from patients import ORGANS, Patients
from results import FOLDER, mean_of_known, write_json

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean

DECODINGS = ("half", "dice")
FOLDS = ("0", "1", "2", "3", "4")
WORSE = 0.001  # of Dice, which is less than is told

Scores = dict[str, dict[str, list[float]]]  # patient -> organ -> Dice of each decoding


def measure_decoding(model: Path, visible: Path, patients: Patients) -> None:
    """Predict and score, fold by fold; a fold that has a result is passed over.

    Args:
        model: Trained on all complete patients but those of split 0.
    """
    from nnunetv2_cdpd.inference.predictor import Predictor

    kept_back = [*patients.tested(0, partial=False), *patients.partial]
    for fold in FOLDS:
        path = path_of_fold(fold)
        if path.exists():
            continue
        predictor = Predictor.from_folder(model, [fold], device="cpu", allow_tqdm=False)
        scores: Scores = {}
        for patient in kept_back:
            reference = sitk.GetArrayFromImage(sitk.ReadImage(str(visible / "labels" / f"{patient}.nii.gz")))
            image = visible / "images" / f"{patient}.nii.gz"
            found = [predictor.predict(image, decode=decoding) for decoding in DECODINGS]
            scores[patient] = {
                organ: [round(dice(prediction.mask(organ), reference == ORGANS[organ]), 4) for prediction in found]
                for organ in patients.annotated[patient]
            }
        write_json(path, scores)


def path_of_fold(fold: str) -> Path:
    return FOLDER / "decoding" / f"fold{fold}.json"


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Of a reference that is not empty."""
    return float(2 * (mask & reference).sum() / (mask.sum() + reference.sum()))


def decoding_table() -> str:
    """Dice of both decodings by organ and kind of patient, means over folds; '' without results."""
    folds: list[Scores] = [json.loads(path.read_text()) for fold in FOLDS if (path := path_of_fold(fold)).exists()]
    if not folds:
        return ""
    rows = []
    complete = [patient for patient, organs in folds[0].items() if set(organs) == set(ORGANS)]
    for words, patients in (("complete", complete), ("partial", [patient for patient in folds[0] if patient not in complete])):
        found = np.full((len(folds), len(patients), len(ORGANS), len(DECODINGS)), np.nan)
        for fold, scores in enumerate(folds):
            for row, patient in enumerate(patients):
                for organ, values in scores[patient].items():
                    found[fold, row, list(ORGANS).index(organ)] = values
        gain = found[..., 1] - found[..., 0]
        for column, organ in enumerate(ORGANS):
            if not np.isnan(gain[:, :, column]).all():
                rows.append(_row(words, organ, found[:, :, column : column + 1]))
        rows.append(_row(words, "**mean**", found))
    columns = ["patients", "organ", "half", "dice", "difference in points", "got worse", "got better"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|---|{'---:|' * (len(columns) - 2)}", *rows])


def _row(words: str, organ: str, found: np.ndarray) -> str:
    """found: (folds, patients, organs, decodings); nan where an organ is not annotated."""
    there = found[:, :, ~np.isnan(found[..., 0]).all((0, 1))]
    half, best = (np.mean(mean_of_known(there[..., which], (0, 1))) for which in range(2))
    gain = there[..., 1] - there[..., 0]
    annotated = ~np.isnan(gain[0]).all(1)
    low, high = interval_of_mean(gain[:, annotated].mean(0))  # patients drawn again
    every = gain[~np.isnan(gain)]
    worse, better = ((change > WORSE).mean() for change in (-every, every))
    told = f"{100 * (best - half):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"| {words} | {organ} | {half:.3f} | {best:.3f} | {told} | {worse:.0%} | {better:.0%} |"
