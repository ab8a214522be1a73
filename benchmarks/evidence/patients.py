"""Patients: the head-and-neck CTs of OpenKBP (github ababier/open-kbp, MIT), and how they are dealt out.

83 patients. 30 have all seven organs; they are "complete". The other 53 have brainstem, spinal cord and parotids, 30 of them the
mandible too; they are "partial", and differ from the complete ones in field of view and hospital.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

ORGANS = {"Brainstem": 1, "SpinalCord": 2, "RightParotid": 3, "LeftParotid": 4, "Esophagus": 5, "Larynx": 6, "Mandible": 7}
NUM_SPLITS = 5
NUM_TEST_PARTIAL = 5  # so that 48 others are left


@dataclass(frozen=True)
class Source:
    """Organs that one source annotates, and its nnU-Net dataset."""

    name: str
    organs: tuple[str, ...]


NEURO = Source("Neuro", ("Brainstem", "SpinalCord"))
GLANDS = Source("Glands", ("RightParotid", "LeftParotid"))
AIRWAYS = Source("Airways", ("Mandible", "Larynx", "Esophagus"))
SOURCES = (NEURO, GLANDS, AIRWAYS)
# Each organ annotated in patients of both kinds, but for larynx and esophagus, which the partial ones do not have
MIXED_SOURCES = (
    Source("NeuroAirways", NEURO.organs + AIRWAYS.organs),
    Source("GlandsAirways", GLANDS.organs + AIRWAYS.organs),
    Source("FewNeuro", NEURO.organs),
    Source("FewGlands", GLANDS.organs),
)
# What the partial patients have, as it is
JAWS = Source("Jaws", ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Mandible"))
NECKS = Source("Necks", ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid"))
PARTIAL_SOURCES = (JAWS, NECKS)


@dataclass(frozen=True)
class Patients:
    """Who there is.

    annotated: Patient -> organs; an organ that is not listed is not annotated, not absent.
    slice_mm: Patient -> distance of slices.
    """

    annotated: dict[str, tuple[str, ...]]
    slice_mm: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Path) -> "Patients":
        entries = json.loads((data / "annotated.json").read_text())
        distances, reader = {}, sitk.ImageFileReader()
        for patient in entries:
            reader.SetFileName(str(data / "images" / f"{patient}.nii.gz"))
            reader.ReadImageInformation()
            distances[patient] = reader.GetSpacing()[2]
        return cls({patient: tuple(organs) for patient, organs in sorted(entries.items())}, distances)

    @property
    def complete(self) -> list[str]:
        return [patient for patient, organs in self.annotated.items() if set(organs) == set(ORGANS)]

    @property
    def partial(self) -> list[str]:
        return [patient for patient, organs in self.annotated.items() if set(organs) != set(ORGANS)]

    def tested(self, split: int, *, partial: bool) -> list[str]:
        """Kept back in a split: each complete patient once in all splits; of the partial ones five in each."""
        kept = self.complete[split::NUM_SPLITS]
        return kept + self.partial[split * NUM_TEST_PARTIAL : (split + 1) * NUM_TEST_PARTIAL] if partial else kept

    def trained(self, split: int, of: Collection[str]) -> list[str]:
        """The patients of a kind that a split does not keep back."""
        kept = self.tested(split, partial=True)
        return [patient for patient in of if patient not in kept]
