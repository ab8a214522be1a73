"""Which source annotates which class: the model with its tables (`model`), its form in dataset.json
(`cdpd_block`), what cannot be (`contradictions`), what a network's heads stand for (`heads`), and the tables in words
(`explain`)."""

from nnunetv2_cdpd.annotation.cdpd_block import (
    CDPD_VERSION,
    dataset_json_entries,
    read_annotation,
    read_unchecked_annotation,
    with_sigmoid_heads,
)
from nnunetv2_cdpd.annotation.contradictions import cases_without_source, check_annotation, contradictions, never_learned
from nnunetv2_cdpd.annotation.heads import differing_heads, moved_classes
from nnunetv2_cdpd.annotation.model import NEGATIVE, POSITIVE, STATE_OF, UNSUPERVISED, Annotation, MergedLabel, Source

__all__ = [
    "CDPD_VERSION",
    "NEGATIVE",
    "POSITIVE",
    "STATE_OF",
    "UNSUPERVISED",
    "Annotation",
    "MergedLabel",
    "Source",
    "cases_without_source",
    "check_annotation",
    "contradictions",
    "dataset_json_entries",
    "differing_heads",
    "moved_classes",
    "never_learned",
    "read_annotation",
    "read_unchecked_annotation",
    "with_sigmoid_heads",
]
