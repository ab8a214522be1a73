"""ImagePlace: where the classes of a predicted label map can lie, by its image and by each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.ends import ends_of
from nnunetv2_cdpd.place.model import PlaceModel


@dataclass(frozen=True)
class ImagePlace:
    """What is known of an image before anything in it is believed.

    axes: Of its array.
    says: (3,) mm, of `PlaceModel.image_says`.
    """

    model: PlaceModel
    axes: BodyAxes
    says: np.ndarray

    @property
    def is_silent(self) -> bool:
        """Whether nothing is said of any class: the image shows too little, or nothing like what was learned from."""
        return not bool(np.isfinite(self.says).any())

    def ends(self, mask: np.ndarray, box: Sequence[slice]) -> np.ndarray:
        """(3, 2) mm: ends of a structure, a bool mask of the shape of its box in the file's array."""
        return ends_of(self.axes.turned(mask), self.axes.turned_box(box), self.axes.shape, self.axes.spacing)

    def possible(self, found: Mapping[str, np.ndarray]) -> dict[str, tuple[slice, ...]]:
        """Class -> box of the file's array in which it can lie, which may be empty.

        Args:
            found: Class -> its ends by what was predicted. Of a class the others tell alone: a false structure would speak for
                itself.
        """
        names = [name for name in found if name in self.model.classes]
        ends = np.full((len(self.model.classes), 3, 2), np.nan)
        for name in names:
            ends[self.model.classes.index(name)] = found[name]
        boxes = {}
        for name in names:
            index = self.model.classes.index(name)
            others = ends.copy()
            others[index] = np.nan
            boxes[name] = self.axes.voxels(self.model.boxes(self.model.references(self.says, others))[index])
        return boxes
