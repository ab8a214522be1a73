"""ConversionJob: all that decides what becomes of one case, as data, and ConvertedCase: what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, IntensityCheck
from nnunetv2_cdpd.conversion.read_rois import RoiRules
from nnunetv2_cdpd.conversion.sides import SidePair


@dataclass(frozen=True)
class ConversionJob:
    """What to do for one case.

    dicom: Whether the image is a series.
    of_series: Whether the collection's images are; this one may be a NIfTI copy of one.
    masks: Those of the case, with their stored values, in the order in which they are painted.
    values: Source value -> stored value, of all declared ones.
    outputs: Image and label of the converted dataset, or the label alone.
    rois: What to make of the label, if it is of structure sets and segmentations.
    ignore_value: Stored instead of background outside of the labelled slices, and for values that mean "not annotated here".
    needs_content: A case whose label holds nothing but background and ignored voxels is left out.
    always: What is annotated also where it is not drawn, a union as its members; a case that lost all of it is left out too.
    hu_offset: Added to the stored values of the image.
    copy: Copy files that need no change instead of linking them.
    made_from: Digest of the files and of all that decides the outcome.
    """

    case: FoundCase
    dicom: bool
    of_series: bool
    masks: tuple[tuple[int, Path], ...]
    values: Mapping[int, int]
    outputs: tuple[Path, ...]
    rois: RoiRules | None
    placement: IntensityCheck | None
    ignore_value: int | None
    sides: tuple[SidePair, ...]
    needs_content: bool
    hu_offset: float
    resample_labels: bool
    copy: bool
    always: tuple[tuple[str, ...], ...] = ()
    made_from: str = ""

    @property
    def label_place(self) -> Path:
        """What messages about the label name."""
        return self.case.label[0] if self.case.label else self.masks[0][1].parent


@dataclass(frozen=True)
class ConvertedCase:
    """What came of a case.

    merged: Names of the merged labels whose sides were not told apart.
    notes: For the user.
    held: Stored values of the structures that its label held, before their sides were told apart.
    left_out: Why nothing was written; None: it was.
    unmapped: Names in its structure sets and segmentations that the declaration does not name, as they are shown.
    lost: Structure that was drawn and of which its label holds nothing -> why; it is not annotated, whatever is declared.
    """

    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    held: tuple[int, ...] = ()
    left_out: str | None = None
    unmapped: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
