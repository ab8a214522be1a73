"""nnU-Net's cross-validation commands with scores of annotated classes only.

nnUNetv2_accumulate_crossval_results and nnUNetv2_find_best_configuration score the folds' predictions anew, with nnU-Net's own
function: what a source does not annotate counts as absent there, and every correct voxel of it as an error. They are run
here as they are, with our function in its place.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.nnunet import compute_annotated_metrics_on_folder
from nnunetv2_cdpd.host import lent_arguments, substituted

DEFAULT_TRAINER = "nnUNetTrainerCDPD"


def accumulate_crossval_results(arguments: Sequence[str]) -> None:
    """nnUNetv2_accumulate_crossval_results; the trainer is ours unless -tr names another."""
    from nnunetv2.evaluation.find_best_configuration import accumulate_crossval_results_entry_point

    with annotated_metrics(), lent_arguments("cdpd accumulate", arguments, tr=DEFAULT_TRAINER):
        accumulate_crossval_results_entry_point()


def find_best_configuration(arguments: Sequence[str]) -> None:
    """nnUNetv2_find_best_configuration; the trainer is ours unless -tr names others."""
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration_entry_point

    with annotated_metrics(), lent_arguments("cdpd find-best", arguments, tr=DEFAULT_TRAINER):
        find_best_configuration_entry_point()


@contextmanager
def annotated_metrics() -> Iterator[None]:
    """Our metrics wherever nnU-Net's cross-validation scores a folder: folds, ensembles and their postprocessing."""
    from nnunetv2.evaluation import accumulate_cv_results, find_best_configuration
    from nnunetv2.postprocessing import remove_connected_components

    with ExitStack() as stack:
        for module in (accumulate_cv_results, find_best_configuration, remove_connected_components):
            stack.enter_context(substituted(module, compute_metrics_on_folder=_compute_metrics_on_folder))
        yield


def _compute_metrics_on_folder(folder_ref: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """nnU-Net's compute_metrics_on_folder; the annotation is that of the dataset which the references lie in."""
    path = os.path.join(os.path.dirname(folder_ref.rstrip("/\\")), "dataset.json")
    try:
        with open(path, encoding="utf-8") as file:
            annotation = read_annotation(json.load(file))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); preprocess the dataset again") from error
    return compute_annotated_metrics_on_folder(folder_ref, *args, **kwargs, annotation=annotation)
