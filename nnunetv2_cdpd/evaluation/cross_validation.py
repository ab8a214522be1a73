"""nnU-Net's cross-validation commands with scores of annotated classes only.

nnUNetv2_accumulate_crossval_results and nnUNetv2_find_best_configuration score the folds' predictions anew, with nnU-Net's own
function: what a source does not annotate counts as absent there, and every correct voxel of it as an error. Within
`annotated_metrics` they take ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
from nnunetv2_cdpd.evaluation.nnunet import compute_annotated_metrics_on_folder
from nnunetv2_cdpd.host import exchanged


@contextmanager
def annotated_metrics() -> Iterator[None]:
    """Our metrics wherever nnU-Net's cross-validation scores a folder: folds, ensembles and their postprocessing."""
    with exchanged("cross_validation_metrics", _compute_metrics_on_folder):
        yield


def _compute_metrics_on_folder(folder_ref: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """nnU-Net's compute_metrics_on_folder; the annotation is that of the dataset which the references lie in."""
    dataset_json = read_dataset_json(Path(folder_ref).absolute().parent / FILE_NAME)
    return compute_annotated_metrics_on_folder(folder_ref, *args, **kwargs, annotation=dataset_json.annotation)
