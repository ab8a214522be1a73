"""Origin: which model and which dataset scores are of, as far as the files beside them tell, and where cases lie now.

The page names folders that say what they are (Dataset400_X, TRAINER__PLANS__CONFIGURATION, fold_0), and no path.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.roles import SETTINGS_FILE
from nnunetv2_cdpd.evaluation.results import CaseScores
from nnunetv2_cdpd.jobs import read_json
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE
from nnunetv2_cdpd.report.comparison import path_parts

_DATASET = re.compile(r"Dataset\d{3}_")


def model_of(folder: Path, cases: Sequence[CaseScores]) -> str:
    """The model that predicted the cases.

    Args:
        folder: Of the results.
    """
    parts = path_parts(cases[0].prediction_file)[:-1] if cases else folder.absolute().parts
    settings, plans = (read_json(folder / name) for name in (SETTINGS_FILE, PLANS_FILE))
    if isinstance(settings, dict) and isinstance(settings.get("model"), str):
        return _model(path_parts(settings["model"]), settings.get("folds"))
    if any("__" in part for part in parts):  # the validation of a training
        return _model(parts)
    name = parts[-1] if parts else ""
    if isinstance(plans, dict) and isinstance(plans.get("plans_name"), str):
        return f"{name}, by {plans['plans_name']} of {plans.get('dataset_name', 'an unknown dataset')}"
    return name


def dataset_of(cases: Sequence[CaseScores]) -> str:
    """The dataset whose references the cases were scored on."""
    parts = path_parts(cases[0].reference_file)[:-1] if cases else ()
    named = [part for part in parts if _DATASET.match(part)]
    return ", ".join(dict.fromkeys([*named[-1:], *parts[-1:]]))


def where_now(
    scores: CaseScores, folder: Path, references: str | Path | None = None, predictions: str | Path | None = None
) -> tuple[Path, Path]:
    """Reference and prediction of a scored case, also after the tree of folders that they lie in was moved.

    Args:
        folder: Of the results.
        references, predictions: Folders to take them from.
    """
    reference, prediction = Path(scores.reference_file), Path(scores.prediction_file)
    if predictions is not None:
        prediction = Path(predictions, prediction.name)
    elif not prediction.is_file():
        prediction = folder / prediction.name
    if references is not None:
        reference = Path(references, reference.name)
    elif not reference.is_file():  # as it lay to the prediction, so it does now
        way = os.path.relpath(scores.reference_file, Path(scores.prediction_file).parent)
        reference = Path(os.path.normpath(prediction.absolute().parent / way))
    return reference, prediction


def _model(parts: Sequence[str], folds: Any = None) -> str:
    at = next((number for number, part in enumerate(parts) if "__" in part), len(parts) - 1)
    told = [parts[at], *(part for part in parts[at + 1 :] if part.startswith("fold_"))] if parts else []
    told += [f"folds {' '.join(map(str, folds))}"] if isinstance(folds, list) else []
    dataset = next((part for part in reversed(parts[:at]) if _DATASET.match(part)), "")
    return ", ".join([*told, f"trained on {dataset}"] if dataset else told)
