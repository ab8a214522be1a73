"""dataset.json of a converted dataset: nnU-Net's keys, and in the `cdpd` block what its sources annotate."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source, check_annotation, dataset_json_entries
from nnunetv2_cdpd.classes import compatible_pairs, side_of
from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.read_rois import RoiRules
from nnunetv2_cdpd.conversion.roi_names import RoiNames
from nnunetv2_cdpd.conversion.sides import SidePair
from nnunetv2_cdpd.datasets.dataset_json import READER_KEY
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import digest

_NAMED = 3  # structures in the name of a source


class CaseSource(NamedTuple):
    """Name of a case's source, and the structures that it annotates."""

    name: str
    annotated: tuple[str, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """What the label maps of a converted dataset hold.

    split: Whether merged labels are separated into their sides.
    """

    dataset: SourceDataset
    split: bool = False

    @cached_property
    def stored(self) -> dict[str, int]:
        """Structure -> stored value, 1 ... n; the source's own values where they are that already."""
        dataset = self.dataset
        own: dict[str, int] = {}
        for value, name in dataset.values.items():
            if name is not None and isinstance(value, int):
                own.setdefault(name, value)
        names = dataset.structures
        consecutive = sorted(own.values()) == list(range(1, len(names) + 1))
        stored = {name: own[name] for name in names} if consecutive else {name: i for i, name in enumerate(names, start=1)}
        sides = (side for pair in self.pairs.values() for side in pair)
        return stored | {name: value for value, name in enumerate(sides, start=len(names) + 1)}

    @cached_property
    def values(self) -> dict[int, int]:
        """Source value -> stored value, of label files."""
        named = {value: name for value, name in self.dataset.values.items() if isinstance(value, int)}
        own = {value: 0 if name is None else self.stored[name] for value, name in named.items()}
        return {0: 0, **own, **{value: cast(int, self.ignore_value) for value in self.dataset.ignore_values}}

    @property
    def mask_values(self) -> dict[int, int]:
        """The same of masks, which are stored under their stored values at once."""
        return {value: value for value in (0, *self.stored.values())}

    @cached_property
    def roi_rules(self) -> RoiRules | None:
        """What is said of structure sets and segmentations, if labels are such."""
        dataset = self.dataset
        if not dataset.rois:
            return None
        names = sorted(dataset.structures, key=self.paint_order)
        return RoiRules(
            RoiNames({str(pattern): structure for pattern, structure in dataset.values.items()}),
            {name: self.stored[name] for name in names},
            {name: tuple(dataset.line(name)[1:]) for name in names},
            dataset.join_rois,
            dataset.fill_gaps,
        )

    def source_of(self, listed: str | None, held: Collection[int], lost: Collection[str] = ()) -> CaseSource:
        """Source of a case: as its table says, or by content.

        By content it is the smallest of those that miss fewest of the structures held, where a union covers its members, though
        less well than their own names; of structure sets and segmentations, one that annotates just these, and what the
        declaration says to be annotated in every case.

        Args:
            held: Stored values of these structures, before their sides were told apart.
            lost: Structures that were drawn and of which the label holds nothing: their absence says nothing.
        """
        dataset = self.dataset
        names = {name for name, value in self.stored.items() if value in held}
        if dataset.rois:
            return self._source_of_rois(names, lost)
        name = listed or dataset.name
        if dataset.sources_by_content:
            sources = dataset.sources

            def fit(source: str) -> tuple[int, int, int]:
                own = sources[source]
                return len(names - self._with_members(own)), len(names.difference(own)), len(own)

            name = min(sources, key=fit)
        return CaseSource(name, dataset.annotated_by_source[name])

    def _with_members(self, names: Collection[str]) -> set[str]:
        """These structures, and those that unions among them are made of."""
        return set(names).union(*(self.dataset.unions.get(name, ()) for name in names))

    def _source_of_rois(self, held: Collection[str], lost: Collection[str]) -> CaseSource:
        """Named by what it lacks or has, whichever is less, and of much of both by a digest; alike whatever other cases hold."""
        dataset = self.dataset
        goals = {*held, *(dataset.annotates or ())}
        goals |= {name for name, members in dataset.unions.items() if goals.issuperset(members)}
        goals = {name for name in goals if self._with_members([name]).isdisjoint(lost)}
        everything = (*dataset.structures, *dataset.unions)
        there, lacking = ([name for name in everything if (name in goals) == is_there] for is_there in (True, False))
        if not lacking:
            name = dataset.name
        elif min(len(there), len(lacking)) > _NAMED:
            name = f"{dataset.name}_{len(there)}_of_{len(everything)}_{digest(there)[:6]}"
        else:
            name = "_".join([dataset.name, *(("without", *lacking) if len(lacking) < len(there) else ("only", *there))])
        return CaseSource(name, tuple(there))

    def paint_order(self, name: str) -> tuple[int, int]:
        """Sort key of masks: by stored value, but what lies in a structure comes after it, or it would be painted over."""
        line = self.dataset.line(name)
        return max(self.stored[one] for one in line), len(line)

    @property
    def ignore_value(self) -> int | None:
        return max(self.stored.values()) + 1 if self.dataset.ignores or self.dataset.ignore_values else None

    @cached_property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """Merged label -> (left, right), of those that are to be split."""
        if not self.split:
            return {}
        pairs = {}
        for name, meant in self.dataset.merged_labels.items():
            sides = {side_of(one): one for one in meant}
            if len(meant) == 2 and set(sides) == {"left", "right"}:
                pairs[name] = (sides["left"], sides["right"])
        if not pairs:
            raise UserError(
                f"{self.dataset.name}: no merged label of a left and a right structure; leave out argument split_sides"
            )
        return pairs

    @property
    def side_pairs(self) -> tuple[SidePair, ...]:
        return tuple(
            SidePair(name, self.stored[name], self.stored[left], self.stored[right], tuple(self._inside(name)))
            for name, (left, right) in self.pairs.items()
        )

    def _inside(self, name: str) -> list[int]:
        """Stored values of what lies in a structure."""
        return [self.stored[inner] for inner in self.dataset.nested if name in self.dataset.line(inner)[1:]]

    def annotation(self, case_source: Mapping[str, tuple[CaseSource, tuple[str, ...]]]) -> Annotation:
        """The annotation of these cases.

        Args:
            case_source: Case identifier -> (source, merged labels that are still merged in it).
        """
        dataset = self.dataset
        region = {name: {value, *self._inside(name)} for name, value in self.stored.items()}
        region |= {name: set().union(*(region[member] for member in members)) for name, members in dataset.unions.items()}
        classes = sorted((name for name in region if name not in self.pairs), key=lambda name: -len(region[name]))
        # A source that does not annotate a structure does not teach where its sides are either.
        case_source = {
            case: (source, tuple(name for name in merged if name in source.annotated))
            for case, (source, merged) in case_source.items()
        }
        sources = {}
        for source, merged in dict.fromkeys(case_source.values()):
            goals = [name for name in source.annotated if name not in merged]
            goals = [side for name in goals for side in self.pairs.get(name, (name,))]
            name = "_".join([source.name, *(["merged", *merged] if merged else [])])
            annotated = tuple(one for one in classes if one in goals)
            sources[source, merged] = Source(name, annotated, merged, None, dataset.license, dataset.reference)
        several = len(sources) > 1
        annotation = Annotation(
            classes=tuple(classes),
            values=tuple(self.stored.get(name) or min(region[name]) for name in classes),
            regions=tuple(tuple(sorted(region[name])) for name in classes),
            sources=tuple(sources.values()),
            case_source={case: sources[facts].name for case, facts in case_source.items()} if several else None,
            merged_labels=tuple(MergedLabel(name, self.stored[name], pair) for name, pair in self.pairs.items()),
            possible_parents={child: self.pairs[parent] for child, parent in dataset.nested.items() if parent in self.pairs},
            compatible=compatible_pairs(classes),
            ignore_value=self.ignore_value,
        )
        check_annotation(annotation)
        return annotation

    def dataset_json(self, folder_name: str, case_source: Mapping[str, tuple[CaseSource, tuple[str, ...]]]) -> dict[str, Any]:
        """dataset.json of the converted dataset."""
        dataset = self.dataset
        annotation = self.annotation(case_source)
        entries = dataset_json_entries(annotation)
        if all(len(region) == 1 for region in annotation.regions) and not annotation.merged_labels:
            entries["labels"].update(zip(annotation.classes, annotation.values))
            del entries["regions_class_order"]
        kept = {name: list(meant) for name, meant in dataset.merged_labels.items() if name not in self.pairs}
        entries["cdpd"]["stands_for"] = kept
        return {
            "name": folder_name.partition("_")[2],
            "description": f"{dataset.title}, converted by cdpd convert",
            "reference": dataset.reference,
            "licence": dataset.license,
            "channel_names": {"0": "CT"},
            **entries,
            "numTraining": len(case_source),
            "file_ending": ".nii.gz",
            # Collections store their voxels in different orders of the axes; this reader of nnU-Net gives all of them one.
            READER_KEY: "NibabelIOWithReorient",
        }
