"""Reference cases: the facts of what each case annotates, read from its files in processes, kept for later calls.

Runs in spawned processes, so it imports little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.completion.middle import ct_of, middle_of
from nnunetv2_cdpd.completion.openness import Openness
from nnunetv2_cdpd.completion.references import FACTS_OF_CASE, Facts3D, structure_facts
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.jobs import FileRecord, digest, file_state, in_processes, run
from nnunetv2_cdpd.jobs.shapes import has_shape
from nnunetv2_cdpd.merge.collect import raise_problems
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader

REFERENCES_FILE = "cdpd_completion_references.jsonl"


@dataclass(frozen=True)
class ReferenceJob:
    """One case.

    ct: Index of the channel that is a CT; None: none is.
    members: Annotated class -> values that are of it for certain.
    """

    images: tuple[Path, ...]
    ct: int | None
    label: Path
    reader: CheckedReader
    annotation: Annotation
    members: Mapping[str, Sequence[int]]
    made_from: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        return ()


def facts_of_label(job: ReferenceJob) -> dict[str, Any]:
    """Class -> facts, as a dict, of those that the case holds."""
    read, properties = job.reader.read_seg(job.label)
    labels = checked_label_map(read, job.annotation, f"label {job.label}")
    grid = Grid.of_array(labels.shape, properties)
    middle = middle_of(job.images, job.ct, job.reader, labels.shape, properties)
    facts = structure_facts(labels, job.members, grid, middle, job.annotation.ignore_value)
    return {name: asdict(its) for name, its in facts.items()}


def annotated_facts(
    dataset: RawDataset, output: Path, reader: CheckedReader, num_processes: int, progress: bool
) -> dict[str, dict[str, Facts3D]]:
    """Case -> class -> facts of what its source annotates there.

    Args:
        output: Folder in which they are kept.

    Raises:
        UserError: Files that cannot be read, all of them.
    """
    annotation, ct = dataset.annotation, ct_of(dataset.dataset_json)
    alone = replace(annotation, case_source=None)  # less to send to the processes
    members = [_members(annotation, source) for source in range(len(annotation.sources))]
    jobs = {}
    for case in dataset.cases:
        label, its = dataset.path(case.label), members[annotation.source_index(case.identifier)]
        images = tuple(dataset.path(entry) for entry in case.images)
        made_from = digest([file_state(path) for path in (label, *images)], ct, sorted(its.items()), annotation.ignore_value)
        jobs[case.identifier] = ReferenceJob(images, ct, label, reader, alone, its, made_from)
    record = FileRecord(
        output / REFERENCES_FILE,
        [],
        "cdpd complete",
        lambda facts: {"facts": facts},
        lambda kept: has_shape(kept.get("facts"), FACTS_OF_CASE),
    )
    record.rewrite(keep=[name for name, job in jobs.items() if record.holds(name, job)])
    outcome = run(
        jobs, in_processes(facts_of_label, num_processes), title="Reading annotated cases", record=record, progress=progress
    )
    raise_problems(
        [f"{dataset.name}: case {case!r}: {reason}" for case, reason in outcome.failed.items()], "mend these and call again"
    )
    return {
        case: {name: Facts3D.read(entry) for name, entry in record.cases[case].facts["facts"].items()} for case in sorted(jobs)
    }


def _members(annotation: Annotation, source: int) -> dict[str, tuple[int, ...]]:
    certain = Openness.of(annotation, source).certain
    named = annotation.sources[source].annotated_classes
    return {name: tuple(np.flatnonzero(certain[:, k]).tolist()) for k, name in enumerate(annotation.classes) if name in named}
