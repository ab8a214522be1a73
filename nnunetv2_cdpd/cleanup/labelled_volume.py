"""LabelledVolume: a label map on its way through the rules, with what they all need: regions, components, counts of changes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.classes import structure
from nnunetv2_cdpd.place.predicted import ImagePlace

VoxelBox = tuple[slice, ...]
TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours: a shared face, edge or corner


@dataclass
class LabelledVolume:
    """A label map and what its values mean.

    label_map: (Z, Y, X) integers; the rules change it in place.
    spacing: Voxel size in mm, array order.
    classes: Class name -> stored value.
    parents: Nested class -> classes that it may lie in.
    axes: Towards which side of the body each axis runs, one letter of L R A P S I each; None: not known.
    place: Where its classes can lie; None: not known.
    effects: Rule -> class -> voxels "removed" (now background) and "moved" (now of another class).
    """

    label_map: np.ndarray
    spacing: Sequence[float]
    classes: Mapping[str, int]
    parents: Mapping[str, Sequence[str]]
    axes: str | None = None
    place: ImagePlace | None = None
    effects: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Found once, because it reads the whole volume. Later a box may be too large, never too small.
        found = ndimage.find_objects(self.label_map)
        self._boxes: dict[int, VoxelBox] = {value: box for value, box in enumerate(found, start=1) if box}
        self._names = {value: name for name, value in self.classes.items()}

    @cached_property
    def by_structure(self) -> dict[str, str]:
        """Name in the class table -> class name as the caller spells it."""
        return {structure(name).name: name for name in self.classes}

    def region_values(self, names: Iterable[str]) -> list[int]:
        """Stored values of these classes and of all that may lie in them."""
        names = set(names)
        inside = [name for name, parents in self.parents.items() if not names.isdisjoint(parents)]
        return [self.classes[name] for name in names.union(inside) if name in self.classes]

    def box_of(self, values: Sequence[int], margin: int = 0) -> VoxelBox | None:
        """A box that holds all voxels of these values, widened by a margin in voxels; None: there are none."""
        found = [self._boxes[value] for value in values if value in self._boxes]
        if not found:
            return None
        return widened(_around(found), margin, self.label_map.shape)

    def change(self, rule: str, box: VoxelBox, mask: np.ndarray, to: int) -> None:
        """Give the voxels of a mask, bool and of the shape of its box, another value (0: background), and count them."""
        part = self.label_map[box]
        for value, count in zip(*np.unique(part[mask], return_counts=True)):
            if value and value != to:
                counts = self.effects[rule].setdefault(self._names.get(int(value), str(value)), {"removed": 0, "moved": 0})
                counts["moved" if to else "removed"] += int(count)
        part[mask] = to
        if to and mask.any():
            self._boxes[to] = _around([self._boxes.get(to, box), box])

    def keep_only(self, kept: Collection[int], rule: str, box: VoxelBox, numbered: np.ndarray, own: np.ndarray) -> None:
        """Take the voxels of all other components from their class.

        A component goes to the class that surrounds it most, so that a false tumor in the spleen leaves no hole; background
        counts as a class.

        Args:
            kept: Numbers of the components that stay.
            numbered: Component numbers from 1, of the shape of the box.
            own: Bool, the voxels of the class; others of the component, of nested classes, stay.
        """
        for index, its in enumerate(ndimage.find_objects(numbered), start=1):
            if index in kept or its is None:
                continue
            component = numbered[its] == index
            taken = component & own[its]
            if not taken.any():
                continue
            # What surrounds a component may lie beyond the box of its class.
            place = tuple(slice(outer.start + inner.start, outer.start + inner.stop) for outer, inner in zip(box, its))
            wider = widened(place, 1, self.label_map.shape)
            margins = [(inner.start - outer.start, outer.stop - inner.stop) for inner, outer in zip(place, wider)]
            component, taken = (np.pad(mask, margins) for mask in (component, taken))
            part = self.label_map[wider]
            around = part[ndimage.binary_dilation(component, TOUCHING) & ~component]
            # a tumor that is cut where it leaves its organ does not come back as its own surroundings
            around = around[~np.isin(around, part[taken])]
            self.change(rule, wider, taken, int(np.bincount(around).argmax()) if around.size else 0)


def components(mask: np.ndarray, sizes_of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Components of a mask, 26-connected.

    Args:
        sizes_of: Bool, the voxels that count for the size of a component; None: all.

    Returns:
        int32 array of component numbers from 1, and their sizes, index 0 for component 1.
    """
    numbered, count = ndimage.label(mask, TOUCHING)
    counted = numbered[mask if sizes_of is None else sizes_of]
    return numbered, np.bincount(counted, minlength=count + 1)[1:]


def widened(box: VoxelBox, margin: int, shape: Sequence[int]) -> VoxelBox:
    """A box with a margin in voxels, as far as an array of this shape goes."""
    return tuple(slice(max(0, side.start - margin), min(side.stop + margin, length)) for side, length in zip(box, shape))


def _around(boxes: Sequence[VoxelBox]) -> VoxelBox:
    """The smallest box that holds all of these."""
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes))
