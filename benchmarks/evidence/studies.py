"""Studies: all of them by name, and the datasets that they make, in the order of their numbers."""

from extension import DATASETS as OF_EXTENSION
from extension import EXTENSION
from partial_labels import PARTIAL_LABELS
from patients import MIXED_SOURCES, PARTIAL_SOURCES
from study import BACKGROUND, COMPLETE, MERGED, MIXED, PARTS, Study
from vision import VISION

STUDIES: dict[str, Study] = {**PARTIAL_LABELS, **EXTENSION, **VISION}
DATASETS = (COMPLETE.name, *PARTS, MERGED, BACKGROUND, *OF_EXTENSION, *(source.name for source in PARTIAL_SOURCES))
DATASETS += (MIXED, *(source.name for source in MIXED_SOURCES))
