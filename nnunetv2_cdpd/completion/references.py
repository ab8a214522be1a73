"""References: volume, place and shape of each class in the annotated cases, and how far a structure is from them.

Places are told in the patient's frame (LPS), as sources store their axes in different ways: sideways and from front to back
from the middle of the body (of the image, where it is no CT), and along all axes from other classes that the same cases annotate.
Along the body an image begins anywhere, and a hospital may cut its images beside the body's middle. `quality.anatomy` places
classes among all others of a case; here each source annotates others, so that only pairs that some source annotates together can
be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_cdpd.completion.middle import position_mm
from nnunetv2_cdpd.jobs.shapes import NUMBER, list_of, map_of, record
from nnunetv2_cdpd.quality.shapes import CUT_OFF, shapes_of
from nnunetv2_cdpd.volumes.grid import Grid

LEAST_ANNOTATED = 5
_TO_SD = 1.4826  # median absolute deviation -> standard deviation, of a normal distribution
# Least spreads, for classes that a few cases show alike: of ln volume, of ln roundness, of places in mm.
_LEAST_VOLUME, _LEAST_SHAPE, _LEAST_MM = 0.15, 0.05, 5.0
_ALONG = 2  # axis of the patient's frame
_FACTS = record(
    {"ln_volume": NUMBER, "roundness": NUMBER, "largest": NUMBER, "border": NUMBER, "place": list_of(NUMBER, 3, 3)}
    | {"offset": list_of(NUMBER, 0, 2)}
)
FACTS_OF_CASE = map_of(_FACTS, "an object of classes")


@dataclass(frozen=True)
class Facts3D:
    """One class in one image.

    ln_volume: Of the volume in ml.
    roundness: ln of the surface of a ball of the same volume, against its own.
    largest: Share of its largest piece.
    border: Share of its voxels at the border of the image or of an ignored part.
    place: Of its centroid, in mm (LPS).
    offset: From the middle, sideways and from front to back in mm; (): it is not known.
    """

    ln_volume: float
    roundness: float
    largest: float
    border: float
    place: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def is_cut(self) -> bool:
        """Whether it may go on outside of the image, or where nothing is known."""
        return self.border > CUT_OFF

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> "Facts3D":
        """From what JSON makes of it."""
        numbers: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        return cls(**numbers)


def structure_facts(
    labels: np.ndarray,
    members: Mapping[str, Sequence[int]],
    grid: Grid,
    middle: np.ndarray | None,
    ignore: int | None = None,
) -> dict[str, Facts3D]:
    """Facts of the classes that are in a label map.

    Args:
        labels: (Z, Y, X) of any integers.
        members: Class -> its values.
        grid: Of the label map.
        middle: (3,) mm (LPS), as `middle_of` finds it.
        ignore: Value that says nothing; None: there is none.
    """
    spacing = [*([1.0] * (3 - len(grid.spacing))), *grid.spacing[::-1].tolist()]
    found = {}
    for name, shape in shapes_of(labels, members, spacing, ignore).items():
        index = [mm / size for mm, size in zip(shape.centroid_mm, spacing)]
        place = position_mm(grid, index)
        volume = shape.volume_ml * 1000  # mm3
        ball = (36 * np.pi * volume**2) ** (1 / 3)
        found[name] = Facts3D(
            float(np.log(shape.volume_ml)),
            float(np.log(ball / _surface(np.isin(labels, list(members[name])), spacing))),
            shape.largest_share,
            shape.border_share,
            tuple(place.tolist()),
            () if middle is None else tuple((place - middle)[:2].tolist()),
        )
    return found


@dataclass(frozen=True)
class References:
    """The annotated cases.

    cases: Of each, class -> facts, of the classes that it annotates and holds.
    """

    cases: tuple[Mapping[str, Facts3D], ...]

    def number(self, name: str) -> int:
        """How many cases show a class."""
        return sum(name in case for case in self.cases)

    def scores(self, name: str, facts: Facts3D, others: Mapping[str, Facts3D]) -> dict[str, float]:
        """How far a structure lies from the annotated ones: volume, place, shape -> robust standard deviations.

        A structure that reaches the border of the image may be cut off there: then nothing is said of a small volume, of its
        shape, nor of its place along the body, as its middle moves with the border. Annotated ones that are cut, by the border
        or by an ignored part, tell neither volume nor shape. What nothing tells is missing.

        Args:
            others: Of the other classes of the same image.
        """
        known = [case[name] for case in self.cases if name in case]
        if len(known) < LEAST_ANNOTATED:
            return {}
        whole = [its for its in known if not its.is_cut]
        found = {}
        if len(whole) >= LEAST_ANNOTATED:
            volume = _score(facts.ln_volume, [its.ln_volume for its in whole], _LEAST_VOLUME)
            found["volume_score"] = max(0.0, volume) if facts.is_cut else abs(volume)
        offsets = [its.offset for its in known if its.offset]
        places = [
            abs(_score(value, [offset[axis] for offset in offsets], _LEAST_MM))
            for axis, value in enumerate(facts.offset)
            if len(offsets) >= LEAST_ANNOTATED
        ]
        if pairs := [score for other, its in others.items() if (score := self._from_other(name, facts, other, its)) is not None]:
            places.append(float(np.median(pairs)))
        if places:
            found["place_score"] = max(places)
        if len(whole) >= LEAST_ANNOTATED and not facts.is_cut:
            shapes = [_score(facts.roundness, [its.roundness for its in whole], _LEAST_SHAPE)]
            shapes.append(_score(facts.largest, [its.largest for its in whole], _LEAST_SHAPE))
            found["shape_score"] = max(map(abs, shapes))
        return found

    def _from_other(self, name: str, facts: Facts3D, other: str, its: Facts3D) -> float | None:
        """The farthest of three axes along which a class lies from another one; None: too few cases show both."""
        both = [(case[name], case[other]) for case in self.cases if name in case and other in case]
        if len(both) < LEAST_ANNOTATED or name == other:
            return None
        here = np.subtract(facts.place, its.place)
        scores = []
        for axis in range(3):
            known = [pair for pair in both if axis != _ALONG or not any(each.is_cut for each in pair)]
            if len(known) >= LEAST_ANNOTATED and (axis != _ALONG or not (facts.is_cut or its.is_cut)):
                apart = [own.place[axis] - there.place[axis] for own, there in known]
                scores.append(abs(_score(float(here[axis]), apart, _LEAST_MM)))
        return max(scores)


def _score(value: float, known: Iterable[float], least: float) -> float:
    """Signed robust standard score."""
    known = np.asarray(list(known), float)
    middle = float(np.median(known))
    spread = _TO_SD * float(np.median(np.abs(known - middle)))
    return (value - middle) / max(spread, least)


def _surface(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """mm2 of the faces between voxels inside and outside; what lies beyond the image is outside."""
    padded = np.pad(mask, 1).astype(np.int8)
    area = float(np.prod(spacing))
    return sum(float((np.diff(padded, axis=axis) != 0).sum()) * area / spacing[axis] for axis in range(3))
