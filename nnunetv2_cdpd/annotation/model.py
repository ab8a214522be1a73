"""Annotation: which source annotates which class, and what a stored label value therefore says about every class.

A merged dataset stores one integer label map per case. What a value means depends on the source of the case: background
in a liver dataset says nothing about kidneys. `Annotation` reads this from dataset.json (nnU-Net's `labels` and
`regions_class_order`, and our `cdpd` block) and turns it into tables, value x class -> negative, positive or not
supervised, which the loss, the validation and the evaluation all share.

Words (see docs/annotation.md):
    annotated class   a class that a source labels wherever it occurs
    merged label      a stored value that means "one of these classes, not known which" (kidney = right or left kidney)
    union             a set of classes that can only be supervised or scored together, because of a merged label or of a
                      nested class with several possible parents (a kidney tumor lies in the right or the left kidney)

Source: CDPDNet, arXiv 2505.18958, partial labels; unlike its code, nothing is ever read from a case name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import DATASET_FILE

NEGATIVE, POSITIVE, UNSUPERVISED = 0, 1, 2
STATE_OF: Mapping[bool | None, int] = {False: NEGATIVE, True: POSITIVE, None: UNSUPERVISED}  # of an answer; None: nobody knows


@dataclass(frozen=True)
class MergedLabel:
    """A stored value that means one of several classes.

    value: Stored integer, used by no class.
    classes: Names of the classes that it may be, at least two.
    """

    name: str
    value: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A public or local collection of cases that were annotated by one protocol.

    annotated_classes: Classes labelled wherever they occur, each with its own value.
    merged_labels: Names of the merged labels that the source uses; their classes are annotated together.
    task_prompt: Sentence for the text encoder; None: made from the annotated classes.
    """

    name: str
    annotated_classes: tuple[str, ...]
    merged_labels: tuple[str, ...] = ()
    task_prompt: str | None = None
    license: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Annotation:
    """All that a dataset.json says about classes, sources and cases.

    classes: Names of the K classes, in the order of the network's heads (nnU-Net's order of `labels`).
    values: Stored value of each class, length K.
    regions: Stored values that certainly belong to each class, length K; includes those of its nested classes.
    possible_parents: Nested class -> classes of which each of its voxels belongs to exactly one, not known which.
    compatible: Pairs of classes whose borders are drawn differently by different sources.
    case_source: Case identifier -> name of its source; None: the dataset has one source, of every case.
    ignore_value: nnU-Net's ignore label, None if there is none.
    class_prompts: Class -> sentences for the text encoder in the user's own words; those of other classes are made from names.
    unasked: Of predictions, classes of the model that were not asked for and lie in none that was: background there.
    where: The file that it was read from, for messages.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    regions: tuple[tuple[int, ...], ...]
    sources: tuple[Source, ...]
    case_source: Mapping[str, str] | None = None
    merged_labels: tuple[MergedLabel, ...] = ()
    possible_parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compatible: frozenset[frozenset[str]] = frozenset()
    ignore_value: int | None = None
    class_prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unasked: tuple[str, ...] = ()
    where: str | Path = field(default=DATASET_FILE, compare=False, repr=False)

    # ---- sources and cases ---------------------------------------------------------------------------------------

    def source_index(self, case_identifier: str) -> int:
        """Index into `sources` of a case.

        Raises:
            UserError: The case is in no source, or there are several and nothing tells which.
        """
        if self.case_source is None:
            if len(self.sources) > 1:
                raise UserError(
                    f"{self.where}: `cdpd: case_source` is missing, so that nothing tells which of {len(self.sources)} sources "
                    f"case {case_identifier!r} is of; run `cdpd merge` again, then nnUNetv2_plan_and_preprocess"
                )
            return 0
        if case_identifier not in self.case_source:
            raise UserError(
                f"{self.where}: case {case_identifier!r} is missing in `cdpd: case_source`; run `cdpd merge` again, "
                "then nnUNetv2_plan_and_preprocess"
            )
        return [source.name for source in self.sources].index(self.case_source[case_identifier])

    def annotated_with_merged(self, source: Source) -> frozenset[str]:
        """Classes that a source labels wherever they occur, on their own or as part of a merged label."""
        merged = {name for label in self.merged_labels if label.name in source.merged_labels for name in label.classes}
        return frozenset(merged.union(source.annotated_classes))

    def stored_values(self, source: Source) -> list[int]:
        """Values that the label maps of a source hold: background, its classes, its merged labels and the ignore label."""
        named = {*self.values, *(label.value for label in self.merged_labels)}
        values = {0, *(label.value for label in self.merged_labels if label.name in source.merged_labels)}
        for name, value, region in zip(self.classes, self.values, self.regions):
            if name in source.annotated_classes:
                values |= {value} | (set(region) - named)  # where regions overlap, a part may have no name of its own
        return sorted(values | (set() if self.ignore_value is None else {self.ignore_value}))

    def lies_in(self, name: str) -> tuple[str, ...]:
        """The classes that a nested class lies in: all of them, or those of which it is not known in which; () for others."""
        own = set(self.regions[self.classes.index(name)])
        certain = (other for other, region in zip(self.classes, self.regions) if own < set(region))
        return self.possible_parents.get(name) or tuple(certain)

    # ---- tables --------------------------------------------------------------------------------------------------

    @cached_property
    def unions(self) -> tuple[frozenset[str], ...]:
        """The U class sets that some source supervises together only, in a fixed order."""
        sets = [frozenset(label.classes) for label in self.merged_labels]
        sets += [frozenset(parents) for parents in self.possible_parents.values() if len(parents) > 1]
        return tuple(dict.fromkeys(sets))

    @cached_property
    def columns(self) -> tuple[frozenset[str], ...]:
        """What the K + U columns of the tables stand for: each class alone, then the unions."""
        return (*(frozenset({name}) for name in self.classes), *self.unions)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns; a union has that of its merged label where there is one."""
        merged = {frozenset(label.classes): label.name for label in self.merged_labels}
        return tuple(merged.get(column, " or ".join(sorted(column, key=self.classes.index))) for column in self.columns)

    @cached_property
    def members(self) -> np.ndarray:
        """Bool (U, K): the classes of each union."""
        return np.array([[name in union for name in self.classes] for union in self.unions], bool).reshape(-1, len(self.classes))

    @cached_property
    def num_values(self) -> int:
        """V: stored values are of 0 ... V - 1, the ignore label included."""
        return len(self.declared)

    @cached_property
    def declared(self) -> np.ndarray:
        """Bool (V,): the stored values that stand for something."""
        in_regions = [value for region in self.regions for value in region]
        merged = [label.value for label in self.merged_labels]
        values = [0, *self.values, *in_regions, *merged, self.ignore_value or 0]
        declared = np.zeros(1 + max(values), bool)
        declared[values] = True
        return declared

    @cached_property
    def tables(self) -> np.ndarray:
        """uint8 (S, V, K + U): NEGATIVE, POSITIVE or UNSUPERVISED for each source, stored value and class or union."""
        return np.stack([self._table(source) for source in self.sources])

    @cached_property
    def scored(self) -> np.ndarray:
        """Bool (S, K + U): the classes and unions that a source can be scored on, as it holds positives and negatives of them."""
        classes = np.array([[name in source.annotated_classes for name in self.classes] for source in self.sources], bool)
        unions = (self.tables[:, :, len(self.classes) :] != UNSUPERVISED).any(1)
        return np.concatenate([classes, unions], axis=1)

    def membership(self, value: int, classes: frozenset[str]) -> int:
        """Whether a voxel of this stored value is of one of these classes: POSITIVE, NEGATIVE, or UNSUPERVISED if unknown."""
        belongs = [not classes.isdisjoint(alternative) for alternative in self._alternatives_of.get(value, ())]
        if any(belongs):
            return POSITIVE if all(belongs) else UNSUPERVISED
        return NEGATIVE

    def _table(self, source: Source) -> np.ndarray:
        annotated = self.annotated_with_merged(source)
        table = np.full((self.num_values, len(self.columns)), UNSUPERVISED, np.uint8)
        undeclared = np.flatnonzero(~self.declared)  # they are alike, and may be many
        for value in [*np.flatnonzero(self.declared).tolist(), *undeclared[:1].tolist()]:
            if value == self.ignore_value:
                continue
            for column, classes in enumerate(self.columns):
                state = self.membership(value, classes)
                is_class = column < len(self.classes)
                if classes <= annotated or (is_class and (state != NEGATIVE or self._excludes(value, self.classes[column]))):
                    table[value, column] = state
        table[undeclared] = table[undeclared[:1]]
        # A union stays only where it says more than its classes do: at a stored value that no single class answers for.
        positive = table[self.stored_values(source)] == POSITIVE
        for column, members in enumerate(self.members, start=len(self.classes)):
            if not (positive[:, column] & ~positive[:, : len(self.classes)][:, members].any(1)).any():
                table[:, column] = UNSUPERVISED
        return table

    def alternatives(self, value: int) -> list[frozenset[str]]:
        """What a voxel of this value may be: for each possibility, the classes that it then belongs to; [] for background."""
        for label in self.merged_labels:
            if label.value == value:
                return [closure for name in label.classes for closure in self._closures(self._certain_line(name))]
        certain = frozenset(name for name, region in self._region_of.items() if value in region)
        return self._closures(certain) if certain else []

    @cached_property
    def _alternatives_of(self) -> dict[int, list[frozenset[str]]]:
        return {value: self.alternatives(value) for value in np.flatnonzero(self.declared).tolist()}

    def _closures(self, certain: frozenset[str]) -> list[frozenset[str]]:
        """Classes with their ancestors, once per choice among their (and the ancestors') possible parents."""
        closures = [certain]
        for member in sorted(certain):
            parents = self.possible_parents.get(member, ())
            if parents and certain.isdisjoint(parents):  # where one of them is certain, no choice is left
                choices = [closure for parent in parents for closure in self._closures(self._certain_line(parent))]
                closures = [closure | choice for closure in closures for choice in choices]
        return closures

    def _certain_line(self, name: str) -> frozenset[str]:
        """A class and those whose region holds its whole region; a name that is no class (a contradiction) stands alone."""
        own = self._region_of.get(name)
        return frozenset(other for other, region in self._region_of.items() if own is not None and own <= region) | {name}

    @cached_property
    def _region_of(self) -> dict[str, frozenset[int]]:
        return {name: frozenset(region) for name, region in zip(self.classes, self.regions)}

    def possible_ancestors(self, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Every class that a voxel of `name` may also belong to, without `name` unless it is nested in itself."""
        direct = {*(self._certain_line(name) - {name}), *self.possible_parents.get(name, ())}
        found = set(direct)
        for parent in direct - seen:
            found |= self.possible_ancestors(parent, seen | {name})
        return found

    def _excludes(self, value: int, name: str) -> bool:
        """Whether a voxel of this value cannot be of an unannotated class: they are not nested and not compatible."""
        own_line = {name} | self.possible_ancestors(name)
        other_line = frozenset[str]().union(*self.alternatives(value))
        if not other_line or own_line & other_line:
            return False
        return not any(frozenset((a, b)) in self.compatible for a in own_line for b in other_line)
