"""Scoring: every case of a folder of predictions against its reference, as a batch."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import ScoringJob, score_case
from nnunetv2_cdpd.evaluation.folders import LabelledFolder, cases_to_score
from nnunetv2_cdpd.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.jobs import Outcome, in_processes, number_of_processes, run


@dataclass(frozen=True)
class EvaluationOptions:
    """How to score.

    protocol: Name in `PROTOCOLS`.
    tolerance_mm: Of the surface Dice.
    num_processes: With 1 everything runs in this process; None: nnU-Net's default, at most one per core and per 4 cases,
        because a process takes seconds to start.
    allow_missing: Score the cases that are there, although references without a prediction remain.
    fully_annotated: Take every class as annotated in a case that `case_source` of the dataset.json does not list.
    progress: Show a progress bar.
    report: Called with each note.
    """

    protocol: str = NNUNET.name
    tolerance_mm: float = DEFAULT_TOLERANCE_MM
    num_processes: int | None = None
    allow_missing: bool = False
    fully_annotated: bool = False
    progress: bool = True
    report: Callable[[str], None] = print

    def __post_init__(self) -> None:
        if not self.tolerance_mm >= 0:
            raise UserError(f"argument tolerance_mm {self.tolerance_mm}: a distance is not negative")
        if self.protocol not in PROTOCOLS:
            raise UserError(f"argument protocol {self.protocol!r}: choose from {', '.join(PROTOCOLS)}")


def score_folder(predictions: LabelledFolder, references: LabelledFolder, options: EvaluationOptions) -> Results:
    """Score the cases of a folder; those that cannot be scored are `problems` of the results.

    Raises:
        UserError: No case can be scored, or no class.
    """
    cases = cases_to_score(predictions.folder, references, allow_missing=options.allow_missing, report=options.report)
    ending = references.file_ending
    reader = reader_for(references.dataset_json, [references.folder / f"{case}{ending}" for case in cases])
    # The jobs need not carry the list of cases.
    reference, prediction = (replace(folder.annotation, case_source=None) for folder in (references, predictions))
    jobs = {
        case: ScoringJob(
            case,
            os.path.abspath(references.folder / f"{case}{ending}"),  # `cdpd report` may run elsewhere
            os.path.abspath(predictions.folder / f"{case}{ending}"),
            reader,
            reference=reference,
            source=references.source_index(case),
            prediction=prediction,
            tolerance_mm=options.tolerance_mm,
            protocol=PROTOCOLS[options.protocol],
        )
        for case in cases
    }
    num_processes = number_of_processes(options.num_processes, len(jobs), jobs_per_process=4)
    outcome = run(jobs, in_processes(score_case, num_processes), title="evaluate", progress=options.progress)
    if not outcome.done:
        first = min(outcome.failed)
        raise UserError(f"none of {len(jobs)} cases could be scored; case {first!r}: {outcome.failed[first]}")
    if not any(outcome.done.values()):
        raise UserError(
            f"no class to score: the reference has {', '.join(reference.classes)}, the prediction "
            f"{', '.join(prediction.classes)}; classes are matched by name, give the dataset.json that belongs to each"
        )
    scores = scores_of(jobs, outcome)
    results = Results(
        reference,
        prediction,
        tuple(scores[case] for case in sorted(scores)),
        options.tolerance_mm,
        {case: outcome.failed[case] for case in sorted(outcome.failed)},
        PROTOCOLS[options.protocol],
    )
    if results.unknown_classes:
        unknown = ", ".join(results.unknown_classes)
        options.report(f"note: not scored, because {predictions.dataset_json.path} does not list them: {unknown}")
    return results


def scores_of(jobs: Mapping[str, ScoringJob], outcome: Outcome[dict[str, dict[str, float]]]) -> dict[str, CaseScores]:
    """Case -> its scores, of those that were scored."""
    return {
        case: CaseScores(
            case,
            jobs[case].reference.sources[jobs[case].source].name,
            jobs[case].reference_file,
            jobs[case].prediction_file,
            found,
        )
        for case, found in outcome.done.items()
    }
