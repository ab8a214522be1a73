"""Prediction: what the network found in one image, as arrays and as files."""

import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.export import Geometry, probability_slabs
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.reading import CheckedReader


@dataclass(frozen=True)
class Prediction:
    """One image's label map, and what is needed to say more about it. `numpy.asarray(prediction)` is the label map.

    label_map: (Z, Y, X), or with the axes as the image has them: stored values, 0 for background.
    values: Wanted class -> stored value.
    regions: Wanted class -> stored values that belong to it: its own and those of wanted classes that lie in it.
    properties: nnU-Net's, of the image.
    logits: Class -> (x, y, z) at the network's spacing; None unless probabilities were asked for.
    """

    label_map: np.ndarray
    values: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    properties: Mapping[str, Any] = field(repr=False)
    geometry: Geometry = field(repr=False)
    logits: Mapping[str, Tensor] | None = field(repr=False, default=None)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.asarray(self.label_map, dtype=dtype)
        return array.copy() if copy else array

    def mask(self, name: str) -> np.ndarray:
        """Bool, of one class and all that certainly lies in it.

        Raises:
            KeyError: The class was not predicted.
        """
        return np.isin(self.label_map, self.regions[name])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """float32 (n, Z, Y, X) of the wanted classes, in the order of `values`, before any competition or clean-up.

        Raises:
            ValueError: They were not asked for.
        """
        return np.stack([np.concatenate(list(self._slabs(name))) for name in self.values])

    def _slabs(self, name: str) -> Iterator[np.ndarray]:
        if self.logits is None:
            raise ValueError("no probabilities were kept; predict with probabilities=True")
        return probability_slabs(self.logits[name], self.geometry)

    # ---- files -----------------------------------------------------------------------------------------------------

    def write_label_map(self, path: Path, writer: CheckedReader) -> None:
        """Write the label map, in the geometry of the image."""
        writer.write_seg(self.label_map, path, dict(self.properties))

    def write_masks(self, folder: Path, ending: str, writer: CheckedReader) -> None:
        """Write a file per class, 1 where the class is; the folder appears when all are there.

        Raises:
            UserError: There is a folder that holds something else than masks of these classes.
        """
        check_masks(folder, self.values, ending)
        with written_beside(folder) as beside:
            beside.mkdir()
            for name in self.values:
                file = beside / f"{file_name(name)}{ending}"
                writer.write_seg(self.mask(name).astype(np.uint8), file, dict(self.properties))

    def write_probabilities(self, path: Path) -> None:
        """Write nnU-Net's npz, `probabilities` (n, Z, Y, X) float32, without ever holding more than a few slices of one class."""
        shape = (len(self.values), *self.geometry.image_shape)
        with (
            written_beside(path) as beside,
            zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("probabilities.npy", "w", force_zip64=True) as file,
        ):
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for name in self.values:
                for slab in self._slabs(name):
                    file.write(np.ascontiguousarray(slab, "<f4").tobytes())


def regions_among(annotation: Annotation, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Class -> stored values of it and of those of these classes that lie in it."""
    values = {annotation.values[annotation.classes.index(name)] for name in names}
    return {
        name: tuple(value for value in annotation.regions[annotation.classes.index(name)] if value in values) for name in names
    }


def file_name(class_name: str) -> str:
    """A class name as a file name: what some system does not allow in one becomes `_`."""
    return "".join("_" if letter in '<>:"/\\|?* ' else letter for letter in class_name)


def check_masks(folder: Path, class_names: Collection[str], ending: str) -> None:
    """Raise UserError if there is a folder that holds anything but masks of these classes, and so must not be replaced."""
    # A mask of Tiff3DIO has its spacing in a json beside.
    masks = {f"{file_name(name)}{end}" for name in class_names for end in (ending, ".json")}
    for file in folder.iterdir() if folder.is_dir() else ():
        if not file.name.startswith(".") and (file.name not in masks or file.is_dir()):
            raise UserError(f"{file}: no mask of this model, so its folder is not replaced; move it away, or use another folder")
