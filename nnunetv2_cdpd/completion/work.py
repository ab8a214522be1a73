"""Work: one case: what teachers say of it, the filters, the completed label map, and what is told of it later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.completion.filters.agreement import agreement_finding
from nnunetv2_cdpd.completion.filters.confidence import confidence_finding
from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.filters.opinion import Opinion, nothing_known, opinion_of
from nnunetv2_cdpd.completion.filters.outlier import outlier_finding
from nnunetv2_cdpd.completion.labelling import CaseLabeller, Completed
from nnunetv2_cdpd.completion.middle import middle_of
from nnunetv2_cdpd.completion.networks import Answer, Networks
from nnunetv2_cdpd.completion.references import Facts3D, References, structure_facts
from nnunetv2_cdpd.completion.seen import FoldId
from nnunetv2_cdpd.completion.settings import AGREEMENT, CONFIDENCE, OUTLIER, CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher
from nnunetv2_cdpd.completion.votes import Votes, votes_of
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, same_for_nnunet
from nnunetv2_cdpd.volumes.reading import CheckedReader

REAL, COMPLETED, DROPPED, UNKNOWN = "real", "completed", "dropped", "unknown"


@dataclass(frozen=True)
class Asked:
    """What a teacher is asked about a case.

    classes: Of the dataset.
    seen: Whether these folds were trained on the case.
    """

    teacher: Teacher
    folds: tuple[FoldId, ...]
    classes: tuple[int, ...]
    seen: bool


@dataclass(frozen=True)
class CompletionJob:
    """What to do for one case.

    source: Index of its source.
    unknown: Class that no trusted teacher tells of -> why.
    """

    case: str
    source: int
    images: tuple[Path, ...]
    label: Path
    output: Path
    asked: tuple[Asked, ...]
    unknown: Mapping[int, str]
    made_from: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (self.output,)


@dataclass(frozen=True)
class CaseCompleter:
    """Completes cases of a dataset.

    ct: Index of the channel that is a CT; None: none is.
    references: The annotated cases; None: the filter outlier is not used.
    real_facts: Case -> class -> facts of what it annotates.
    values: Stored value -> value in the completed dataset, of all that a completed label map may hold.
    """

    annotation: Annotation
    settings: CompletionSettings
    reader: CheckedReader
    ct: int | None
    networks: Networks
    labeller: CaseLabeller
    references: References | None
    real_facts: Mapping[str, Mapping[str, Facts3D]]
    values: np.ndarray

    def complete(self, job: CompletionJob) -> dict[str, Any]:
        """Complete a case and write its label map; returns what is told of it, JSON-able.

        Raises:
            UserError: A file of the case cannot be read, or does not fit the others.
        """
        read, properties = self.reader.read_seg(job.label)
        labels = checked_label_map(read, self.annotation, f"label {job.label}")
        grid = Grid.of_array(labels.shape, properties)
        answers = [each for asked in job.asked for each in self._answers(asked, job, grid)]
        is_open = self.labeller.openness[job.source].open_at(np.unique(labels).tolist())
        votes = {k: found for k in is_open if (found := self._votes(k, answers, properties["spacing"])) is not None}
        facts: dict[str, Facts3D] = {}
        if self.references is not None:
            middle = middle_of(job.images, self.ct, self.reader, labels.shape, properties)
            facts = self._facts(votes, grid, middle)
        opinions = self._opinions(is_open, votes, facts, job)
        completed = self.labeller.completed(labels, job.source, opinions)
        self.reader.write_seg(self.values[completed.labels], job.output, properties)
        return self._told(job, opinions, completed)

    def _answers(self, asked: Asked, job: CompletionJob, grid: Grid) -> Sequence[Answer]:
        answers = list(self.networks.answers(asked.teacher, asked.folds, job.images, asked.classes))
        for answer in answers[:1]:
            if (what := same_for_nnunet(answer.grid, grid)) is not None:
                raise UserError(
                    f"{job.images[0]}: its {what}, as {asked.teacher.name} reads it, is not that of the label {job.label}; "
                    "give teachers that read images as the dataset does, or mend the files"
                )
        return answers

    def _votes(self, k: int, answers: Sequence[Answer], spacing: Sequence[float]) -> Votes | None:
        own = [answer for answer in answers if k in answer.logits]
        if not own:
            return None
        voices = [answer.teacher for answer in own]
        weights = [1 / voices.count(name) for name in voices]
        volumes = (answer.probability(k) for answer in own)
        at_most = (answer.probability_at_most(k) for answer in own) if any(k in answer.at_most for answer in own) else None
        return votes_of(volumes, weights, spacing, self.settings.plausible, self.settings.widest_mm, at_most)

    def _facts(self, votes: Mapping[int, Votes], grid: Grid, middle: np.ndarray | None) -> dict[str, Facts3D]:
        """Of the structures that the means of the votes draw, in the image."""
        found: dict[str, Facts3D] = {}
        for k, each in votes.items():
            if each.structure.any():
                whole = np.zeros(each.shape, np.uint8)
                whole[each.box] = each.structure
                name = self.annotation.classes[k]
                found |= structure_facts(whole, {name: (1,)}, grid, middle)
        return found

    def _opinions(
        self, is_open: Sequence[int], votes: Mapping[int, Votes], facts: Mapping[str, Facts3D], job: CompletionJob
    ) -> dict[int, Opinion]:
        names = self.annotation.classes
        others = {**facts, **self.real_facts.get(job.case, {})}
        opinions = {}
        for k in is_open:
            if k not in votes:
                opinions[k] = nothing_known(job.unknown[k])
                continue
            findings: dict[str, FilterFinding] = {}
            if self.settings.uses(CONFIDENCE):
                findings[CONFIDENCE] = confidence_finding(votes[k], self.settings)
            if self.settings.uses(AGREEMENT):
                findings[AGREEMENT] = agreement_finding(votes[k], self.settings)
            if self.references is not None and self.settings.uses(OUTLIER):
                findings[OUTLIER] = outlier_finding(names[k], facts.get(names[k]), others, self.references, self.settings)
            opinions[k] = opinion_of(votes[k], findings, self.settings)
        return opinions

    def _told(self, job: CompletionJob, opinions: Mapping[int, Opinion], completed: Completed) -> dict[str, Any]:
        classes: dict[str, dict[str, Any]] = {}
        for k, name in enumerate(self.annotation.classes):
            if k not in opinions:
                classes[name] = {"outcome": REAL}
                continue
            opinion = opinions[k]
            outcome = UNKNOWN if opinion.box is None else COMPLETED if opinion.dropped_by is None else DROPPED
            by = {asked.teacher.name: [str(fold) for fold in asked.folds] for asked in job.asked if k in asked.classes}
            classes[name] = {
                "outcome": outcome,
                "filter": opinion.dropped_by,
                "teachers": by,
                "seen": any(asked.seen for asked in job.asked if k in asked.classes),
                "voxels": completed.added.get(k, 0),
                "ignored": completed.ignored.get(k, 0),
                "kept_over": completed.kept_over.get(k, 0),
                "measured": {key: round(value, 4) for key, value in opinion.measured.items()},
            }
        values = {
            str(int(self.values[value])): {"voxels": count, "real": completed.kept.get(value, 0)}
            for value, count in completed.voxels.items()
        }
        return {"source": self.annotation.sources[job.source].name, "classes": classes, "values": values}
