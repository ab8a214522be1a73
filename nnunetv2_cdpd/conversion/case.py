"""One case, from its files to imagesTr and labelsTr: read -> place, remap -> ignore -> sides -> write.

Image and label appear complete or not at all. Runs in spawned processes.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.conversion.intensity import overruled_by_intensity, place_by_intensity
from nnunetv2_cdpd.conversion.job import ConversionJob, ConvertedCase
from nnunetv2_cdpd.conversion.read_labels import Label, read_label, read_masks, read_slices, remap
from nnunetv2_cdpd.conversion.read_rois import LabelledSeries, read_labelled_series, read_rois
from nnunetv2_cdpd.conversion.sides import split_sides
from nnunetv2_cdpd.conversion.slices import pair_slices
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.dicom import Series, read_series
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.nifti import NiftiFile, link_or_copy, write_nifti
from nnunetv2_cdpd.volumes.placement import Placement, flips_between, place_label, resample_nearest
from nnunetv2_cdpd.volumes.value_types import smallest_exact


@dataclass
class _Image:
    """The image of a case, its voxels read when they are asked for.

    file, series: What it was read from, one of the two.
    labelled: The series with its structure sets and segmentations, where labels are such.
    """

    grid: Grid
    file: NiftiFile | None
    series: Series | None = None
    voxels: np.ndarray | None = None
    labelled: LabelledSeries | None = None

    def read(self) -> np.ndarray:
        if self.voxels is None:
            self.voxels = self.file.read() if self.file is not None else _upright_voxels(self.series)
        return self.voxels


_MOST_BYTES = 255  # of a file's name
# Brings an array from the label's grid to that of the image.
_ToImage = Callable[[np.ndarray], np.ndarray]


def convert_case(job: ConversionJob) -> ConvertedCase:
    """Check a case and write image and label.

    Raises:
        UserError: One line that names the file and what is wrong with it.
    """
    if any(len(os.fsencode(path.name)) > _MOST_BYTES for path in job.outputs):
        raise UserError(f"{job.case.image[0]}: no file can have so long a name ({job.outputs[0].name}); shorten the case's")
    notes = [] if job.case.note is None else [job.case.note]
    image = _read_image(job, notes)
    *image_path, label_path = job.outputs
    label = _read_label(job, image)
    unmapped, lost = label.unmapped, dict(label.lost)
    held = {job.values.get(int(value), -1) for value in label.present} - {0, job.ignore_value}  # -1: undeclared, told below
    all_lost = bool(job.always) and not any(lost.keys().isdisjoint(members) for members in job.always)
    if not held and (job.needs_content or all_lost):
        return ConvertedCase(left_out="its label holds no structure, so nothing tells what it annotates", unmapped=unmapped)
    with ExitStack() as stack:
        image_beside = [stack.enter_context(written_beside(path)) for path in image_path]
        label_beside = stack.enter_context(written_beside(label_path))
        notes += label.notes
        to_image = _place(job, label, image, notes)
        stored = remap(to_image(label.array), job.values, label.present, job.label_place)
        stored = _ignore_outside_labelled_slices(job, stored, label, to_image)
        stored, merged = _split_sides(job, stored, image, notes)
        _write_label(job, stored, label, image, label_beside)
        for path in image_beside:
            _write_image(job, image, path, notes)
    return ConvertedCase(merged, tuple(dict.fromkeys(notes)), tuple(sorted(held)), unmapped=unmapped, lost=lost)


# ---- read ------------------------------------------------------------------------------------------------------------


def _read_image(job: ConversionJob, notes: list[str]) -> _Image:
    if job.rois is not None:
        if not job.dicom:
            raise UserError(
                f"{job.case.image[0]}: structure sets lie on the slices of a DICOM series; give the series, not NIfTI"
            )
        labelled = read_labelled_series(job.case.image, job.case.label)
        notes += labelled.series.notes
        image = _Image(labelled.series.upright, None, labelled.series, labelled=labelled)
    elif job.dicom:
        series = read_series(job.case.image)
        if series.strays:  # a published series is one; label slices are matched with its files
            raise UserError(f"{series.strays[0]}; take it out of the folder")
        if series.drift.any():
            raise UserError(
                f"{series.slices[0].path}: gantry tilt of {series.tilt_degrees:.1f} degrees; straighten the series and its label "
                "first, a grid has no shear"
            )
        notes += series.notes
        image = _Image(series.grid, None, series, series.read())
    else:
        file = NiftiFile(job.case.image[0])
        grid, mended = file.mended_grid()
        notes += mended
        image = _Image(grid, file)
        if job.hu_offset:
            image.voxels = _in_hu(file.read(), job)
    if image.grid.looks_lost:
        notes.append("spacing 1 x 1 x 1 mm at the origin: the header's geometry looks lost")
    return image


def _upright_voxels(series: Series | None) -> np.ndarray:
    assert series is not None, "an image is of a file or a series"
    return sitk.GetArrayFromImage(series.image()).T if series.drift.any() else series.read()


def _in_hu(stored: np.ndarray, job: ConversionJob) -> np.ndarray:
    """Stored values as HU; below 0 they would be HU already."""
    lowest = stored.min()
    if job.hu_offset < 0 and lowest < 0:
        raise UserError(
            f"{job.case.image[0]} holds {lowest:g}, where HU + {-job.hu_offset:g} are expected, 0 and more; is it in HU already? "
            "Another release needs a declaration of its own (docs/conversion.md)"
        )
    return stored.astype(np.float64) + job.hu_offset


def _read_label(job: ConversionJob, image: _Image) -> Label:
    if image.labelled is not None and job.rois is not None:
        return read_rois(image.labelled, job.rois)
    if job.masks:
        return read_masks(job.masks)
    first, *others = job.case.label
    if others or first.suffix.lower() == ".png":
        if image.series is None:
            raise UserError(f"{job.label_place}: label slices, and the image is no DICOM series whose files they could belong to")
        return read_slices(pair_slices(job.case.label, image.series))
    return read_label(first)


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
            image.read()  # of a damaged header that is told, and not that the label does not fit
            if not job.resample_labels:
                way_out = "argument resample_labels brings it there, if that is what it needs"
                raise UserError(f"{job.label_place}: {error}; {way_out}") from None
            notes.append(f"label resampled to the image's grid ({error})")
            return partial(resample_nearest, label=label.grid, image=image_grid)
    notes += [placement.note] if placement.note else []
    return placement.apply


def _place_by_intensity(job: ConversionJob, label: Label, image: _Image, check: IntensityCheck) -> Placement:
    said = None if label.grid is None or not job.of_series else flips_between(label.grid, image.grid)
    if job.of_series and not job.dicom and label.grid is not None:  # a NIfTI copy, whose header may agree with the label's
        try:
            agreed = place_label(label.grid, image.grid)
        except UserError:
            pass
        else:
            return overruled_by_intensity(agreed, label.array, image.read(), check, job.label_place)
    return place_by_intensity(label.array, image.read(), check, job.label_place, said)


def _ignore_outside_labelled_slices(job: ConversionJob, stored: np.ndarray, label: Label, to_image: _ToImage) -> np.ndarray:
    if job.case.labelled_slices is None:
        return stored
    first, end = job.case.labelled_slices
    count = label.array.shape[2]
    if not 0 <= first <= end <= count:
        raise UserError(f"{job.label_place}: labelled slices {first} to {end} given, it has {count}")
    inside = np.zeros(count, np.uint8)
    inside[first:end] = 1
    inside = to_image(np.broadcast_to(inside, label.array.shape))  # these slices of the label go wherever it goes
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
        write_nifti(path, smallest_exact(image.read(), job.case.image[0]), image.grid)
        return
    if image.voxels is None:
        image.file.check()
    if not link_or_copy(image.file.path, path, job.copy) and not job.copy:
        notes.append("image copied, because the file systems allow no link")


def _write_label(job: ConversionJob, stored: np.ndarray, label: Label, image: _Image, path: Path) -> None:
    keeps_values = all(job.values[int(value)] == int(value) for value in label.present)
    keeps_voxels = job.placement is None and job.case.labelled_slices is None and not job.sides
    if keeps_values and keeps_voxels and label.file is not None and image.file is not None:
        is_there = same_place(label.file.grid, image.file.grid, spacing_mm=0, position_mm=0) is None
        if is_there and label.file.ready and label.file.stores_integers:
            link_or_copy(label.file.path, path, job.copy)
            return
    like = image.file.image.header if image.file is not None and image.file.ready else None
    write_nifti(path, stored, image.grid, like)
