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

from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import Any, Mapping

import numpy as np

from nnunetv2_cdpd.classes import structure
from nnunetv2_cdpd.errors import UserError

NEGATIVE, POSITIVE, UNSUPERVISED = 0, 1, 2
CDPD_VERSION = 1


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

    # ---- reading and writing -------------------------------------------------------------------------------------

    @classmethod
    def from_dataset_json(cls, dataset_json: Mapping[str, Any]) -> "Annotation":
        """Read the annotation of a dataset; one without a `cdpd` block is one source with every class annotated.

        Args:
            dataset_json: nnU-Net's dataset.json; not changed.

        Raises:
            UserError: The `cdpd` block contradicts itself or nnU-Net's labels.
        """
        _check_labels(dataset_json.get("labels"))
        labels = {name: label for name, label in dataset_json["labels"].items() if not _is_background(name, label)}
        ignore_value = labels.pop("ignore", None)
        if not labels:
            raise UserError("dataset.json: `labels` holds no class besides background; add the classes to learn")
        classes = tuple(labels)
        listed = {name: tuple(label) if isinstance(label, (list, tuple)) else (label,) for name, label in labels.items()}
        if any(len(label) > 1 for label in listed.values()):
            values = tuple(dataset_json.get("regions_class_order") or ())
            if len(values) != len(classes):
                raise UserError(
                    f"dataset.json: `regions_class_order` holds {len(values)} values for {len(classes)} regions; "
                    "give one value per region, in the order of `labels`"
                )
        else:
            values = tuple(label[0] for label in listed.values())

        block = dataset_json.get("cdpd")
        if block is None:
            sources: tuple[Source, ...] = (Source(dataset_json.get("name") or "dataset", classes),)
            merged: tuple[MergedLabel, ...] = ()
        else:
            if block.get("version") != CDPD_VERSION:
                raise UserError(
                    f"dataset.json: the `cdpd` block has version {block.get('version')}, this release reads version "
                    f"{CDPD_VERSION}; run `cdpd merge` again"
                )
            try:
                sources, merged = _read_sources(block), _read_merged_labels(block)
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"dataset.json: the `cdpd` block is damaged ({type(error).__name__}: {error}); run `cdpd merge` again"
                ) from error
        block = block or {}
        # A merged value has to be declared somewhere for nnU-Net's integrity check; it stands in the regions of its
        # classes, but it belongs to none of them for certain.
        merged_values = {label.value for label in merged}
        annotation = cls(
            classes=classes,
            values=tuple(int(value) for value in values),
            regions=tuple(tuple(sorted({int(v) for v in listed[name]} - merged_values)) for name in classes),
            sources=sources,
            case_source=block.get("case_source"),
            merged_labels=merged,
            possible_parents={name: tuple(parents) for name, parents in block.get("possible_parents", {}).items()},
            compatible=frozenset(frozenset(pair) for pair in block.get("compatible", ())),
            ignore_value=ignore_value,
        )
        annotation.check()
        return annotation

    def dataset_json_entries(self) -> dict[str, Any]:
        """`labels`, `regions_class_order` and `cdpd` of a dataset.json: the inverse of `from_dataset_json`."""
        regions = [
            sorted({*region, *(label.value for label in self.merged_labels if name in label.classes)})
            for name, region in zip(self.classes, self.regions)
        ]
        labels: dict[str, Any] = {"background": 0, **_as_sigmoid_regions(dict(zip(self.classes, regions)))}
        if self.ignore_value is not None:
            labels["ignore"] = self.ignore_value
        block: dict[str, Any] = {
            "version": CDPD_VERSION,
            "sources": {
                source.name: {
                    "annotated_classes": list(source.annotated_classes),
                    "merged_labels": list(source.merged_labels),
                    "task_prompt": source.task_prompt,
                    "license": source.license,
                    "reference": source.reference,
                }
                for source in self.sources
            },
            "merged_labels": {m.name: {"value": m.value, "classes": list(m.classes)} for m in self.merged_labels},
            "possible_parents": {name: list(parents) for name, parents in self.possible_parents.items()},
            "compatible": sorted(sorted(pair) for pair in self.compatible),
        }
        if self.case_source is not None:
            block["case_source"] = dict(self.case_source)
        return {"labels": labels, "regions_class_order": list(self.values), "cdpd": block}

    def check(self) -> None:
        """Raise UserError on the first contradiction; `from_dataset_json` calls this."""
        known = set(self.classes)
        source_names = {source.name for source in self.sources}
        merged_by_name = {label.name: label for label in self.merged_labels}
        # Classes may share a value where regions overlap (nnU-Net paints `kidney` with the value of one of its sides).
        used = [*set(self.values), *(label.value for label in self.merged_labels), 0]
        used += [] if self.ignore_value is None else [self.ignore_value]
        if len(set(used)) != len(used):
            twice = sorted({value for value in used if used.count(value) > 1})
            raise UserError(f"dataset.json: stored values {twice} stand for two things; give each class its own")
        named = {}
        for name, value, region in zip(self.classes, self.values, self.regions):
            if value not in region:
                raise UserError(
                    f"dataset.json: `regions_class_order` gives {name!r} the value {value}, which is not in its region "
                    f"{list(region)}; list the values in the order of `labels`"
                )
            if named.setdefault(region, name) != name:
                raise UserError(f"dataset.json: {named[region]!r} and {name!r} stand for the same values; take one out")
        for label in self.merged_labels:
            if label.name in known:
                raise UserError(f"dataset.json: {label.name!r} is a class and a merged label; rename one of the two")
            _check_names(f"merged label {label.name!r}", label.classes, known)
            if len(set(label.classes)) < 2:
                raise UserError(f"dataset.json: merged label {label.name!r} needs at least two classes, has {label.classes}")
        for name, parents in self.possible_parents.items():
            _check_names("possible_parents", (name, *parents), known)
        _check_names("compatible", tuple(name for pair in self.compatible for name in pair), known)
        for source in self.sources:
            _check_names(f"source {source.name!r}", source.annotated_classes, known)
            _check_names(f"source {source.name!r}", source.merged_labels, set(merged_by_name))
            if not source.annotated_classes and not source.merged_labels:
                raise UserError(f"dataset.json: source {source.name!r} annotates no class; take it out or say what it annotates")
            for label in source.merged_labels:
                both = sorted(set(merged_by_name[label].classes) & set(source.annotated_classes))
                if both:
                    raise UserError(
                        f"dataset.json: source {source.name!r} annotates {', '.join(both)} and also merges it into "
                        f"{label!r}; keep one of the two"
                    )
        for case, source_name in (self.case_source or {}).items():
            if source_name not in source_names:
                raise UserError(
                    f"dataset.json: case {case!r} is of source {source_name!r}, which is not in `sources` "
                    f"({', '.join(sorted(source_names))})"
                )
        for name in self.classes:
            if name in self._possible_ancestors(name):
                raise UserError(f"dataset.json: class {name!r} is nested in itself; mend `possible_parents`")

    def fully_annotated(self) -> "Annotation":
        """The same classes, as one source that labels every one of them."""
        return replace(self, sources=(Source("all", self.classes),), case_source=None)

    # ---- sources and cases ---------------------------------------------------------------------------------------

    def source_index(self, case_identifier: str) -> int:
        """Index into `sources` of a case.

        Raises:
            UserError: The case is in no source.
        """
        if self.case_source is None:
            return 0
        if case_identifier not in self.case_source:
            raise UserError(
                f"dataset.json: case {case_identifier!r} is missing in `cdpd: case_source`; run `cdpd merge` again, "
                "then nnUNetv2_plan_and_preprocess"
            )
        return self._source_names.index(self.case_source[case_identifier])

    @cached_property
    def _source_names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    def annotated_with_merged(self, source: Source) -> frozenset[str]:
        """Classes that a source labels wherever they occur, on their own or as part of a merged label."""
        merged = {name for label in self.merged_labels if label.name in source.merged_labels for name in label.classes}
        return frozenset(merged.union(source.annotated_classes))

    # ---- tables --------------------------------------------------------------------------------------------------

    @cached_property
    def unions(self) -> tuple[frozenset[str], ...]:
        """The U class sets that some source supervises together only, in a fixed order."""
        sets = [frozenset(label.classes) for label in self.merged_labels]
        sets += [frozenset(parents) for parents in self.possible_parents.values() if len(parents) > 1]
        return tuple(dict.fromkeys(sets))

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the K + U columns of the tables: classes, then unions (their merged label's name where they have one)."""
        merged = {frozenset(label.classes): label.name for label in self.merged_labels}
        in_order = [[name for name in self.classes if name in union] for union in self.unions]
        return self.classes + tuple(merged.get(union, " or ".join(names)) for union, names in zip(self.unions, in_order))

    @cached_property
    def members(self) -> np.ndarray:
        """Bool (U, K): the classes of each union."""
        return np.array([[name in union for name in self.classes] for union in self.unions], bool).reshape(-1, len(self.classes))

    @cached_property
    def num_values(self) -> int:
        """V: stored values are 0 ... V - 1, the ignore label included."""
        merged = [label.value for label in self.merged_labels]
        in_regions = [value for region in self.regions for value in region]
        return 1 + max(0, *self.values, *in_regions, *merged, self.ignore_value or 0)

    @cached_property
    def tables(self) -> np.ndarray:
        """uint8 (S, V, K + U): NEGATIVE, POSITIVE or UNSUPERVISED for each source, stored value and class or union."""
        return np.stack([self._table(source) for source in self.sources])

    @cached_property
    def scored(self) -> np.ndarray:
        """Bool (S, K + U): the classes and unions of which a source holds positives and negatives, so that it can be scored on them."""
        rows = []
        for source, table in zip(self.sources, self.tables):
            active = (table[:, len(self.classes):] != UNSUPERVISED).any(0)
            rows.append([name in source.annotated_classes for name in self.classes] + list(active))
        return np.array(rows, bool)

    def membership(self, value: int, classes: frozenset[str]) -> int:
        """Whether a voxel of this stored value is of one of these classes: POSITIVE, NEGATIVE, or UNSUPERVISED if unknown."""
        belongs = [not classes.isdisjoint(alternative) for alternative in self._alternatives(value)]
        if any(belongs):
            return POSITIVE if all(belongs) else UNSUPERVISED
        return NEGATIVE

    def _table(self, source: Source) -> np.ndarray:
        annotated = self.annotated_with_merged(source)
        table = np.full((self.num_values, len(self.classes) + len(self.unions)), UNSUPERVISED, np.uint8)
        for value in range(self.num_values):
            if value == self.ignore_value:
                continue
            for k, name in enumerate(self.classes):
                state = self.membership(value, frozenset({name}))
                annotated_or_excluded = name in annotated or (value and self._excludes(value, name))
                if state != NEGATIVE or annotated_or_excluded:
                    table[value, k] = state
            for u, union in enumerate(self.unions, start=len(self.classes)):
                if union <= annotated:
                    table[value, u] = self.membership(value, union)
        self._drop_redundant_unions(table, source)
        return table

    def _drop_redundant_unions(self, table: np.ndarray, source: Source) -> None:
        """Keep a union only where it says more than its classes do: at a value that no single class answers for."""
        own = [value for name, value in zip(self.classes, self.values) if name in source.annotated_classes]
        own += [label.value for label in self.merged_labels if label.name in source.merged_labels]
        for u, union in enumerate(self.unions, start=len(self.classes)):
            in_union = np.flatnonzero([name in union for name in self.classes])
            needed = any(
                table[value, u] == POSITIVE and not (table[value, in_union] == POSITIVE).any() for value in own
            )
            if not needed:
                table[:, u] = UNSUPERVISED

    def _alternatives(self, value: int) -> list[frozenset[str]]:
        """What a voxel of this value may be: for each possibility, the classes that it then belongs to; [] for background."""
        for label in self.merged_labels:
            if label.value == value:
                return [closure for name in label.classes for closure in self._closures(name)]
        certain = frozenset(name for name, region in zip(self.classes, self.regions) if value in region)
        return self._with_possible_parents(certain) if certain else []

    def _closures(self, name: str) -> list[frozenset[str]]:
        """The class with its certain ancestors, once per choice among its (and their) possible parents."""
        return self._with_possible_parents(self._certain_ancestors(name) | {name})

    def _with_possible_parents(self, certain: frozenset[str]) -> list[frozenset[str]]:
        closures = [certain]
        for member in sorted(certain):
            parents = self.possible_parents.get(member, ())
            if parents and certain.isdisjoint(parents):  # where one of them is certain, no choice is left
                choices = [closure for parent in parents for closure in self._closures(parent)]
                closures = [closure | choice for closure in closures for choice in choices]
        return closures

    def _certain_ancestors(self, name: str) -> frozenset[str]:
        """Classes whose region holds the whole region of this one."""
        own = self._region_of[name]
        return frozenset(other for other, region in self._region_of.items() if other != name and own <= region)

    @cached_property
    def _region_of(self) -> dict[str, frozenset[int]]:
        return {name: frozenset(region) for name, region in zip(self.classes, self.regions)}

    def _possible_ancestors(self, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Every class that a voxel of `name` may also belong to, without `name` unless it is nested in itself."""
        direct = {*self._certain_ancestors(name), *self.possible_parents.get(name, ())}
        found = set(direct)
        for parent in direct - seen:
            found |= self._possible_ancestors(parent, seen | {name})
        return found

    def _excludes(self, value: int, name: str) -> bool:
        """Whether a voxel of this value cannot be of an unannotated class: they are not nested and not compatible."""
        alternatives = self._alternatives(value)
        own_line = {name} | self._possible_ancestors(name)
        other_line = set().union(*alternatives) if alternatives else set()
        if not other_line or own_line & other_line:
            return False
        return not any(frozenset((a, b)) in self.compatible for a in own_line for b in other_line)


def with_sigmoid_heads(dataset_json: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset.json whose classes all become regions, so that nnU-Net gives each a sigmoid head of its own.

    nnU-Net decides by the labels alone: it uses a softmax with a background head unless one label is a list of at least
    two values. A single value is therefore listed twice where no class is nested; as a set of values it stays the same.
    A dataset with regions is returned as it is.
    """
    labels = dataset_json["labels"]
    if any(isinstance(label, (list, tuple)) and len(label) > 1 for label in labels.values()):
        return dict(dataset_json)
    classes = {
        name: [label] if np.isscalar(label) else list(label)
        for name, label in labels.items()
        if name != "ignore" and not _is_background(name, label)
    }
    others = {name: label for name, label in labels.items() if name not in classes}
    ignore = {"ignore": others.pop("ignore")} if "ignore" in others else {}
    return {
        **dataset_json,
        "labels": {**others, **_as_sigmoid_regions(classes), **ignore},
        "regions_class_order": [label[0] for label in classes.values()],
    }


def compatible_in_table(classes: tuple[str, ...]) -> frozenset[frozenset[str]]:
    """Pairs of these classes that the class table calls compatible."""
    known = {structure(name).name: name for name in classes}
    return frozenset(
        frozenset((name, known[other])) for key, name in known.items() for other in structure(key).compatible if other in known
    )


def _as_sigmoid_regions(regions: Mapping[str, list[int]]) -> dict[str, Any]:
    """nnU-Net's notation of regions: see `with_sigmoid_heads` for why a lone value may stand twice."""
    if any(len(region) > 1 for region in regions.values()):
        return {name: list(region) if len(region) > 1 else region[0] for name, region in regions.items()}
    return {name: [region[0], region[0]] for name, region in regions.items()}


def _is_background(name: str, label: Any) -> bool:
    return name == "background" or (name != "ignore" and set(np.atleast_1d(label).tolist()) == {0})


def _check_labels(labels: Any) -> None:
    """Raise UserError unless these are nnU-Net v2's labels: name -> value, or list of values for a region."""
    if not isinstance(labels, Mapping):
        raise UserError("dataset.json: `labels` is missing; it maps each class name to its value")
    for name, label in labels.items():
        listed = label if isinstance(label, (list, tuple)) and name != "ignore" else [label]
        if not listed or not all(isinstance(value, Integral) and not isinstance(value, bool) for value in listed):
            raise UserError(
                f"dataset.json: label {name!r} is {label!r}, not a value or a list of values; "
                "nnU-Net v2 writes `name: value`, the first nnU-Net wrote them the other way round"
            )


def _read_sources(block: Mapping[str, Any]) -> tuple[Source, ...]:
    return tuple(
        Source(
            name,
            tuple(entry["annotated_classes"]),
            tuple(entry.get("merged_labels", ())),
            entry.get("task_prompt"),
            entry.get("license"),
            entry.get("reference"),
        )
        for name, entry in block["sources"].items()
    )


def _read_merged_labels(block: Mapping[str, Any]) -> tuple[MergedLabel, ...]:
    entries = block.get("merged_labels", {}).items()
    return tuple(MergedLabel(name, entry["value"], tuple(entry["classes"])) for name, entry in entries)


def _check_names(where: str, names: tuple[str, ...], known: set[str]) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise UserError(f"dataset.json: {where} names {', '.join(unknown)}, known are {', '.join(sorted(known)) or 'none'}")
