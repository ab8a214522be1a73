"""AuditCase: everything that an audit knows of one case, read once; nothing is judged here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_cdpd.annotation import Source
from nnunetv2_cdpd.audit.label_facts import LabelFacts, ValueFacts, label_facts
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import in_processes, run
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint
from nnunetv2_cdpd.same_scan.store import fingerprints_of
from nnunetv2_cdpd.volumes.reading import header_notes, read_sitk


@dataclass(frozen=True)
class AuditCase:
    """A case of a dataset.

    image: Its first channel.
    fingerprint, labels: None where the file cannot be read.
    unread: Why a file of it, of any channel, cannot be read.
    problems: That, and what else is wrong with its files.
    """

    dataset: RawDataset
    identifier: str
    source: Source
    image: Path
    label: Path
    fingerprint: Fingerprint | None
    labels: LabelFacts | None
    unread: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique among the audited datasets."""
        return f"{self.dataset.name}/{self.identifier}"

    def annotated(self) -> dict[str, tuple[int, ...]]:
        """Class or merged label that the source annotates -> its stored values."""
        annotation = self.dataset.annotation
        values = dict(zip(annotation.classes, annotation.regions))
        values |= {label.name: (label.value,) for label in annotation.merged_labels}
        return {name: values[name] for name in (*self.source.annotated_classes, *self.source.merged_labels)}

    def found(self) -> dict[str, ValueFacts]:
        """Those of them that the label map holds."""
        if self.labels is None:
            return {}
        facts = {name: self.labels.of(values) for name, values in self.annotated().items()}
        return {name: its for name, its in facts.items() if its is not None}


def read_cases(datasets: Sequence[RawDataset], *, num_processes: int, progress: bool) -> list[AuditCase]:
    """Read images (unless their fingerprints are kept) and label maps of all cases, in the order of the datasets."""
    listed = [(dataset, case) for dataset in datasets for case in dataset.cases]
    images = [dataset.path(case.images[0]) for dataset, case in listed]
    labels = [dataset.path(case.label) for dataset, case in listed]
    fingerprints = fingerprints_of(images, num_processes=num_processes, progress=progress)
    jobs = {str(label): label for label in labels}
    facts = run(jobs, in_processes(label_facts, num_processes), title="Label maps", progress=progress)
    further = {str(path): path for dataset, case in listed for path in map(dataset.path, case.images[1:])}
    channels = run(
        further, in_processes(check_readable, num_processes), title="Further channels", progress=progress and bool(further)
    )
    failed = {**fingerprints.failed, **channels.failed, **facts.failed}
    cases = []
    for (dataset, case), image, label in zip(listed, images, labels):
        source, problems = _source(dataset, case.identifier)
        others = [dataset.path(channel) for channel in case.images[1:]]
        files = (image, *others, label)
        unread = tuple(failed[str(file)] for file in files if str(file) in failed)
        problems += unread or _header_problems(*files)
        cases.append(
            AuditCase(
                dataset,
                case.identifier,
                source,
                image,
                label,
                fingerprints.done.get(str(image)),
                facts.done.get(str(label)),
                unread,
                tuple(problems),
            )
        )
    return cases


def check_readable(path: Path) -> None:
    """Raise UserError unless a file can be read whole."""
    read_sitk(path)


def _header_problems(*files: Path) -> list[str]:
    """What nnU-Net reads otherwise than it is meant."""
    return [f"{file}: {note}; `cdpd convert` writes it anew" for file in files for note in header_notes(file)]


def _source(dataset: RawDataset, identifier: str) -> tuple[Source, list[str]]:
    """The source of a case under the name that it would have in a merge, and why it is but the first one of the dataset."""
    annotation, problems = dataset.annotation, []
    try:
        source = annotation.sources[annotation.source_index(identifier)]
    except UserError as error:
        problems.append(str(error))
        source = annotation.sources[0]
    return replace(source, name=dataset.source_name(source)), problems
