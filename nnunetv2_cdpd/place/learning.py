"""Learning place: every image and label map of a raw dataset is read once; place.json is what comes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.datasets.raw import RawDataset, read_dataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs import in_processes, number_of_processes, run, written_beside
from nnunetv2_cdpd.jobs.tables import aligned
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import BodySlices
from nnunetv2_cdpd.place.ends import class_ends
from nnunetv2_cdpd.place.files import (
    PLACE_FILE,
    LearnedPlace,
    carry_place,
    check_is_of_model,
    is_of_model,
    is_place_file,
    placed_classes,
    preprocessed_file,
    write_place,
)
from nnunetv2_cdpd.place.images import ct_channel, read_body
from nnunetv2_cdpd.place.model import learn_place
from nnunetv2_cdpd.place.references import CASES_NEEDED, Reference
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader


@dataclass(frozen=True)
class PlaceJob:
    """One case to look at.

    channel: Index of the CT among the channels.
    regions: Stored values of each class that its source annotates, () for others.
    """

    images: tuple[Path, ...]
    label: Path
    channel: int
    reader: CheckedReader
    annotation: Annotation
    regions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CaseBody:
    """What one case teaches.

    slices: None: the image shows no body along axes that are known.
    ends: (K, 3, 2) mm.
    present: Bool (K,), annotated and there.
    """

    slices: BodySlices | None
    ends: np.ndarray
    present: np.ndarray


def learn_dataset(
    given: str | int | Path,
    output: str | Path | None = None,
    *,
    num_processes: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> tuple[LearnedPlace, Path, Mapping[str, str]]:
    """Learn from a raw dataset where its classes lie, and write place.json.

    Args:
        given: Id, name or folder of the dataset.
        output: The file, or a folder for place.json, such as that of a model that is trained already; None: the dataset's
            folder of nnUNet_preprocessed. A file that tells of classes which this dataset lacks is not replaced.
        report: Called with what the user should know, a line each.

    Returns:
        What was learned, the file, and the cases that could not be read, with the reason.

    Raises:
        UserError: No such dataset, it is no CT, no case could be read, there is no place for the file, it would tell of
            fewer classes than the one that is there, the model folder has none of them, or what exports take along of it is
            damaged.
    """
    dataset = read_dataset(given)
    channel = ct_channel(dataset.dataset_json)
    path = preprocessed_file(dataset.name) if output is None else Path(output)
    path = path / PLACE_FILE if path.is_dir() else path
    lacking = check_is_of_model(path, dataset.annotation)
    way_out = "give another file by argument output"
    if path.name == PLACE_FILE and path.is_file():  # maybe a torn one
        way_out += ", or remove it"
    _check_forgets_nothing(path, dataset)
    check_may_write([path], made_here=is_place_file(path), way_out=way_out)
    jobs = _plan(dataset, channel)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside:  # from the start, so that a place where nothing can be written is told before the work
        outcome = run(
            jobs, in_processes(look_at_case, number_of_processes(num_processes, len(jobs))), title="place", progress=progress
        )
        outcome.check_any("read")
        cases = outcome.done
        ends, present = (np.stack([getattr(case, name) for case in cases.values()]) for name in ("ends", "present"))
        annotation = dataset.annotation
        model, said = learn_place(annotation.classes, [case.slices for case in cases.values()], ends, present)
        references = {case: model.references(said[index], ends[index]) for index, case in enumerate(cases)}
        place = LearnedPlace(dataset.name, model, references)
        write_place(place, beside)
    if is_of_model(path):
        carry_place(path.parent)
    if lacking:
        report(f"note: nothing is said of {listed(lacking)} of {path.parent}, which {dataset.name} does not have")
    unsaid = [name for name, count in zip(annotation.classes, model.cases) if count < CASES_NEEDED]
    if model.heights is None:
        report(f"note: fewer than {CASES_NEEDED} images show a body; nothing is said of any class")
    elif unsaid:
        report(f"note: nothing is said of {listed(unsaid)}, in fewer than {CASES_NEEDED} cases each")
    return place, path, outcome.failed


def _check_forgets_nothing(path: Path, dataset: RawDataset) -> None:
    """Raise UserError where a file knows of classes that another dataset, from which it is to be learned anew, does not have."""
    try:
        known = placed_classes(path)
    except UserError:  # a damaged one, or no such file: nothing is lost
        return
    if lost := [name for name in known if name not in dataset.annotation.classes]:
        raise UserError(
            f"{path}: tells where {listed(lost)} can lie, which {dataset.name} does not have; learn from a dataset with all of "
            "its classes, give another file by argument output, or remove what is there"
        )


def place_table(place: LearnedPlace) -> str:
    """How many cases told of each class, and how long the range is in which it can lie by the image alone."""
    references = [None if np.isnan(axis.image_spread) else Reference(0.0, axis.image_spread) for axis in place.model.axes]
    lengths = np.diff(place.model.boxes(references), axis=2)[:, :, 0]
    rows = [
        [name, str(count), *("-" if np.isinf(length) else f"{length:.0f}" for length in its)]
        for name, count, its in zip(place.model.classes, place.model.cases, lengths)
    ]
    heading = "mm in which a class can lie in an image of which nothing else is known; -: nothing is said"
    return "\n".join([heading, *aligned([["class", "cases", "along", "depth", "side"], *rows], last_is_total=False)]) + "\n"


def _plan(dataset: RawDataset, channel: int) -> dict[str, PlaceJob]:
    """Case -> what to look at."""
    if dataset.problems:
        raise UserError(f"{dataset.dataset_json.path}: {dataset.problems[0]}")
    annotation = dataset.annotation
    reader = reader_for(dataset.dataset_json, [dataset.path(case.images[0]) for case in dataset.cases])
    jobs = {}
    for case in dataset.cases:
        source = annotation.sources[annotation.source_index(case.identifier)]
        regions = tuple(
            region if name in source.annotated_classes else () for name, region in zip(annotation.classes, annotation.regions)
        )
        images = tuple(map(dataset.path, case.images))
        jobs[case.identifier] = PlaceJob(images, dataset.path(case.label), channel, reader, annotation, regions)
    return jobs


def look_at_case(job: PlaceJob) -> CaseBody:
    """Read one case."""
    read, properties = job.reader.read_seg(job.label)
    label_map = checked_label_map(read, job.annotation, str(job.label))
    present = np.array([bool(region) and bool(np.isin(label_map, region).any()) for region in job.regions])
    nothing = CaseBody(None, np.full((len(job.regions), 3, 2), np.nan), present)
    axes = BodyAxes.of(Grid.of_properties(label_map.shape, properties))
    if axes is None:
        return nothing
    slices = read_body(job.images, job.channel, job.reader, label_map.shape, axes)
    ends = class_ends(axes.turned(label_map), job.regions, axes.spacing, job.annotation.ignore_value)
    return CaseBody(slices, ends, present)
