"""The final validation of a training: nnU-Net's function that scores it, counting only what is annotated."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import ScoringJob, score_case
from nnunetv2_cdpd.evaluation.metrics import OVERLAP_METRICS
from nnunetv2_cdpd.evaluation.nnunet import Region, nnunet_keys, nnunet_summary, write_summary
from nnunetv2_cdpd.evaluation.results import CaseScores, scored_on
from nnunetv2_cdpd.evaluation.scoring import scores_of
from nnunetv2_cdpd.jobs import in_processes, run
from nnunetv2_cdpd.volumes.reading import CheckedReader


def compute_annotated_metrics_on_folder(
    folder_ref: str,
    folder_pred: str,
    output_file: str | None,
    image_reader_writer: BaseReaderWriter,
    file_ending: str,
    regions_or_labels: Sequence[Region],
    ignore_label: int | None = None,
    num_processes: int = default_num_processes,
    chill: bool = True,
    *,
    annotation: Annotation,
) -> dict[str, Any]:
    """nnU-Net's compute_metrics_on_folder, counting in each case only what its source annotates; no surface metrics.

    Args:
        output_file: summary.json to write; None: none.
        regions_or_labels: nnU-Net's, one for each class of the annotation: regions in its order, or labels in any.
        ignore_label: Not used; the annotation knows it.
        chill: False: every reference needs a prediction.
        annotation: Of the dataset that both folders belong to.

    Returns:
        nnU-Net's dict: metric_per_case, mean, foreground_mean, in which a class or union that no case is scored on is nan; and
        a `cdpd` entry: names of the classes, and for each source number of cases, means by class ("not annotated" where no
        case is scored) and foreground_mean.

    Raises:
        UserError: No prediction, one is missing, or a case could not be scored.
    """
    predicted, references = (identifiers(Path(folder), file_ending) for folder in (folder_pred, folder_ref))
    missing = [] if chill else sorted({*references} - {*predicted})
    if missing or not predicted:
        raise UserError(f"{folder_pred}: no prediction for {', '.join(missing) or 'any case'}; predict the validation cases")
    alone = replace(annotation, case_source=None)  # the jobs need not carry the list of cases
    jobs = {
        case: ScoringJob(
            os.path.join(folder_ref, case + file_ending),
            os.path.join(folder_pred, case + file_ending),
            CheckedReader(image_reader_writer),
            reference=alone,
            source=annotation.source_index(case),
            prediction=alone,
            tolerance_mm=None,
            strict=False,  # after days of training no label map is refused that was trained on
        )
        for case in predicted
    }
    outcome = run(jobs, in_processes(score_case, num_processes), title="evaluate", progress=False)
    for case, reason in outcome.failed.items():
        raise UserError(f"{len(outcome.failed)} of {len(jobs)} cases could not be scored; case {case!r}: {reason}")
    scores = scores_of(jobs, outcome)
    keys = nnunet_keys(annotation, regions_or_labels, annotation.column_names)
    summary = nnunet_summary(scores, annotation, keys, OVERLAP_METRICS)
    summary["cdpd"] = {
        "version": 1,
        "classes": {str(key): name for name, key in keys.items()},
        "sources": {
            source.name: _of_source([case for case in scores if case.source == source.name], annotation, keys)
            for source in annotation.sources
        },
    }
    if output_file is not None:
        write_summary(summary, Path(output_file))
    return summary


def _of_source(cases: Sequence[CaseScores], annotation: Annotation, keys: Mapping[str, Region]) -> dict[str, Any]:
    """Means of one source's cases by class name."""
    summary = nnunet_summary(cases, annotation, keys, OVERLAP_METRICS)
    scored = scored_on(cases)
    return {
        "cases": len(cases),
        "classes": {name: summary["mean"][key] if name in scored else "not annotated" for name, key in keys.items()},
        "foreground_mean": summary["foreground_mean"],
    }
