"""Labelling: the label map of a case, completed: the real annotation, what teachers say where that is silent, and ignore.

At every voxel the classes compete as they do in a prediction (`inference.nesting`): by probability, nested ones within their
parent. What is annotated counts as certain. What wins is written if it unsays nothing that is annotated (`openness`). A voxel
is ignored where a class is uncertain that could be there beside what is written, unless a real annotation stands there, and
where a merged label stays unresolved.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.completion.filters.opinion import Opinion
from nnunetv2_cdpd.completion.openness import Openness, excluded_classes
from nnunetv2_cdpd.completion.votes import HALF_PROBABLE
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.portable.rivalry import winners_of

_CERTAIN = np.float32(2.0)  # above any probability less one half
_AT_ONCE = 1 << 24  # numbers of all classes that are held at a time


@dataclass(frozen=True)
class Completed:
    """A completed label map.

    labels: (Z, Y, X) values of the dataset, and `ignore` where nothing is to be learned.
    voxels: Value -> how many.
    kept: Value -> how many of them had it before.
    added: Class -> voxels that it was written to.
    ignored: Class -> voxels that are ignored for its sake (several may be the reason for one).
    kept_over: Class -> voxels where it is uncertain under a real annotation, which stays.
    """

    labels: np.ndarray
    voxels: Mapping[int, int]
    kept: Mapping[int, int]
    added: Mapping[int, int]
    ignored: Mapping[int, int]
    kept_over: Mapping[int, int]


class CaseLabeller:
    """Completes the label maps of a dataset.

    Args:
        annotation: Of the dataset.
        ignore: Value to write where nothing is to be learned.
    """

    def __init__(self, annotation: Annotation, ignore: int) -> None:
        self.annotation, self.ignore = annotation, ignore
        self.tree = ClassTree.of(annotation)
        self.openness = [Openness.of(annotation, source) for source in range(len(annotation.sources))]
        self.excluded = excluded_classes(annotation)

    def completed(self, labels: np.ndarray, source: int, opinions: Mapping[int, Opinion]) -> Completed:
        """Complete a label map.

        Args:
            labels: (Z, Y, X) stored values.
            source: Index of the case's source.
            opinions: Of every class that the case leaves open, by its index (`Openness.open_at`).
        """
        openness, present = self.openness[source], list(_counted(labels))
        if missing := set(openness.open_at(present)) - set(opinions):
            raise ValueError(f"no opinion on {sorted(missing)}, which the case leaves open")
        size = max(self.annotation.num_values, self.ignore + 1)
        made = np.zeros(labels.shape, np.uint8 if size <= 256 else np.uint16)
        added, ignored, kept_over = Counter[int](), Counter[int](), Counter[int]()
        classes = np.flatnonzero(openness.certain[present].any(0)).tolist()
        classes += [k for k, opinion in opinions.items() if _says(opinion)]
        classes = sorted(set(classes))
        step = max(1, _AT_ONCE // max(1, labels[0].size * len(classes)))
        for start in range(0, len(labels), step):
            slab = slice(start, min(start + step, len(labels)))
            made[slab] = self._slab(labels[slab], slab, classes, openness, opinions, added, ignored, kept_over)
        return Completed(made, _counted(made), _counted(made[made == labels]), added, ignored, kept_over)

    def _slab(
        self,
        labels: np.ndarray,
        slab: slice,
        classes: Sequence[int],
        openness: Openness,
        opinions: Mapping[int, Opinion],
        added: Counter[int],
        ignored: Counter[int],
        kept_over: Counter[int],
    ) -> np.ndarray:
        winners = self._winners(labels, slab, classes, openness, opinions)
        values = np.concatenate([[0], self.annotation.values])
        writable = np.concatenate([np.zeros((len(openness.addable), 1), bool), openness.addable], 1)[labels, winners]
        made = np.where(writable, values[winners], labels)
        is_certain = np.asarray(openness.certain.any(1))
        final = np.where(writable | is_certain[labels], winners, 0)
        lost = openness.is_merged[labels] & ~writable
        if self.annotation.ignore_value is not None:
            lost |= labels == self.annotation.ignore_value
        real = openness.is_real[labels]
        excluded = np.concatenate([np.zeros((1, self.excluded.shape[1]), bool), self.excluded])
        for k, opinion in opinions.items():
            told = _within(opinion, slab, labels.shape)
            if told is None:
                continue
            cut, uncertain = told
            is_open, is_excluded = openness.addable[:, k][labels[cut]], excluded[:, k][final[cut]]
            doubt = is_open & ~is_excluded & (True if uncertain is None else uncertain)
            if opinion.probability is not None and opinion.box is not None:  # two that exclude each other, both said to be there
                said = opinion.probability[_part(opinion.box[0], slab)] > HALF_PROBABLE
                doubt |= is_open & is_excluded & said & writable[cut]
            kept_over[k] += int((doubt & real[cut]).sum())
            doubt &= ~real[cut]
            ignored[k] += int(doubt.sum())
            lost[cut] |= doubt
        for k in opinions:
            added[k] += int(((winners == k + 1) & writable & ~lost).sum())
        return np.where(lost, self.ignore, made)

    def _winners(
        self,
        labels: np.ndarray,
        slab: slice,
        classes: Sequence[int],
        openness: Openness,
        opinions: Mapping[int, Opinion],
    ) -> np.ndarray:
        """The winning class of each voxel, of those that can win anywhere: 0 for none, k + 1 for class k."""
        if not classes:
            return np.zeros(labels.shape, np.intp)
        margins = np.empty((len(classes), *labels.shape), np.float32)
        for row, k in enumerate(classes):
            margins[row] = np.where(openness.certain[:, k], _CERTAIN, -_CERTAIN)[labels]
            opinion = opinions.get(k)
            told = None if opinion is None else _within(opinion, slab, labels.shape)
            if opinion is None or told is None or opinion.probability is None or opinion.box is None:
                continue
            cut, _ = told
            margin = opinion.probability[_part(opinion.box[0], slab)] - np.float32(HALF_PROBABLE)
            margins[row][cut] = np.where(openness.addable[:, k][labels[cut]], margin, margins[row][cut])
        return winners_of(self.tree, margins, classes).astype(np.intp)


def _says(opinion: Opinion) -> bool:
    """Whether a class is said to be anywhere."""
    return opinion.probability is not None and bool((opinion.probability > HALF_PROBABLE).any())


def _within(opinion: Opinion, slab: slice, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray | None] | None:
    """Where in a slab of the image an opinion speaks, and what is uncertain there (None: all); None: nowhere."""
    if opinion.box is None:
        return tuple(slice(0, length) for length in shape), None
    first, last = max(opinion.box[0].start, slab.start), min(opinion.box[0].stop, slab.stop)
    if first >= last or opinion.uncertain is None:
        return None
    cut = (slice(first - slab.start, last - slab.start), *opinion.box[1:])
    return cut, opinion.uncertain[_part(opinion.box[0], slab)]


def _part(box: slice, slab: slice) -> slice:
    """Of a box along the first axis, within a slab."""
    return slice(max(box.start, slab.start) - box.start, min(box.stop, slab.stop) - box.start)


def _counted(labels: np.ndarray) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {value: int(count) for value, count in enumerate(counts) if count}
