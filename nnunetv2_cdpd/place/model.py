"""PlaceModel: all that was learned of where classes lie, as it tells the boxes of a case, and as JSON: numbers and names."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nnunetv2_cdpd.place.body import BodySlices
from nnunetv2_cdpd.place.heights import HeightModel, learn_heights
from nnunetv2_cdpd.place.references import CASES_NEEDED, AxisModel, Reference, learn_axis

_MOST_EXTENT = 1.25  # times what was seen of width and depth, for the middle of a body to be told


@dataclass(frozen=True)
class PlaceModel:
    """Where classes lie.

    classes: K names.
    cases: (K,) how many annotate and show each.
    heights: None: too few images, nothing is said of any class.
    extents: (2, 2) mm, least and most of depth and of width that images had.
    axes: Along the body, front to back and sideways.
    """

    classes: tuple[str, ...]
    cases: tuple[int, ...]
    heights: HeightModel | None
    extents: np.ndarray
    axes: tuple[AxisModel, AxisModel, AxisModel]

    def image_says(self, slices: BodySlices | None) -> np.ndarray:
        """(3,) mm: where the reference point of an image lies by the image alone; nan: it does not tell."""
        said = np.full(3, np.nan)
        if slices is None or self.heights is None:
            return said
        said[0] = self.heights.offset(slices)
        least, most = self.extents[:, 0] / _MOST_EXTENT, self.extents[:, 1] * _MOST_EXTENT
        is_usual = (slices.extent >= least) & (slices.extent <= most)
        said[1:] = np.where(is_usual, slices.middle, np.nan)
        return said

    def references(self, image: np.ndarray, ends: np.ndarray) -> tuple[Reference | None, ...]:
        """The reference point of a case along each axis; None: not known.

        Args:
            image: (3,) of `image_says`.
            ends: (K, 3, 2) mm of the structures whose place is known, nan: not known.
        """
        if not np.isfinite(image).any():  # unlike all that was learned from: what lies where is not to be believed either
            return (None, None, None)
        return tuple(axis.reference(image[index], ends[:, index]) for index, axis in enumerate(self.axes))

    def boxes(self, references: Sequence[Reference | None]) -> np.ndarray:
        """(K, 3, 2) mm of the image, between which each class can lie; infinite where nothing is known."""
        boxes = np.stack([axis.ranges(reference) for axis, reference in zip(self.axes, references)], 1)
        boxes[np.array(self.cases) < CASES_NEEDED] = [-np.inf, np.inf]
        return boxes

    def of_classes(self, classes: Sequence[str]) -> "PlaceModel":
        """The same of these classes, by name; of one that it lacks nothing is known."""
        if tuple(classes) == self.classes:
            return self
        indices = [self.classes.index(name) if name in self.classes else None for name in classes]
        cases = tuple(0 if index is None else self.cases[index] for index in indices)
        along, front_to_back, sideways = (axis.of_classes(indices) for axis in self.axes)
        return replace(self, classes=tuple(classes), cases=cases, axes=(along, front_to_back, sideways))

    # ---- JSON ------------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """JSON-able; null: not known."""
        return _plain(asdict(self))

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "PlaceModel":
        """Of JSON that has the shape of `files`."""
        heights, along, front_to_back, sideways = content["heights"], *map(_axis_of, content["axes"])
        return cls(
            tuple(content["classes"]),
            tuple(content["cases"]),
            None if heights is None else HeightModel(**{name: _array(value) for name, value in heights.items()}),
            _array(content["extents"]),
            (along, front_to_back, sideways),
        )


def learn_place(
    classes: Sequence[str], slices: Sequence[BodySlices | None], ends: np.ndarray, present: np.ndarray
) -> tuple[PlaceModel, np.ndarray]:
    """Learn from cases.

    Args:
        slices: Of each case's image; None: it shows no body.
        ends: (C, K, 3, 2) mm of annotated classes, nan: not annotated, or cut.
        present: Bool (C, K): annotated and there.

    Returns:
        The model, and what each case's image says of its reference point (C, 3) by a model that has not seen it.
    """
    shown = [index for index, its in enumerate(slices) if its is not None]
    bodies = [its for its in slices if its is not None]
    said = np.full((len(slices), 3), np.nan)
    heights, extents = None, np.full((2, 2), np.nan)
    if len(bodies) >= CASES_NEEDED:
        heights, said[shown, 0] = learn_heights(bodies, ends[shown][:, :, 0].reshape(len(shown), -1))
        said[shown, 1:] = [body.middle for body in bodies]
        extent = np.stack([body.extent for body in bodies])
        extents = np.stack([extent.min(0), extent.max(0)], 1)
    along, front_to_back, sideways = (learn_axis(said[:, axis], ends[:, :, axis]) for axis in range(3))
    counts = tuple(int(count) for count in present.sum(0))
    return PlaceModel(tuple(classes), counts, heights, extents, (along, front_to_back, sideways)), said


def _axis_of(content: Mapping[str, Any]) -> AxisModel:
    return AxisModel(**{name: _array(value) for name, value in content.items()})


def _array(value: Any) -> Any:
    """A number or an array of JSON, null as nan."""
    array = np.array(value, float)
    return float(array) if not array.ndim else array


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(its) for key, its in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(its) for its in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
