"""Plan: what there is to do for a collection, and which of it any call has done already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_cdpd.conversion.dataset_facts import DatasetFacts
from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.job import ConversionJob
from nnunetv2_cdpd.conversion.records import PartRecords
from nnunetv2_cdpd.errors import check_at_least, check_part
from nnunetv2_cdpd.jobs import CaseRecord, digest, file_state
from nnunetv2_cdpd.volumes.nifti import is_nifti


@dataclass(frozen=True)
class Options:
    """How to convert.

    limit: Convert the first cases only.
    part_id, num_parts: Convert every num_parts-th case from part_id on; other calls do the others.
    copy: Copy files that need no change instead of linking them.
    resample_labels: Bring labels of another grid to that of their image.
    split_sides: Separate merged labels into left and right where that is unambiguous.
    labels_only: Write label maps alone, and their dataset.json though cases have failed: these are to be compared with others.
    predicted: These are predictions: a structure that was drawn and cannot be taken counts as nowhere, and no case is left out.
    leave_out: Cases to leave out, as case identifiers or as the collection names them.
    """

    limit: int | None = None
    part_id: int = 0
    num_parts: int = 1
    copy: bool = False
    resample_labels: bool = False
    split_sides: bool = False
    labels_only: bool = False
    predicted: bool = False
    leave_out: tuple[str, ...] = ()

    @property
    def way_out(self) -> str:
        """What to do where the output folder is another's."""
        return f"give another argument {'output' if self.labels_only else 'dataset_id'}"

    def __post_init__(self) -> None:
        check_part(self.part_id, self.num_parts)
        check_at_least(1, limit=self.limit)


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    facts: What the label maps will hold.
    jobs: Case identifier -> its job, of all cases that are not left out.
    ours: The cases that this call is to see to.
    done: What any call has done of `jobs`.
    todo: Those of `jobs` that this call has to do.
    """

    output: Path
    options: Options
    facts: DatasetFacts
    jobs: Mapping[str, ConversionJob]
    records: PartRecords
    ours: frozenset[str]
    done: Mapping[str, CaseRecord]
    todo: Mapping[str, ConversionJob]


def make_plan(facts: DatasetFacts, cases: Sequence[FoundCase], output: Path, options: Options) -> Plan:
    """Find what is to do; nothing is changed.

    Args:
        cases: Those that are not left out.

    Raises:
        UserError: The output folder holds something else.
    """
    dataset = facts.dataset
    jobs = {dataset.identifier(case.case): _job(case, facts, output, options) for case in cases}
    records = PartRecords(output, dataset.name, options.part_id, options.num_parts, options.way_out)
    done = records.valid(jobs)
    ours = frozenset(list(jobs)[options.part_id :: options.num_parts])
    todo = {name: jobs[name] for name in list(jobs)[: options.limit] if name in ours and name not in done}
    return Plan(output, options, facts, jobs, records, ours, done, todo)


def left_out(dataset: SourceDataset, found: Sequence[FoundCase], options: Options) -> dict[str, str]:
    """Case identifier -> why, of the cases that are known to be wrong and those that the user leaves out."""
    reasons = dataset.known_errors(skip=True)
    known = {name: case for case in found for name in (case.case, dataset.identifier(case.case))}
    reasons |= {known[name].case: "left out with argument leave_out" for name in options.leave_out if name in known}
    return {dataset.identifier(case.case): reasons[case.case] for case in found if case.case in reasons}


def _job(case: FoundCase, facts: DatasetFacts, output: Path, options: Options) -> ConversionJob:
    dataset = facts.dataset
    notes = case.note, dataset.known_errors(skip=False).get(case.case)
    masks = [(name, path) for key, path in case.masks.items() if (name := dataset.values[key]) is not None]
    masks.sort(key=lambda mask: facts.paint_order(mask[0]))
    job = ConversionJob(
        case=replace(case, note="; ".join(filter(None, notes)) or None),
        dicom=dataset.dicom and not is_nifti(case.image[0]),
        of_series=dataset.dicom,
        masks=tuple((facts.stored[name], path) for name, path in masks),
        values=facts.mask_values if case.masks or dataset.rois else facts.values,
        outputs=outputs_of(output, dataset.identifier(case.case))[options.labels_only :],
        rois=facts.roi_rules,
        placement=dataset.placement,
        ignore_value=facts.ignore_value,
        sides=facts.side_pairs,
        needs_content=dataset.sources_by_content or (dataset.rois and not dataset.annotates),
        hu_offset=dataset.hu_offset,
        resample_labels=options.resample_labels,
        copy=options.copy,
        always=() if options.predicted or not dataset.rois else _always(dataset),
    )
    return replace(job, made_from=_made_from(job))


def _always(dataset: SourceDataset) -> tuple[tuple[str, ...], ...]:
    return tuple(dataset.unions.get(name, (name,)) for name in dataset.annotates or ())


def outputs_of(output: Path, identifier: str) -> tuple[Path, Path]:
    """Image and label of a case in the converted dataset."""
    return output / "imagesTr" / f"{identifier}_0000.nii.gz", output / "labelsTr" / f"{identifier}.nii.gz"


def _made_from(job: ConversionJob) -> str:
    """Digest of the files and of all that decides the outcome; not of where the collection lies, which may be moved."""
    case = job.case
    files = [[path.name, file_state(path)] for path in (*case.image, *case.label)]
    masks = [[value, file_state(path)] for value, path in job.masks]
    slices = case.labelled_slices and ["of the label file", *case.labelled_slices]  # once they were counted in the image
    how = [slices, job.ignore_value, job.resample_labels, repr(job.placement), repr(job.sides)]
    how += [["HU offset", job.hu_offset]] if job.hu_offset else []  # what was made before there was one is still up to date
    how += ["resampled up to the faces"] if job.resample_labels else []
    how += ["slices paired by number"] if len(case.label) > 1 else []
    how += ["left out without content"] if job.needs_content else []
    if job.rois is not None:
        how += [repr(job.rois), *([repr(job.always)] if job.always else [])]
    return digest(files, masks, sorted(job.values.items()), how)
