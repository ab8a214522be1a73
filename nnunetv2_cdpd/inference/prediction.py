"""Prediction: what the network found in one image, as arrays and as files."""

import itertools
import unicodedata
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.export import Geometry, probability_slabs
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.reading import CheckedReader

if TYPE_CHECKING:
    from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries

_LONGEST = 200  # bytes of a file name, which file systems end at 255


@dataclass(frozen=True)
class Prediction:
    """One image's label map, and what is needed to say more about it. `numpy.asarray(prediction)` is the label map.

    label_map: (Z, Y, X), or with the axes as the image has them: stored values, 0 for background.
    values: Wanted class -> stored value.
    regions: Wanted class -> stored values that belong to it: its own and those of wanted classes that lie in it.
    properties: nnU-Net's, of the image.
    logits: Class -> (x, y, z) at the network's spacing; None unless probabilities were asked for.
    source: The DICOM series that it was made of; None: of none, or no file of DICOM is wanted.
    """

    label_map: np.ndarray
    values: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    properties: Mapping[str, Any] = field(repr=False)
    geometry: Geometry = field(repr=False)
    logits: Mapping[str, Tensor] | None = field(repr=False, default=None)
    source: "SourceSeries | None" = field(repr=False, default=None)

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

    def write_masks(self, folder: Path, ending: str, writer: CheckedReader, names: Mapping[str, str] | None = None) -> None:
        """Write a file per class, 1 where the class is; the folder appears when all are there.

        Args:
            names: Class -> name of its file, of all of the model; None: `mask_names` of the classes that were predicted.

        Raises:
            UserError: There is a folder that holds something else than masks of these classes.
        """
        names = mask_names(self.values) if names is None else names
        check_masks(folder, names.values(), ending)
        with written_beside(folder) as beside:
            beside.mkdir()
            for name in self.values:
                file = beside / f"{names[name]}{ending}"
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


def mask_names(class_names: Collection[str]) -> dict[str, str]:
    """Class -> name of its mask's file, without ending; no two are one file, also where upper and lower case are the same.

    Names that need no change keep theirs, whichever comes first; of others that fall together, all but one get a number.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(class_names, key=lambda name: name != file_name(name)):
        plain = file_name(name)
        candidates = (plain if number == 1 else f"{plain}_{number}" for number in itertools.count(1))
        names[name] = next(file for file in candidates if _as_on_disk(file) not in taken)
        taken.add(_as_on_disk(names[name]))
    return {name: names[name] for name in class_names}


def file_name(class_name: str) -> str:
    """A class name as a file name: what some system does not allow in one becomes `_`, and what is too long is cut."""
    text = class_name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    allowed = "".join("_" if letter in '<>:"/\\|?* ' or ord(letter) < 32 else letter for letter in text) or "_"
    return f"_{allowed[1:]}" if allowed.startswith(".") else allowed


def _as_on_disk(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def check_masks(folder: Path, file_names: Iterable[str], ending: str) -> None:
    """Raise UserError if there is a folder that holds anything but masks of these names, and so must not be replaced."""
    # A mask of Tiff3DIO has its spacing in a json beside.
    masks = {f"{name}{end}" for name in file_names for end in (ending, ".json")}
    for file in folder.iterdir() if folder.is_dir() else ():
        if not file.name.startswith(".") and (file.name not in masks or file.is_dir()):
            raise UserError(f"{file}: no mask of this model, so its folder is not replaced; move it away, or use another folder")
