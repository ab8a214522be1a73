"""Which source annotates which class: the model with its tables (`model`), and its form in dataset.json (`dataset_json`)."""

from nnunetv2_cdpd.annotation.dataset_json import (
    CDPD_VERSION,
    check,
    dataset_json_entries,
    read_annotation,
    with_sigmoid_heads,
)
from nnunetv2_cdpd.annotation.model import NEGATIVE, POSITIVE, UNSUPERVISED, Annotation, MergedLabel, Source

__all__ = [
    "CDPD_VERSION",
    "NEGATIVE",
    "POSITIVE",
    "UNSUPERVISED",
    "Annotation",
    "MergedLabel",
    "Source",
    "check",
    "dataset_json_entries",
    "read_annotation",
    "with_sigmoid_heads",
]
