"""Replica: a written dataset and what it was made from; one of image and label files is written here."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builders.replica_files import SHAPE, Truth, label_of, make_truth, write_nifti


@dataclass
class Replica:
    """A written dataset.

    nested, unions: Of the masks, whose structures are disjoint: what else their voxels belong to.
    """

    name: str
    folder: Path
    cases: dict[str, Truth] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    nested: dict[str, str] = field(default_factory=dict)
    unions: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def region(self, case: str, name: str) -> np.ndarray:
        masks = self.cases[case].masks
        own = masks.get(name, np.zeros(SHAPE, bool))
        for inner in [child for child, parent in self.nested.items() if parent == name] + list(self.unions.get(name, ())):
            own = own | self.region(case, inner)
        return own


def numbered(structures) -> dict[int, str]:
    return dict(enumerate(structures, start=1))


def files(name, folder, cases, structures, image, label, *, nested=None, axes="RAS", dtype=np.uint8, forms="both", offset=0):
    """A dataset of one image and one label file per case; `image` and `label` are formatted with the case."""
    replica = Replica(name, folder, nested=nested or {})
    names = structures if isinstance(structures, dict) else numbered(structures)
    for index, case in enumerate(cases):
        truth = make_truth(names.values(), seed=offset + index)
        replica.cases[f"{name}_{case}"] = truth
        write_nifti(folder / image.format(case), truth.image, axes, forms)
        write_nifti(folder / label.format(case), label_of(truth, names, dtype), axes, forms)
    return replica
