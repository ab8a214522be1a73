"""Scoring: every case of a folder of predictions against its reference, as a batch."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import ScoringJob, score_case
from nnunetv2_cdpd.evaluation.folders import LabelledFolder, cases_to_score
from nnunetv2_cdpd.evaluation.nesting import joined_nesting, nested_alike, told_nesting
from nnunetv2_cdpd.evaluation.protocols import DEFAULT_TOLERANCE_MM, NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CaseScores, Results, scored_on
from nnunetv2_cdpd.jobs import Outcome, in_processes, number_of_processes, run
from nnunetv2_cdpd.volumes.reading import told_notes


@dataclass(frozen=True)
class EvaluationOptions:
    """How to score.

    protocol: Name in `PROTOCOLS`.
    tolerance_mm: Of the surface Dice.
    num_processes: With 1 everything runs in this process; None: nnU-Net's default, at most one per core and per 4 cases,
        because a process takes seconds to start.
    allow_missing: Score the cases with a reference and a prediction, although others have one of the two only.
    known_missing: Cases that may have one of the two only in any event, because they are known to.
    fully_annotated: Take every class as annotated in a case that `case_source` of the dataset.json does not list.
    progress: Show a progress bar.
    report: Called with each note.
    """

    protocol: str = NNUNET.name
    tolerance_mm: float = DEFAULT_TOLERANCE_MM
    num_processes: int | None = None
    allow_missing: bool = False
    known_missing: frozenset[str] = frozenset()
    fully_annotated: bool = False
    progress: bool = True
    report: Callable[[str], None] = print

    def __post_init__(self) -> None:
        if not self.tolerance_mm >= 0:
            raise UserError(f"argument tolerance_mm {self.tolerance_mm}: a distance is not negative")
        if self.protocol not in PROTOCOLS:
            raise UserError(f"argument protocol {self.protocol!r}: choose from {', '.join(PROTOCOLS)}")


def score_folder(folder: Path, references: LabelledFolder, options: EvaluationOptions) -> Results:
    """Score the predictions in a folder; cases that cannot be scored are `problems` of the results.

    Raises:
        UserError: No case can be scored, or no class.
    """
    predictions = LabelledFolder.of_predictions(folder, references)
    cases = cases_to_score(
        folder, references, allow_missing=options.allow_missing, known_missing=options.known_missing, report=options.report
    )
    ending, protocol = references.dataset_json.file_ending, PROTOCOLS[options.protocol]
    reader = reader_for(references.dataset_json, [references.folder / f"{case}{ending}" for case in cases])
    alike = nested_alike(references.annotation, predictions.annotation)
    # The jobs need not carry the list of cases.
    reference, prediction = (replace(side, case_source=None) for side in (alike.reference, alike.prediction))
    jobs = {
        case: ScoringJob(
            os.path.abspath(references.folder / f"{case}{ending}"),  # `cdpd report` may run elsewhere
            os.path.abspath(folder / f"{case}{ending}"),
            reader,
            reference=reference,
            source=references.source_index(case),
            prediction=prediction,
            tolerance_mm=options.tolerance_mm,
            protocol=protocol,
        )
        for case in cases
    }
    for note in told_notes(Path(file) for job in jobs.values() for file in (job.reference_file, job.prediction_file)):
        options.report(f"note: {note}")
    num_processes = number_of_processes(options.num_processes, len(jobs), jobs_per_process=4)
    outcome = run(jobs, in_processes(score_case, num_processes), title="evaluate", progress=options.progress)
    outcome.check_any("scored")
    if not any(outcome.done.values()):
        raise UserError(
            f"no class to score: the reference has {', '.join(reference.classes)}, the prediction "
            f"{', '.join(prediction.classes)}; classes are matched by name, give the dataset.json that belongs to each"
        )
    scores = scores_of(jobs, outcome)
    said = joined_nesting(references.nested, alike.nested)
    nested = {name: inner for name, inner in said.items() if name in scored_on(scores)}
    results = Results(reference, prediction, scores, options.tolerance_mm, outcome.failed, protocol, nested)
    if nested:
        options.report(f"note: {told_nesting(nested)}")
    for name, doubt in alike.doubts.items():
        if name in scored_on(scores):
            options.report(f"note: {name} may not be the same on both sides: {doubt}")
    if results.unknown_classes:
        unknown = ", ".join(results.unknown_classes)
        options.report(f"note: not scored, because {predictions.dataset_json.path} does not list them: {unknown}")
    return results


def scores_of(jobs: Mapping[str, ScoringJob], outcome: Outcome[dict[str, dict[str, float]]]) -> tuple[CaseScores, ...]:
    """The scores of the cases that could be scored, in the order of the jobs."""
    return tuple(
        CaseScores(case, job.reference.sources[job.source].name, job.reference_file, job.prediction_file, outcome.done[case])
        for case, job in jobs.items()
        if case in outcome.done
    )
