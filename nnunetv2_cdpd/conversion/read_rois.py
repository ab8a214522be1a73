"""Structure sets and segmentations of a case as one label on the grid of its image."""

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.read_labels import Label
from nnunetv2_cdpd.conversion.roi_names import RoiNames
from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError, listed, shortened
from nnunetv2_cdpd.volumes.dicom import Series, SeriesFiles, find_series, read_series
from nnunetv2_cdpd.volumes.dicom.contours import Drawing
from nnunetv2_cdpd.volumes.dicom.label_files import label_files_among, read_label_object
from nnunetv2_cdpd.volumes.dicom.label_object import LabelObject, SeriesReference
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices


@dataclass(frozen=True)
class RoiRules:
    """What a declaration says of structure sets and segmentations.

    names: Which structure a name means.
    stored: Structure -> stored value, in the order in which they are painted.
    within: Structure -> those that it lies in, over which it is painted as a matter of course.
    join: Whether several of one structure are taken together; otherwise they are an error.
    fill_gaps: As for `draw_contours`.
    """

    names: RoiNames
    stored: Mapping[str, int]
    within: Mapping[str, tuple[str, ...]]
    join: bool
    fill_gaps: int | None


@dataclass(frozen=True)
class LabelledSeries:
    """A series and the structure sets and segmentations that are of it.

    num_others: How many are of another series.
    """

    series: Series
    reference: SeriesReference
    objects: tuple[LabelObject, ...]
    num_others: int


def read_labelled_series(image_files: Sequence[Path], label_files: Iterable[Path]) -> LabelledSeries:
    """The series of a case that its structure sets and segmentations refer to, by identifiers and not by names of files.

    Args:
        image_files: May hold several series, and the label files too.
        label_files: May hold other files.

    Raises:
        UserError: No structure set or segmentation, none of this series or of several, one that is damaged, or as `read_series`.
    """
    label_paths = label_files_among(label_files)
    if not label_paths:
        raise UserError(f"{image_files[0].parent}: no structure set or segmentation among the files of the label")
    objects = _without_copies([read_label_object(path) for path in label_paths])
    left = set(label_paths)
    files = [path for path in image_files if path not in left]
    found = find_series(files, "CT").series
    references = {SeriesReference.of(entry): entry for entry in found}
    labelled = {reference: entry for reference, entry in references.items() if any(each.is_of(reference) for each in objects)}
    if len(labelled) > 1:
        raise UserError(
            f"{label_paths[0].parent}: the structure sets and segmentations are of {len(labelled)} series, "
            f"{listed(list(map(str, labelled.values())))}; make each a case of its own"
        )
    if not found:
        raise UserError(
            f"{_refers(objects[0])}, whose slices tell the grid; put that CT series beside it, where images are looked for"
        )
    if not labelled:
        raise UserError(f"{_refers(objects[0])}, not to {_named(references)} in {found[0].files[0].parent}")
    reference, entry = next(iter(labelled.items()))
    series = read_series(entry.files)
    own = tuple(each for each in objects if each.is_of(reference))
    return LabelledSeries(series, reference, own, len(objects) - len(own))


def _without_copies(objects: Sequence[LabelObject]) -> list[LabelObject]:
    """Each file once: exports that are made twice leave a second one under another name."""
    kept: list[LabelObject] = []
    for each in objects:
        if not any(filecmp.cmp(each.path, other.path, shallow=False) for other in kept):
            kept.append(each)
    return kept


def read_rois(labelled: LabelledSeries, rules: RoiRules) -> Label:
    """Join the structures of all objects; where two overlap, the later one stays.

    Raises:
        UserError: A name that means two structures, two names that mean one, another frame of reference, a damaged file.
    """
    notes = ["not taken: structure sets and segmentations of another series"] if labelled.num_others else []
    found: dict[str, list[tuple[LabelObject, int]]] = {}
    unmapped: dict[str, None] = {}
    for each in labelled.objects:
        for number, name in each.structures.items():
            try:
                structure = rules.names.structure_of(name)
            except KeyError:
                unmapped[shortened(name)] = None
            except UserError as error:
                raise UserError(f"{each.path}: {error}") from None
            else:
                if structure is not None:
                    found.setdefault(structure, []).append((each, number))
    drawn = _drawn(labelled, found, rules)
    grid = labelled.series.upright
    array = np.zeros(grid.shape, np.min_scalar_type(max(rules.stored.values())), order="F")
    over: dict[str, None] = {}
    lost: dict[str, str] = {}
    for structure, value in rules.stored.items():
        drawings = drawn.get(structure, [])
        notes += [f"{structure}: {note}" for drawing in drawings for note in drawing.notes]
        if problem := next((drawing.problem for drawing in drawings if drawing.problem), None):
            notes.append(f"{structure} not taken, so not annotated: {problem}")
            lost[structure] = problem
            continue
        beneath = [0, value, *(rules.stored[outer] for outer in rules.within.get(structure, ()))]
        for where, mask in (patch for drawing in drawings for patch in drawing.patches):
            area = array[where]
            if not np.isin(area[mask], beneath).all():
                over[structure] = None
            area[mask] = value
    if over:
        notes.append(f"overlapping structures, the later in `values` was kept: {', '.join(over)}")
    held = set(distinct(array).tolist())
    hidden = []
    for structure in (name for name, value in rules.stored.items() if value not in held and name not in lost):
        patches = [patch for drawing in drawn.get(structure, ()) for patch in drawing.patches]
        inner = [rules.stored[name] for name, outer in rules.within.items() if structure in outer]
        if not patches:
            if why := "; ".join(note for drawing in drawn.get(structure, ()) for note in drawing.notes):
                lost[structure] = why
        elif all(np.isin(array[where][mask], inner).all() for where, mask in patches):
            notes.append(f"{structure} is filled by what is nested in it")
        else:
            hidden.append(structure)
            lost[structure] = "it lies wholly under others"
    notes += [f"{', '.join(hidden)} lies wholly under others, so not annotated"] if hidden else []
    return Label(array, grid, notes=tuple(notes), unmapped=tuple(unmapped), lost=lost)


def _drawn(
    labelled: LabelledSeries, found: Mapping[str, Sequence[tuple[LabelObject, int]]], rules: RoiRules
) -> dict[str, list[Drawing]]:
    """Structure -> what was drawn of it, each file read once."""
    wanted: dict[int, list[int]] = {}
    for each, number in (one for those in found.values() for one in those):
        wanted.setdefault(id(each), []).append(number)
    where = SourceSlices.of(labelled.series)
    drawings: dict[tuple[int, int], Drawing] = {}
    for each in labelled.objects:
        numbers = wanted.get(id(each), [])
        each.check_space(numbers, labelled.reference)
        drawings |= {(id(each), number): drawing for number, drawing in each.draw(numbers, where, rules.fill_gaps).items()}
    for structure, those in () if rules.join else found.items():
        # Templates of hospitals name structures that nobody has drawn.
        drawn = [(each, number) for each, number in those if not drawings[id(each), number].is_empty]
        if len(drawn) > 1:
            (one, number), (other, again) = drawn[:2]
            second = "" if one is other else f"{other.path}: "
            raise UserError(
                f"{one.path}: {shortened(one.structures[number])} and {second}{shortened(other.structures[again])} both mean "
                f"{structure}; narrow `values`, or say `join_rois: true` to take them together"
            )
    return {structure: [drawings[id(each), number] for each, number in those] for structure, those in found.items()}


def _refers(each: LabelObject) -> str:
    """What an object refers to, in words."""
    series = listed(list(map(shortened, sorted(each.series))), 3)
    spaces = listed(sorted({shortened(space) for space in each.frames_of_reference.values() if space}), 3)
    what = f"series {series}" if series else f"no series, to the frame of reference {spaces}" if spaces else "no series at all"
    return f"{each.path} refers to {what}"


def _named(references: Mapping[SeriesReference, SeriesFiles]) -> str:
    return listed([f"{entry} {shortened(reference.uid)}" for reference, entry in references.items()], 3)
