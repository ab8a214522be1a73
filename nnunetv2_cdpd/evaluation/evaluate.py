"""Evaluate a folder of predictions against a folder of references: `cdpd evaluate`.

Which classes a case is scored on follows from the reference's dataset.json: the `cdpd` block says what the case's source
annotates; without one every class counts.
"""

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.errors import UserError

METRICS = ("Dice", "HD95", "SurfaceDice")
DEFAULT_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case: column name (class or merged label) -> metric -> value."""

    case: str
    source: str
    reference_file: Path
    prediction_file: Path
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder.

    annotation: Of the references.
    cases: In the order of their identifiers.
    failed: Case identifier -> why it could not be scored.
    tolerance_mm: Of the surface Dice.
    """

    annotation: Annotation
    cases: tuple[CaseScores, ...]
    failed: dict[str, str]
    tolerance_mm: float

    def values(self, column: str, metric: str, source: str | None = None) -> np.ndarray:
        """One metric of one class over the cases that are scored on it, of one source or of all."""
        chosen = [case for case in self.cases if column in case.scores and source in (None, case.source)]
        return np.array([case.scores[column][metric] for case in chosen], float)

    def mean(self, column: str, metric: str, source: str | None = None) -> float:
        """Mean over cases, without nan (empty in both) and without infinite distances (empty in one); nan where none is left."""
        values = self.values(column, metric, source)
        values = values[np.isfinite(values)]
        return float(values.mean()) if values.size else float("nan")

    def mean_over_classes(self, metric: str, source: str | None = None) -> float:
        """Mean of the classes' means."""
        means = np.array([self.mean(column, metric, source) for column in self.annotation.column_names])
        means = means[np.isfinite(means)]
        return float(means.mean()) if means.size else float("nan")


def evaluate_folder(
    prediction_folder: str | Path,
    reference_folder: str | Path,
    *,
    dataset_json: str | Path | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    fully_annotated: bool = False,
    allow_missing: bool = False,
    num_processes: int = 1,
) -> Evaluation:
    """Score every reference that has a prediction of the same file name.

    Args:
        prediction_folder: As nnUNetv2_predict writes it; its dataset.json tells what the stored values mean.
        reference_folder: Label maps.
        dataset_json: Of the references; None: in or above `reference_folder`, else the prediction's.
        tolerance_mm: Of the surface Dice.
        fully_annotated: Score cases on every class, whatever the `cdpd` block says.
        allow_missing: Leave references without prediction out instead of refusing.

    Raises:
        UserError: Folders, dataset.json or predictions are missing, or a case is of no known source.
    """
    predictions, references = Path(prediction_folder), Path(reference_folder)
    for folder in (predictions, references):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    reference_json = _find_dataset_json(references, predictions, dataset_json)
    predicted_json = _read_json(predictions / "dataset.json") if (predictions / "dataset.json").is_file() else reference_json
    annotation, predicted = Annotation.from_dataset_json(reference_json), Annotation.from_dataset_json(predicted_json)
    if fully_annotated:
        annotation = annotation.fully_annotated()
    unknown = [name for name in annotation.classes if name_key(name) not in map(name_key, predicted.classes)]
    if len(unknown) == len(annotation.classes):
        raise UserError(f"{predictions}: predicts none of the reference's classes ({', '.join(annotation.classes)})")

    ending = reference_json["file_ending"]
    files = sorted(path for path in references.iterdir() if path.name.endswith(ending) and not path.name.startswith("."))
    if not files:
        raise UserError(f"{references}: holds no reference ending in {ending}")
    missing = [path.name for path in files if not (predictions / path.name).is_file()]
    if missing and not allow_missing:
        raise UserError(
            f"{predictions}: {len(missing)} of {len(files)} references have no prediction (first: {missing[0]}); predict them, "
            "or pass --allow-missing"
        )
    present = [path for path in files if path.name not in missing]
    if not present:
        raise UserError(f"{predictions}: holds no prediction of the references in {references}")
    jobs = []
    for path in present:
        case = path.name[: -len(ending)]
        try:
            source = annotation.source_index(case)
        except UserError:
            raise UserError(
                f"{path}: case {case!r} is in no source of the dataset.json; pass --fully-annotated if every class is labelled in it"
            ) from None
        jobs.append((case, path, predictions / path.name, source))
    cases, failed = _run(jobs, annotation, predicted, reference_json, tolerance_mm, num_processes)
    return Evaluation(annotation, tuple(sorted(cases, key=lambda scored: scored.case)), failed, tolerance_mm)


def _run(
    jobs: Sequence[tuple], annotation: Annotation, predicted: Annotation, dataset_json: dict, tolerance_mm: float, num_processes: int
) -> tuple[list[CaseScores], dict[str, str]]:
    from tqdm import tqdm

    cases, failed = [], {}
    fixed = (annotation, predicted, dataset_json, tolerance_mm)
    with tqdm(total=len(jobs), desc="Evaluating", unit="case", disable=None) as progress:
        if num_processes <= 1:
            for job in jobs:
                outcome = _score_case(*job, *fixed)
                cases.append(outcome) if isinstance(outcome, CaseScores) else failed.update({job[0]: outcome})
                progress.update()
            return cases, failed
        with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(_score_case, *job, *fixed): job[0] for job in jobs}
            for future in as_completed(futures):
                outcome = future.result()
                cases.append(outcome) if isinstance(outcome, CaseScores) else failed.update({futures[future]: outcome})
                progress.update()
    return cases, failed


def _score_case(
    case: str,
    reference_file: Path,
    prediction_file: Path,
    source: int,
    annotation: Annotation,
    predicted: Annotation,
    dataset_json: dict,
    tolerance_mm: float,
) -> CaseScores | str:
    """Scores of a case, or in words why there are none: one bad file must not stop the others."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    from nnunetv2_cdpd.evaluation.metrics import class_masks, overlap_metrics, scored_columns, surface_metrics

    reader = determine_reader_writer_from_dataset_json(dataset_json, str(reference_file), verbose=False)()
    try:
        reference, properties = reader.read_seg(str(reference_file))
        prediction, predicted_properties = reader.read_seg(str(prediction_file))
    except Exception as error:  # SimpleITK, nibabel and tifffile each have their own
        return f"not readable: {str(error).strip().splitlines()[-1]}"
    if reference.shape != prediction.shape or not np.allclose(properties["spacing"], predicted_properties["spacing"], rtol=1e-3):
        return (
            f"geometry differs: reference {reference.shape[1:]} of {np.round(properties['spacing'], 3).tolist()} mm, "
            f"prediction {prediction.shape[1:]} of {np.round(predicted_properties['spacing'], 3).tolist()} mm"
        )
    for name, values, known in (("reference", reference, annotation), ("prediction", prediction, predicted)):
        undeclared = [value for value in np.unique(values).tolist() if value != int(value) or not 0 <= value < known.num_values]
        if undeclared:
            return f"{name} holds values that its dataset.json does not declare: {undeclared[:5]}"
    reference, prediction = reference[0].astype(np.int32), prediction[0].astype(np.int32)
    scores = {}
    for column in scored_columns(annotation, source):
        masks = class_masks(reference, prediction, column, annotation, source, predicted)
        scores[annotation.column_names[column]] = {
            **overlap_metrics(masks),
            **surface_metrics(masks, properties["spacing"], tolerance_mm),
        }
    return CaseScores(case, annotation.sources[source].name, reference_file, prediction_file, scores)


def _find_dataset_json(references: Path, predictions: Path, given: str | Path | None) -> dict[str, Any]:
    if given is not None:
        return _read_json(_given_dataset_json(str(given)))
    for folder in (references, references.parent, predictions):
        if (folder / "dataset.json").is_file():
            return _read_json(folder / "dataset.json")
    raise UserError(f"{references}: no dataset.json in it, above it or in {predictions}; name one by --dataset")


def _given_dataset_json(given: str) -> Path:
    """A dataset.json by its path, its folder, or a dataset's id or name in nnUNet_raw."""
    for path in (Path(given), Path(given) / "dataset.json"):
        if path.is_file():
            return path
    from nnunetv2.paths import nnUNet_raw
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    try:
        name = maybe_convert_to_dataset_name(int(given) if given.isdigit() else given)
        path = Path(str(nnUNet_raw)) / name / "dataset.json"
    except (RuntimeError, TypeError) as error:
        raise UserError(f"--dataset {given}: {str(error).splitlines()[0]}") from error
    if not path.is_file():
        raise UserError(f"--dataset {given}: no {path}")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
