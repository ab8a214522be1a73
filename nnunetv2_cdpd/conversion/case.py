"""One case: image and label checked and written; both appear complete or not at all. Runs in spawned processes."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.conversion.intensity import place_by_intensity
from nnunetv2_cdpd.conversion.labels import Label, read_label, read_masks, read_slices, remap
from nnunetv2_cdpd.conversion.sides import SidePair, split_sides
from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.exact import smallest_exact
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.nifti import NiftiFile, hand_on, write_nifti
from nnunetv2_cdpd.volumes.placement import Placement, place_label, resample_nearest


@dataclass(frozen=True)
class CaseJob:
    """What to do for one case.

    image: One NIfTI file, or the files of a DICOM series (`dicom`).
    label: See FoundCase.
    masks: Stored value and file of each, in the order in which they are painted.
    values: Source value -> stored value, of all declared ones.
    outputs: Image and label of the converted dataset.
    work_folder: A folder of this case alone on the file system of the outputs, made and removed again.
    ignore_value: Stored instead of background outside of `labelled_slices`.
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
    work_folder: Path
    placement: IntensityCheck | None = None
    labelled_slices: tuple[int, int] | None = None
    ignore_value: int | None = None
    sides: tuple[SidePair, ...] = ()
    resample_labels: bool = False
    copy: bool = False
    note: str | None = None
    made_from: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    values: Stored values in its label map.
    merged: Names of the merged labels whose sides were not told apart.
    notes: For the user.
    """

    values: tuple[int, ...]
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Image:
    """The image of a case, its voxels read when they are asked for."""

    grid: Grid
    file: NiftiFile | None
    order: list[int] = field(default_factory=list)
    voxels: np.ndarray | None = None

    def read(self) -> np.ndarray:
        if self.voxels is None:
            self.voxels = self.file.read()
        return self.voxels


def convert_case(job: CaseJob) -> CaseResult:
    """Check a case and write image and label.

    Raises:
        UserError: One line that names the file and what is wrong with it.
    """
    shutil.rmtree(job.work_folder, ignore_errors=True)  # of a run that was killed
    job.work_folder.mkdir(parents=True)
    beside = [job.work_folder / output.name for output in job.outputs]
    try:
        image, notes = _open_image(job)
        values, merged, label_notes = _write_label(job, image, beside[1])
        notes = [*notes, *_write_image(job, image, beside[0]), *label_notes]
        for path, output in zip(beside, job.outputs):
            output.unlink(missing_ok=True)  # renaming a hard link onto another of the same file would do nothing
            os.replace(path, output)
    finally:
        shutil.rmtree(job.work_folder, ignore_errors=True)
    return CaseResult(values, merged, tuple(dict.fromkeys([*([job.note] if job.note else []), *notes])))


def _open_image(job: CaseJob) -> tuple[_Image, list[str]]:
    notes = []
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
        grid = Grid.of_affine(series.shape, series.affine)
        image = _Image(grid, None, series.order, series.read())
    else:
        file = NiftiFile(job.image[0])
        grid, note = file.mended_grid()
        notes += [note] if note else []
        image = _Image(grid, file)
    if image.grid.looks_lost:
        notes.append("spacing 1 x 1 x 1 mm at the origin: the header's geometry looks lost")
    return image, notes


def _write_image(job: CaseJob, image: _Image, path: Path) -> list[str]:
    if image.file is None or not image.file.ready:
        write_nifti(path, smallest_exact(image.read(), job.image[0]), image.grid)
        return []
    if image.voxels is None:
        image.file.check_whole()
    if not hand_on(image.file.path, path, job.copy) and not job.copy:
        return ["image copied, because the file systems allow no link"]
    return []


def _write_label(job: CaseJob, image: _Image, path: Path) -> tuple[tuple[int, ...], tuple[str, ...], list[str]]:
    label = _read_label(job, image)
    where = job.label[0] if job.label else job.masks[0][1].parent
    present = distinct(label.array)
    to_image, notes, exact = _to_image(job, label, image, where)
    stored = remap(to_image(label.array), job.values, present, where)
    unchanged = all(job.values[int(value)] == int(value) for value in present)
    if job.labelled_slices is not None:
        first, end = job.labelled_slices
        if not 0 <= first < end <= label.array.shape[2]:
            raise UserError(f"{where}: labelled slices {first} to {end} given, it has {label.array.shape[2]}")
        inside = np.zeros(label.array.shape[2], np.uint8)
        inside[first:end] = 1
        inside = to_image(np.broadcast_to(inside, label.array.shape))  # these slices of the label go wherever it goes
        stored = np.array(stored, order="K")
        stored[(stored == 0) & (inside == 0)] = job.ignore_value
        unchanged = False
    merged = []
    if job.sides:
        stored = np.array(stored, order="K")
        for pair in job.sides:
            if why := split_sides(stored, image.read(), image.grid, pair):
                merged.append(pair.name)
                notes.append(f"sides of {pair.name} not told apart: {why}")
        unchanged = False
    values = tuple(map(int, distinct(stored)))
    if unchanged and exact and label.file is not None and label.file.ready and _is_integer(label.file):
        hand_on(label.file.path, path, job.copy)
    else:
        like = image.file.image.header if image.file is not None and image.file.ready else None
        write_nifti(path, stored, image.grid, like)
    return values, tuple(merged), [*label.notes, *notes]


def _read_label(job: CaseJob, image: _Image) -> Label:
    if job.masks:
        return read_masks(job.masks)
    if len(job.label) > 1 or job.label[0].suffix.lower() == ".png":
        return read_slices(job.label, image.order)
    return read_label(job.label[0])


def _to_image(
    job: CaseJob, label: Label, image: _Image, where: Path
) -> tuple[Callable[[np.ndarray], np.ndarray], list[str], bool]:
    """What brings an array of the label's grid to that of the image, notes, and whether it does nothing at all."""
    if job.placement is not None:
        placement = place_by_intensity(label.array, image.read(), job.placement, where)
    elif label.grid is None:
        if label.array.shape != image.grid.shape:
            raise UserError(f"{where}: label slices of {label.array.shape[:2]}, image of {image.grid.shape[:2]}")
        placement = Placement()
    else:
        grids = {"label": label.grid, "image": image.grid if image.file is None else image.file.grid}
        try:
            placement = place_label(**grids)
        except UserError as error:
            if not job.resample_labels:
                raise UserError(f"{where}: {error}; `--resample-labels` brings it there, if that is what it needs") from None
            return partial(resample_nearest, **grids), [f"label resampled to the image's grid ({error})"], False
    return placement.apply, [placement.note] if placement.note else [], placement.exact


def _is_integer(file: NiftiFile) -> bool:
    slope, inter = file.image.header.get_slope_inter()
    return np.issubdtype(file.image.get_data_dtype(), np.integer) and slope in (None, 1) and inter in (None, 0)
