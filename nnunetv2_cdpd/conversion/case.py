"""One case, from its files to imagesTr and labelsTr: read -> place -> remap -> ignore -> sides -> write.

Image and label appear complete or not at all. Runs in spawned processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.conversion.intensity import overruled_by_intensity, place_by_intensity
from nnunetv2_cdpd.conversion.read_labels import Label, read_label, read_masks, read_slices, remap
from nnunetv2_cdpd.conversion.sides import SidePair, split_sides
from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.nifti import NiftiFile, link_or_copy, write_nifti
from nnunetv2_cdpd.volumes.placement import Placement, flips_between, place_label, resample_nearest
from nnunetv2_cdpd.volumes.value_types import smallest_exact

NOTHING_HELD = "its label holds no structure, so nothing tells what it annotates"


@dataclass(frozen=True)
class ConversionJob:
    """What to do for one case.

    image: One NIfTI file, or the files of a DICOM series (`dicom`).
    label: See FoundCase.
    masks: Stored value and file of each, in the order in which they are painted.
    values: Source value -> stored value, of all declared ones.
    outputs: Image and label of the converted dataset.
    ignore_value: Stored instead of background outside of `labelled_slices`, and for values that mean "not annotated here".
    of_series: The collection's images are DICOM series; this one may be a NIfTI copy of one.
    needs_content: A case whose label holds nothing but background and ignored voxels is left out.
    hu_offset: Added to the stored values of the image.
    copy: Copy files that need no change instead of linking them.
    note: On the case, for the user.
    made_from: Digest of the files and of all that decides the outcome.
    """

    identifier: str
    image: tuple[Path, ...]
    dicom: bool
    label: tuple[Path, ...]
    masks: tuple[tuple[int, Path], ...]
    values: Mapping[int, int]
    outputs: tuple[Path, Path]
    placement: IntensityCheck | None = None
    labelled_slices: tuple[int, int] | None = None
    ignore_value: int | None = None
    sides: tuple[SidePair, ...] = ()
    of_series: bool = False
    needs_content: bool = False
    hu_offset: float = 0
    resample_labels: bool = False
    copy: bool = False
    note: str | None = None
    made_from: str = ""

    @property
    def label_place(self) -> Path:
        """What messages about the label name."""
        return self.label[0] if self.label else self.masks[0][1].parent


@dataclass(frozen=True)
class ConvertedCase:
    """What came of a case.

    values: Stored values in its label map.
    merged: Names of the merged labels whose sides were not told apart.
    notes: For the user.
    left_out: Why nothing was written; None: it was.
    """

    values: tuple[int, ...]
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: str | None = None


@dataclass
class _Image:
    """The image of a case, its voxels read when they are asked for."""

    grid: Grid
    file: NiftiFile | None
    order: list[int] = field(default_factory=list)
    voxels: np.ndarray | None = None

    def read(self) -> np.ndarray:
        if self.voxels is None:
            assert self.file is not None, "a DICOM series is read at once"
            self.voxels = self.file.read()
        return self.voxels


@dataclass(frozen=True)
class _ToImage:
    """What brings an array of the label's grid to that of the image.

    exact: It does nothing at all.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    exact: bool


def convert_case(job: ConversionJob) -> ConvertedCase:
    """Check a case and write image and label.

    Raises:
        UserError: One line that names the file and what is wrong with it.
    """
    notes = [] if job.note is None else [job.note]
    image = _read_image(job, notes)
    image_path, label_path = job.outputs
    label = _read_label(job, image)
    if job.needs_content and {job.values.get(int(value), -1) for value in label.present} <= {0, job.ignore_value}:
        return ConvertedCase((), left_out=NOTHING_HELD)
    with written_beside(image_path) as image_beside, written_beside(label_path) as label_beside:
        label_notes = list(label.notes)
        to_image = _place(job, label, image, label_notes)
        stored = _remap(job, label, to_image)
        stored = _ignore_outside_labelled_slices(job, stored, label, to_image)
        stored, merged = _split_sides(job, stored, image, label_notes)
        values = tuple(map(int, distinct(stored)))
        _write_label(job, stored, label, image, to_image, label_beside)
        _write_image(job, image, image_beside, notes)
    return ConvertedCase(values, merged, tuple(dict.fromkeys([*notes, *label_notes])))


# ---- read ------------------------------------------------------------------------------------------------------------


def _read_image(job: ConversionJob, notes: list[str]) -> _Image:
    if job.dicom:
        from nnunetv2_cdpd.volumes.dicom import read_series

        series = read_series(job.image)
        if series.strays:  # a published series is one; label slices are matched with its files
            raise UserError(f"{series.strays[0]}; take it out of the folder")
        if series.drift.any():
            raise UserError(
                f"{series.slices[0].path}: gantry tilt of {series.tilt_degrees:.1f} degrees; straighten the series and its label "
                "first, a grid has no shear"
            )
        notes += series.notes
        image = _Image(series.grid, None, series.order, series.read())
    else:
        file = NiftiFile(job.image[0])
        grid, note = file.mended_grid()
        notes += [note] if note else []
        image = _Image(grid, file)
        if job.hu_offset:
            image.voxels = _in_hu(file.read(), job)
    if image.grid.looks_lost:
        notes.append("spacing 1 x 1 x 1 mm at the origin: the header's geometry looks lost")
    return image


def _in_hu(stored: np.ndarray, job: ConversionJob) -> np.ndarray:
    """Stored values as HU; below 0 they would be HU already."""
    lowest = stored.min()
    if job.hu_offset < 0 and lowest < 0:
        raise UserError(
            f"{job.image[0]} holds {lowest:g}, where HU + {-job.hu_offset:g} are expected, 0 and more; is it in HU already? "
            "Another release needs a declaration of its own, `cdpd convert --spec`"
        )
    return stored.astype(np.float64) + job.hu_offset


def _read_label(job: ConversionJob, image: _Image) -> Label:
    if job.masks:
        return read_masks(job.masks)
    if len(job.label) > 1 or job.label[0].suffix.lower() == ".png":
        return read_slices(job.label, image.order)
    return read_label(job.label[0])


# ---- label -> stored values on the image's grid ----------------------------------------------------------------------


def _place(job: ConversionJob, label: Label, image: _Image, notes: list[str]) -> _ToImage:
    if job.placement is not None:
        placement = _place_by_intensity(job, label, image, job.placement)
    elif label.grid is None:
        if label.array.shape != image.grid.shape:
            raise UserError(f"{job.label_place}: label slices of {label.array.shape[:2]}, image of {image.grid.shape[:2]}")
        placement = Placement()
    else:
        image_grid = image.grid if image.file is None else image.file.grid
        try:
            placement = place_label(label.grid, image_grid)
        except UserError as error:
            if not job.resample_labels:
                way_out = "argument resample_labels brings it there, if that is what it needs"
                raise UserError(f"{job.label_place}: {error}; {way_out}") from None
            notes.append(f"label resampled to the image's grid ({error})")
            return _ToImage(partial(resample_nearest, label=label.grid, image=image_grid), exact=False)
    notes += [placement.note] if placement.note else []
    return _ToImage(placement.apply, placement.exact)


def _place_by_intensity(job: ConversionJob, label: Label, image: _Image, check: IntensityCheck) -> Placement:
    said = None if label.grid is None or not job.of_series else flips_between(label.grid, image.grid)
    if job.of_series and not job.dicom and label.grid is not None:  # a NIfTI copy, whose header may agree with the label's
        try:
            return overruled_by_intensity(place_label(label.grid, image.grid), label.array, image.read(), check)
        except UserError:
            pass
    return place_by_intensity(label.array, image.read(), check, job.label_place, said)


def _remap(job: ConversionJob, label: Label, to_image: _ToImage) -> np.ndarray:
    return remap(to_image.apply(label.array), job.values, label.present, job.label_place)


def _ignore_outside_labelled_slices(job: ConversionJob, stored: np.ndarray, label: Label, to_image: _ToImage) -> np.ndarray:
    if job.labelled_slices is None:
        return stored
    first, end = job.labelled_slices
    count = label.array.shape[2]
    if not 0 <= first <= end <= count:
        raise UserError(f"{job.label_place}: labelled slices {first} to {end} given, it has {count}")
    inside = np.zeros(count, np.uint8)
    inside[first:end] = 1
    inside = to_image.apply(np.broadcast_to(inside, label.array.shape))  # these slices of the label go wherever it goes
    stored = np.array(stored, order="K")
    stored[(stored == 0) & (inside == 0)] = job.ignore_value
    return stored


def _split_sides(job: ConversionJob, stored: np.ndarray, image: _Image, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    if not job.sides:
        return stored, ()
    stored = np.array(stored, order="K")
    merged = []
    for pair in job.sides:
        if why := split_sides(stored, image.read(), image.grid, pair):
            merged.append(pair.name)
            notes.append(f"sides of {pair.name} not told apart: {why}")
    return stored, tuple(merged)


# ---- write -----------------------------------------------------------------------------------------------------------


def _write_image(job: ConversionJob, image: _Image, path: Path, notes: list[str]) -> None:
    if image.file is None or not image.file.ready or job.hu_offset:
        write_nifti(path, smallest_exact(image.read(), job.image[0]), image.grid)
        return
    if image.voxels is None:
        image.file.check_whole()
    if not link_or_copy(image.file.path, path, job.copy) and not job.copy:
        notes.append("image copied, because the file systems allow no link")


def _write_label(job: ConversionJob, stored: np.ndarray, label: Label, image: _Image, to_image: _ToImage, path: Path) -> None:
    kept = all(job.values[int(value)] == int(value) for value in label.present)
    kept = kept and job.labelled_slices is None and not job.sides and to_image.exact
    if kept and label.file is not None and label.file.ready and label.file.stores_integers:
        link_or_copy(label.file.path, path, job.copy)
        return
    like = image.file.image.header if image.file is not None and image.file.ready else None
    write_nifti(path, stored, image.grid, like)
