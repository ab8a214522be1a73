"""LabelObject: a DICOM file that labels a series, what its structures are called, and which series it is of."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pydicom

from nnunetv2_cdpd.errors import UserError, reason, shortened
from nnunetv2_cdpd.volumes.dicom.contours import Drawing
from nnunetv2_cdpd.volumes.dicom.folder import SeriesFiles
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices


class SeriesReference(NamedTuple):
    """What label objects say of the series that they are of.

    uid: Its unique identifier.
    frame_of_reference: The identifier of the space in which positions are given; "" where the series does not name any.
    """

    uid: str
    frame_of_reference: str

    @classmethod
    def of(cls, files: SeriesFiles) -> "SeriesReference":
        first = files.headers[0]
        return cls(first.series, first.slices[0].frame_of_reference if first.slices else "")


@dataclass(frozen=True)
class LabelObject(ABC):
    """A structure set or a segmentation.

    kind: What it is, in words.
    needed: Elements that every such file has.
    data: Its elements but for pixels.
    num_bytes: How many bytes follow from the pixels on.
    """

    path: Path
    data: pydicom.Dataset
    num_bytes: int

    kind: ClassVar[str]
    needed: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def structures(self) -> Mapping[int, str]:
        """Number -> name as it stands in the file, of all structures; what others wrote, to be shown by `errors.shortened`."""

    @property
    @abstractmethod
    def series(self) -> frozenset[str]:
        """Identifiers of the series that it refers to."""

    @property
    @abstractmethod
    def frames_of_reference(self) -> Mapping[int, str]:
        """Number of a structure -> identifier of the space in which it lies; those of which the file says it."""

    @abstractmethod
    def draw(self, numbers: Collection[int], where: SourceSlices, fill_gaps: int | None) -> dict[int, Drawing]:
        """Structures on the upright grid of a series.

        Args:
            fill_gaps: As for `draw_contours`.

        Raises:
            UserError: The file is damaged, or does not lie on this grid.
        """

    def is_of(self, series: SeriesReference) -> bool:
        """Whether it refers to a series; where it refers to none, whether it lies in the same space."""
        if self.series:  # a series without an identifier is none that anything refers to
            return series.uid in self.series
        return series.frame_of_reference in set(self.frames_of_reference.values()) - {""}

    def check_space(self, numbers: Collection[int], series: SeriesReference) -> None:
        """Raise UserError if one of these structures lies in another space than the series."""
        for number in numbers:
            space = self.frames_of_reference.get(number, "")
            if space and series.frame_of_reference and space != series.frame_of_reference:
                raise UserError(
                    f"{self.path}: {shortened(self.structures[number])} lies in the frame of reference {shortened(space)}, the "
                    f"image in {shortened(series.frame_of_reference)}; export it on the image's series"
                )

    @staticmethod
    def names_of(items: Iterable[pydicom.Dataset], number: str, name: str) -> dict[int, str]:
        """Number -> name of the structures that a sequence lists, by what it calls both.

        Raises:
            ValueError: Two have one number.
        """
        found: dict[int, str] = {}
        for item in items:
            own = int(item[number].value)
            if own in found:
                raise ValueError(f"two structures of the number {own}")
            text = item.get(name) or ""
            found[own] = text if isinstance(text, str) else "\\".join(map(str, text))  # which DICOM takes for several names
        return found

    def broken(self, error: BaseException | str) -> UserError:
        why = error if isinstance(error, str) else reason(error)
        return UserError(f"{self.path}: is no whole {self.kind} ({why}); export it again")
