"""StructureSet: an RT Structure Set, contours drawn by hand or by a radiotherapy system."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pydicom

from nnunetv2_cdpd.errors import reason, shortened
from nnunetv2_cdpd.volumes.dicom.contours import Drawing, draw_contours
from nnunetv2_cdpd.volumes.dicom.label_object import LabelObject
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # both by the even-odd rule, as radiotherapy systems mean them
_FARTHEST_MM = 1e6


class StructureSet(LabelObject):
    kind = "structure set"
    needed = ("StructureSetROISequence", "ROIContourSequence")

    @cached_property
    def structures(self) -> Mapping[int, str]:
        return self.names_of(self._rois, "ROINumber", "ROIName")

    @cached_property
    def series(self) -> frozenset[str]:
        return frozenset(
            str(series.SeriesInstanceUID)
            for space in self.data.get("ReferencedFrameOfReferenceSequence") or ()
            for study in space.get("RTReferencedStudySequence") or ()
            for series in study.get("RTReferencedSeriesSequence") or ()
        ) - {""}

    @cached_property
    def frames_of_reference(self) -> Mapping[int, str]:
        spaces = {
            str(item.get("FrameOfReferenceUID") or "") for item in self.data.get("ReferencedFrameOfReferenceSequence") or ()
        }
        only = spaces.pop() if len(spaces) == 1 else ""
        return {int(roi.ROINumber): str(roi.get("ReferencedFrameOfReferenceUID") or only) for roi in self._rois}

    def draw(self, numbers: Collection[int], where: SourceSlices, fill_gaps: int | None) -> dict[int, Drawing]:
        for roi in self.data.get("ROIContourSequence") or ():
            if roi.get("ContourSequence") and (stray := self._number(roi)) not in self.structures:
                raise self.broken(f"contours of structure {stray}, which it does not describe")
        return {number: self._draw(number, where, fill_gaps) for number in numbers}

    def _draw(self, number: int, where: SourceSlices, fill_gaps: int | None) -> Drawing:
        closed: list[np.ndarray] = []
        others: dict[str, None] = {}
        images: set[str] = set()  # on which it was drawn
        try:
            for contour in self._contours(number):
                kind = str(contour.get("ContourGeometricType") or "").strip()
                if kind in _CLOSED:
                    closed.append(_points(contour))
                else:
                    others[kind] = None
                if len(self.series) > 1:
                    images |= {str(image.ReferencedSOPInstanceUID) for image in contour.get("ContourImageSequence") or ()}
        except Exception as error:  # whatever pydicom and numpy raise
            raise self.broken(f"contours of {shortened(self.structures[number])}: {error}") from error
        drawing = _drawn(closed, where, fill_gaps)
        if images and images.isdisjoint(entry.uid for entry in where.slices):
            drawing.problem = "it was drawn on another series that its file refers to"
        for kind in others:
            told = f"of type {shortened(kind)}" if kind else "without a type"
            drawing.notes.append(f"contours {told} left out, only closed ones have an inside")
        return drawing

    @property
    def _rois(self) -> list[pydicom.Dataset]:
        return list(self.data.get("StructureSetROISequence") or ())

    def _contours(self, number: int) -> Iterator[pydicom.Dataset]:
        for roi in self.data.get("ROIContourSequence") or ():
            if self._number(roi) == number:
                yield from roi.get("ContourSequence") or ()

    def _number(self, roi: pydicom.Dataset) -> int:
        """Of the structure whose contours an item holds."""
        try:
            return int(roi.ReferencedROINumber)
        except Exception as error:  # whatever pydicom raises
            raise self.broken(f"contours of an unknown structure: {reason(error)}") from error


def _drawn(contours: Sequence[np.ndarray], where: SourceSlices, fill_gaps: int | None) -> Drawing:
    """Contours (n, 3) in mm as a structure on the upright grid: filled on the slices, which are then moved as any label is."""
    count, rows, columns = where.shape
    drawing = draw_contours(
        [where.index_of(points) for points in contours], (columns, rows, count), where.grid.spacing, fill_gaps
    )
    drawing.patches = [(_moved(place, where), mask) for place, mask in drawing.patches]
    return drawing


def _moved(place: tuple[slice, slice, slice], where: SourceSlices) -> tuple[slice, slice, slice]:
    """A part of one slice as the part of the upright grid where it lies."""
    x, y = where.offsets[place[2].start].tolist()
    return slice(place[0].start + x, place[0].stop + x), slice(place[1].start + y, place[1].stop + y), place[2]


def _points(contour: pydicom.Dataset) -> np.ndarray:
    """(n, 3) mm of one contour; pydicom's own numbers, an object each, take ten times as long."""
    element = contour.get_item("ContourData")
    stored: Any = None if element is None else element.value
    if isinstance(stored, bytes):  # not made numbers of yet
        stored = stored.rstrip(b" \0").split(b"\\")
    values = np.array(stored or (), float)
    if len(values) % 3 or not (np.abs(values) < _FARTHEST_MM).all():
        raise ValueError("a point without place")
    points = values.reshape(-1, 3)
    if (count := contour.get("NumberOfContourPoints")) is not None and int(count) != len(points):
        raise ValueError(f"{len(points)} of {count} points")
    if not len(points):
        raise ValueError("a contour without points")
    return points
