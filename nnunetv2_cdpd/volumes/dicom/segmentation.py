"""Segmentation: a DICOM SEG of any type, its frames in any order, on the slices of a series or on the grid of its image."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pydicom
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nnunetv2_cdpd.errors import UserError, reason, shortened
from nnunetv2_cdpd.volumes.dicom.contours import Drawing, Patch
from nnunetv2_cdpd.volumes.dicom.header import Slice, lack_of_pixels, slices_of
from nnunetv2_cdpd.volumes.dicom.label_object import LabelObject
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices
from nnunetv2_cdpd.volumes.placement import DIRECTION_TOLERANCE, OFFSET_TOLERANCE_VOXELS

_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_MOST_TIMES = 2  # that a frame may be as long as the image
_IDENTIFICATION = "SegmentIdentificationSequence"
_THRESHOLD = 0.5  # of the largest value of a fractional segmentation, from which on a voxel belongs to a structure


class Segmentation(LabelObject):
    kind = "segmentation"
    needed = ("SegmentSequence", "SegmentationType")

    @cached_property
    def structures(self) -> Mapping[int, str]:
        named = self.names_of(self.data.get("SegmentSequence") or (), "SegmentNumber", "SegmentLabel")
        return {number: name for number, name in named.items() if not self._is_label_map or number != self._background}

    @cached_property
    def series(self) -> frozenset[str]:
        return frozenset(str(item.SeriesInstanceUID) for item in self.data.get("ReferencedSeriesSequence") or ()) - {""}

    @cached_property
    def frames_of_reference(self) -> Mapping[int, str]:
        return dict.fromkeys(self.structures, str(self.data.get("FrameOfReferenceUID") or ""))

    def draw(self, numbers: Collection[int], where: SourceSlices, fill_gaps: int | None) -> dict[int, Drawing]:
        drawings = {number: Drawing() for number in numbers}
        try:
            frames = slices_of(self.path, self.data)
            held = self._segment_of_frames(len(frames))
            lack = lack_of_pixels(self.data, frames, self.num_bytes)
            self._check_bits()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self.broken(error) from error
        if lack:
            raise self.broken(lack)
        wanted = [index for index in range(len(frames)) if held is None or held[index] in drawings]
        places = [_place(frames[index], where) for index in wanted]
        outside: set[int] = set()
        for index, place, pixels in zip(wanted, places, self._pixels(wanted), strict=True):
            present = [held[index]] if held is not None else [number for number in numbers if (pixels == number).any()]
            for number in present:
                patch, is_whole = place.patch(pixels == number if held is None else pixels >= self._least)
                if patch is not None:
                    drawings[number].patches.append(patch)
                if not is_whole:
                    outside.add(number)
        for number in outside:
            drawings[number].notes.append("reaches outside of the image, where it is cut off")
        return drawings

    @property
    def _is_label_map(self) -> bool:
        return self.data.get("SegmentationType") == "LABELMAP"

    @property
    def _background(self) -> int:
        return int(self.data.get("PixelPaddingValue") or 0)

    @cached_property
    def _least(self) -> float:
        """From which pixel value on a voxel belongs to a structure."""
        if self.data.get("SegmentationType") != "FRACTIONAL":
            return 1
        return _THRESHOLD * int(self.data.get("MaximumFractionalValue") or 1)

    def _segment_of_frames(self, count: int) -> list[int] | None:
        """Number of the segment of each frame; None of a label map, whose frames hold all."""
        if self._is_label_map:
            return None
        shared = self.data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
        groups = self.data.get("PerFrameFunctionalGroupsSequence") or [pydicom.Dataset()] * count
        found = [
            int((frame.get(_IDENTIFICATION) or shared[0].get(_IDENTIFICATION))[0].ReferencedSegmentNumber) for frame in groups
        ]
        if unknown := sorted(set(found) - set(self.structures)):
            raise ValueError(f"its frames are of segment {unknown[0]}, which it does not describe")
        return found

    def _pixels(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """The stored values (rows, columns) of some frames, one at a time."""
        if not frames:
            return
        try:
            if int(self.data.BitsAllocated) == 1:
                yield from self._bits(frames)
            else:
                yield from iter_pixels(self.path, indices=frames, raw=True)
        except Exception as error:  # whatever pydicom and the decoders raise
            raise self.broken(f"its pixels cannot be read: {reason(error)}") from error

    def _check_bits(self) -> None:
        """Refuse packed bits that are compressed, which no decoder here takes apart."""
        syntax = UID(self.data.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
        if self.data.get("BitsAllocated") == 1 and syntax not in _UNCOMPRESSED:
            raise UserError(
                f"{self.path}: its frames of 1 bit are compressed ({shortened(syntax.name)}) and cannot be read; export it "
                "uncompressed"
            )

    def _bits(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """Frames of packed bits, which need not begin with a byte; pydicom takes it that they do."""
        data = pydicom.dcmread(self.path, specific_tags=["PixelData"])
        stored = np.frombuffer(data.PixelData, np.uint8)
        if data["PixelData"].VR == "OW" and data.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian:
            stored = stored.view(np.uint16).byteswap().view(np.uint8)
        shape = int(self.data.Rows), int(self.data.Columns)
        for frame in frames:
            first, end = frame * shape[0] * shape[1], (frame + 1) * shape[0] * shape[1]
            bits = np.unpackbits(stored[first // 8 : -(-end // 8)], bitorder="little")
            yield bits[first % 8 : first % 8 + end - first].reshape(shape)


@dataclass(frozen=True)
class _Place:
    """Where the pixels of a frame lie in an image.

    axes: Axis of the image along which columns are counted, and that of rows.
    flips: Whether they are counted backwards there.
    first: Index x, y, z of the lowest voxel.
    """

    axes: tuple[int, int]
    flips: tuple[bool, bool]
    first: np.ndarray
    shape: tuple[int, ...]

    def patch(self, mask: np.ndarray) -> tuple[Patch | None, bool]:
        """What of a mask (rows, columns) lies in the image, if any does, and whether that is all of it."""
        part = mask.T
        part = np.flip(part, tuple(axis for axis in (0, 1) if self.flips[axis]))
        if self.axes[0] > self.axes[1]:
            part = part.T
        (across,) = {0, 1, 2} - set(self.axes)
        part = np.expand_dims(part, across)
        low, inside = [], []
        for first, size, length in zip(self.first.tolist(), part.shape, self.shape, strict=True):
            start, stop = max(first, 0), max(min(first + size, length), 0)
            low.append(slice(start, stop))
            inside.append(slice(start - first, max(stop - first, 0)))
        kept = part[tuple(inside)]
        count, total = np.count_nonzero(kept), np.count_nonzero(part)
        if not count:
            return None, not total
        held = [np.flatnonzero(kept.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        place = tuple(slice(where.start + at[0], where.start + at[-1] + 1) for where, at in zip(low, held, strict=True))
        cut = tuple(slice(at[0], at[-1] + 1) for at in held)
        return ((place[0], place[1], place[2]), kept[cut].copy()), count == total


def _place(frame: Slice, where: SourceSlices) -> _Place:
    """Where a frame lies: on a slice of the series, wherever a tilted gantry has moved that, or in the upright grid itself.

    Raises:
        UserError: On another grid.
    """
    grid = where.grid
    to_index = np.linalg.inv(grid.affine)
    steps = (to_index[:3, :3] @ (frame.orientation * frame.spacing[:, None]).T).T  # of a column, of a row, in voxels of the grid
    turn = np.rint(steps)
    is_turned = (np.abs(turn).sum(1) == 1).all() and (np.abs(turn).sum(0) <= 1).all()
    off_mm_per_mm = np.abs(grid.spacing * (steps - turn) / frame.spacing[:, None]).max()
    axes = int(np.abs(turn[0]).argmax()), int(np.abs(turn[1]).argmax())
    is_of_size = all(size <= _MOST_TIMES * grid.shape[axis] for size, axis in zip(frame.size, axes, strict=True))
    first = _first(frame.position, where, is_in_plane=2 not in axes)
    if not is_turned or off_mm_per_mm > DIRECTION_TOLERANCE or not is_of_size or first is None:
        raise UserError(
            f"{frame.path}: a frame lies on another grid than its image; export the segmentation on the slices of its image"
        )
    for size, axis, step in zip(frame.size, axes, turn, strict=True):
        first[axis] -= (size - 1) * (step[axis] < 0)
    return _Place(axes, (bool(turn[0].min() < 0), bool(turn[1].min() < 0)), first, grid.shape)


def _first(position: np.ndarray, where: SourceSlices, is_in_plane: bool) -> np.ndarray | None:
    """Index x, y, z of the voxel at a frame's first pixel; None where the frame lies between voxels."""
    to_index = np.linalg.inv(where.grid.affine)
    column, row, number = where.index_of(position[None])[0]
    for index, aside in (
        (np.array([column, row, number]), where.offsets[int(np.clip(np.rint(number), 0, len(where.slices) - 1))]),
        (to_index[:3, :3] @ position + to_index[:3, 3], np.zeros(2, int)),
    ):
        whole = np.rint(index)
        if np.abs(index - whole).max() <= OFFSET_TOLERANCE_VOXELS and (is_in_plane or not where.is_tilted or not aside.any()):
            return whole.astype(int) + [*aside, 0]
    return None
