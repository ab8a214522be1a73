"""Contours: lines drawn on slices, as masks of these slices.

A voxel belongs to a structure if its centre lies inside of the structure's closed contours on its slice, by the even-odd rule
over all of them: a contour within another one takes away, one within that adds again; a hole that a contour reaches through a
channel of no width is a hole too. A centre on a line belongs to it as well, because programs that make contours of masks draw
them through the centres of the outermost voxels. No library is used: those at hand round the points first (Pillow, OpenCV), leave
open what happens on a line (matplotlib, scikit-image), or look at one contour and one voxel at a time.

Contours lie on slices or are taken on the nearest one; slices without a contour are left empty, as radiotherapy systems and the
usual converters leave them. Of a structure that was drawn on every second or third slice that would be wrong: it is refused,
unless how many slices may be filled between two contours was said; then the shape between is that of averaged signed distances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from nnunetv2_cdpd.volumes.dicom.series import OFF_MM, UNEVEN

ON_LINE = 0.01  # of a pixel, that a centre may lie beside a line; files give hundredths of a mm
_LEVEL = 1e-9  # pixels that a line rises by at most
_TIE = 1e-6  # of a slice: contours in the middle of two slices all go to the same side
_MOST_CROSSINGS = 1 << 22  # of lines and rows at a time, for little memory

# A part of a volume and which of its voxels are meant: slices along x, y, z, and bool of their shape
Patch = tuple[tuple[slice, slice, slice], np.ndarray]


class _NotAsDrawnError(Exception):
    """A structure that would not be on the grid as it was drawn."""


@dataclass
class Drawing:
    """What one structure is in a volume.

    notes: For the user, without the structure's name; alike for alike structures, so that many cases take few lines.
    problem: Why it is not there as it was drawn, so that it must not be taken; None: it is.
    """

    patches: list[Patch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was drawn at all."""
        return not (self.patches or self.notes or self.problem)


def draw_contours(
    contours: Sequence[np.ndarray], shape: Sequence[int], spacing: np.ndarray, fill_gaps: int | None = None
) -> Drawing:
    """A structure of closed contours.

    Args:
        contours: (n, 3) each, points as column, row and slice, finite; those of voxels' centres are whole numbers.
        shape: Columns, rows and slices.
        spacing: Between them, mm.
        fill_gaps: How many slices without a contour are filled between two that have one; None: none, and a structure with no
            contours on neighbouring slices is a problem.
    """
    drawing = Drawing()
    try:
        on_slices = _on_slices(contours, shape[2], float(spacing[2]), drawing.notes)
        drawing.notes += _gaps(sorted(on_slices), fill_gaps)
    except _NotAsDrawnError as error:
        return Drawing(problem=str(error))
    if not on_slices:
        return drawing
    areas = {index: area for index, lines in on_slices.items() if (area := area_inside(lines, shape[:2])) is not None}
    if not any(mask.any() for _, mask in areas.values()):
        drawing.notes.append("its contours hold no voxel's centre of the image")
        return drawing
    for index, ((x, y), mask) in areas.items():
        drawing.patches.append(((x, y, slice(index, index + 1)), mask[..., None]))
    if fill_gaps:
        drawing.patches += _between(areas, sorted(on_slices), fill_gaps, spacing[:2])
    return drawing


def area_inside(contours: Sequence[np.ndarray], shape: Sequence[int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """The pixels of a slice whose centres lie inside of closed contours, by the even-odd rule over all of them, or on a line.

    Args:
        contours: (n, 2) each, in pixels: x, y of a pixel's centre are whole numbers; the last point is joined to the first.
        shape: Pixels along x, y.

    Returns:
        The smallest part of the slice that can hold any, and which of its pixels (x, y); None: all lies outside of the slice.
    """
    starts = np.concatenate(contours)
    ends = np.concatenate([np.roll(points, -1, axis=0) for points in contours])
    low = np.maximum(np.ceil(starts.min(0) - ON_LINE), 0)
    high = np.minimum(np.floor(starts.max(0) + ON_LINE), np.array(shape) - 1)
    if not (low <= high).all():
        return None
    size = (high - low + 1).astype(int)
    x, y = (slice(int(first), int(last) + 1) for first, last in zip(low, high, strict=True))
    toggled = np.zeros((size[1], size[0] + 1), np.int32)  # how many lines lie just left of a pixel
    on_line = np.zeros_like(toggled)  # +1 where a run of pixels on a line begins, -1 where it has ended
    start, end = starts - low, ends - low
    is_up = (start[:, 1] <= end[:, 1])[:, None]
    start, end = np.where(is_up, start, end), np.where(is_up, end, start)
    # A row crosses lines from their lower end on, up to and without their upper end: a corner counts once, or twice at a tip.
    first, last = np.ceil(start[:, 1]), np.ceil(end[:, 1]) - 1
    for line, row in _rows(first, last, size[1]):
        crossing = _x_at(start[line], end[line], row)
        np.add.at(toggled, (row, np.clip(np.ceil(crossing), 0, size[0]).astype(int)), 1)
    for line, row in _rows(np.ceil(start[:, 1] - ON_LINE), np.floor(end[:, 1] + ON_LINE), size[1]):
        one, other = start[line], end[line]
        beside = _half_width(one, other)
        middle = _x_at(one, other, row)
        left = np.ceil(np.maximum(middle - beside, np.minimum(one[:, 0], other[:, 0]) - ON_LINE))
        right = np.floor(np.minimum(middle + beside, np.maximum(one[:, 0], other[:, 0]) + ON_LINE))
        left, right = np.clip(left, 0, size[0]).astype(int), np.clip(right, -1, size[0] - 1).astype(int)
        some = left <= right
        np.add.at(on_line, (row[some], left[some]), 1)
        np.add.at(on_line, (row[some], right[some] + 1), -1)
    mask = (np.cumsum(toggled, axis=1) % 2 == 1) | (np.cumsum(on_line, axis=1) > 0)
    return (x, y), mask[:, :-1].T


def _rows(first: np.ndarray, last: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each line with each row from its first to its last that the slice has, some at a time."""
    first, last = np.clip(first, 0, count).astype(int), np.clip(last, -1, count - 1).astype(int)
    number = np.maximum(last - first + 1, 0)
    total = np.cumsum(number)
    cuts = np.searchsorted(total, np.arange(_MOST_CROSSINGS, total[-1], _MOST_CROSSINGS))
    for lines in np.split(np.arange(len(number)), cuts):
        repeats = number[lines]
        line = np.repeat(lines, repeats)
        before = np.repeat(np.cumsum(repeats) - repeats, repeats)
        yield line, first[line] + np.arange(len(line)) - before


def _x_at(start: np.ndarray, end: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Where lines from a lower to an upper end, going on beyond both, pass a row; of a level line its lower end."""
    rise = end[:, 1] - start[:, 1]
    share = np.divide(row - start[:, 1], rise, out=np.zeros(len(rise)), where=rise > _LEVEL)
    return start[:, 0] + share * (end[:, 0] - start[:, 0])


def _half_width(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far along a row, from where a line passes it, one is within `ON_LINE` of the line; of a level line everywhere."""
    run, rise = np.abs(end - start).T
    return np.divide(ON_LINE * np.hypot(run, rise), rise, out=np.full(len(rise), np.inf), where=rise > _LEVEL)


def _on_slices(contours: Sequence[np.ndarray], count: int, distance: float, notes: list[str]) -> dict[int, list[np.ndarray]]:
    """Index of a slice -> the contours on it, (n, 2) in pixels; what cannot be taken is added to the notes.

    Args:
        count: Of slices.
        distance: From slice to slice, mm.
    """
    tolerance = max(UNEVEN, OFF_MM / distance)  # of the distance between slices
    here: dict[int, list[tuple[float, np.ndarray]]] = {}
    beyond = between = copies = False
    for index in contours:
        depth = index[:, 2]
        if np.ptp(depth) > 2 * tolerance:
            raise _NotAsDrawnError("its contours are not parallel to the slices of the image")
        middle = float(depth.mean())
        nearest = int(np.floor(middle + 0.5 - _TIE)) if abs(middle) < 1e9 else -1
        if not 0 <= nearest < count:
            beyond = True
            continue
        here.setdefault(nearest, []).append((middle, index[:, :2]))
    off = 0.0
    on_slices: dict[int, list[np.ndarray]] = {}
    for nearest, found in here.items():
        plane = min((middle for middle, _ in found), key=lambda middle: abs(middle - nearest))
        off = max(off, abs(plane - nearest))
        lines: dict[bytes, np.ndarray] = {}
        for middle, line in found:
            if abs(middle - plane) > tolerance:
                between = True
            else:
                copies |= line.tobytes() in lines
                lines[line.tobytes()] = line
        on_slices[nearest] = list(lines.values())
    if beyond:
        notes.append("contours beyond the first or last slice of the image left out")
    if between:
        notes.append("contours between slices left out, others are nearer to these")
    if copies:
        notes.append("contours given twice taken once")
    if off > tolerance:
        notes.append("contours beside the slices taken on the nearest one")
    return on_slices


def _gaps(indices: Sequence[int], fill_gaps: int | None) -> list[str]:
    """What is to be said of slices without a contour between those that have one."""
    steps = np.diff(indices)
    missing = int((steps - 1).sum())
    if not missing:
        return []
    if fill_gaps is None and (steps > 1).all():
        raise _NotAsDrawnError(
            f"it has contours on {len(indices)} of {indices[-1] - indices[0] + 1} slices, nowhere on neighbouring ones (say "
            f"`fill_gaps: {int(steps.min()) - 1}` to fill what lies between them, or `fill_gaps: 0` if nothing does)"
        )
    filled = int((steps - 1)[steps - 1 <= (fill_gaps or 0)].sum())
    notes = ["slices without a contour filled between others"] if filled else []
    if missing > filled:
        notes.append("slices without a contour between others left empty")
    return notes


def _between(
    areas: dict[int, tuple[tuple[slice, slice], np.ndarray]], indices: Sequence[int], fill_gaps: int, spacing: np.ndarray
) -> Iterator[Patch]:
    """The slices between two with contours, no more than may be filled at once."""
    for below, above in pairwise(indices):
        if not (1 < above - below <= fill_gaps + 1 and all(index in areas and areas[index][1].any() for index in (below, above))):
            continue
        places = [areas[index][0] for index in (below, above)]
        x, y = (slice(min(place[axis].start for place in places), max(place[axis].stop for place in places)) for axis in (0, 1))
        distances = []
        for index in (below, above):
            (own_x, own_y), mask = areas[index]
            whole = np.zeros((x.stop - x.start, y.stop - y.start), bool)
            whole[own_x.start - x.start : own_x.stop - x.start, own_y.start - y.start : own_y.stop - y.start] = mask
            distances.append(_signed_distance(whole, spacing))
        for index in range(below + 1, above):
            share = (index - below) / (above - below)
            yield (x, y, slice(index, index + 1)), ((1 - share) * distances[0] + share * distances[1] > 0)[..., None]


def _signed_distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """How far a pixel's centre lies inside of a mask, mm, half a pixel at its border; outside negative."""
    from scipy.ndimage import distance_transform_edt

    framed = np.pad(mask, 1)  # so that there is an outside
    inside, outside = (distance_transform_edt(each, sampling=spacing) for each in (framed, ~framed))
    half = float(spacing.min()) / 2
    return np.where(framed, inside - half, half - outside)[1:-1, 1:-1]
