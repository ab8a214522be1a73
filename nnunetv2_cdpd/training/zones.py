"""Place as supervision: where an unannotated class cannot lie, its voxels are negatives.

case     a box for each class, by what was learned (`place`) and by the case's own annotated structures
patch    cut into zones, which pass the augmentation as one more channel of the label map
loss     a stored value in a zone takes the place of the stored value: its annotation state is NEGATIVE where the value
         says nothing of the class and the zone excludes it
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor
from torch.nn.functional import pad

from nnunetv2_cdpd.annotation import NEGATIVE, UNSUPERVISED, Annotation
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.place.files import PLACE_FILE, LearnedPlace, read_place
from nnunetv2_cdpd.place.zones import patch_zones, preprocessed_ranges
from nnunetv2_cdpd.training.sampling import AnnotatedCases


class PlacedCases(AnnotatedCases):
    """`AnnotatedCases` whose segmentations have a second channel, the zones of what is cut from them.

    Args:
        transpose_forward: Of the plans.
    """

    def __init__(
        self, dataset: nnUNetBaseDataset, annotation: Annotation, place: LearnedPlace, transpose_forward: Sequence[int]
    ) -> None:
        super().__init__(dataset, annotation)
        self.place, self.transpose_forward = place, tuple(transpose_forward)
        self.asked = _asked(annotation)
        self._impossible: list[np.ndarray] = []  # of what was cut since the last batch

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict]:
        """As `AnnotatedCases`; nothing is known of a case that place.json lacks."""
        data, seg, seg_prev, properties = super().load_case(identifier)
        references = self.place.cases.get(identifier, (None, None, None))
        ranges = preprocessed_ranges(self.place.model, references, properties, self.transpose_forward, seg.shape[1:])
        zoned = SegmentationWithZones(seg, ranges, self.asked[self.sources[identifier]], self._impossible)
        return data, zoned, seg_prev, properties

    def taken_zones(self) -> list[Tensor]:
        """One tensor, bool (B, zones, K): what is impossible in the zones of the patches since the last call, in their order."""
        most = max(map(len, self._impossible))
        tables = [pad(torch.from_numpy(table), (0, 0, 0, most - len(table))) for table in self._impossible]
        self._impossible.clear()
        return [torch.stack(tables)]


class SegmentationWithZones:
    """An array (2, X, Y, Z): a segmentation as it is stored, read where it is cut, and the zones there.

    Args:
        seg: (1, X, Y, Z).
        ranges, asked: Of `patch_zones`.
        taken: Gets what is impossible in the zones of each part that is cut.
    """

    def __init__(self, seg: Any, ranges: np.ndarray, asked: np.ndarray, taken: list[np.ndarray]) -> None:
        self.seg, self.ranges, self.asked, self.taken = seg, ranges, asked, taken
        self.shape = (2, *seg.shape[1:])

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        zones, impossible = patch_zones(self.ranges, self.asked, part[1:])
        self.taken.append(impossible)
        return np.concatenate([np.asarray(self.seg[part], np.int16), zones[None]])


def placed_cases(
    dataset: nnUNetBaseDataset, annotation: Annotation, plans_manager: PlansManager, folder: str | Path
) -> PlacedCases:
    """The cases of a training with their zones.

    Args:
        folder: Of the preprocessed dataset, with place.json.

    Raises:
        UserError: That is missing, of another dataset, or knows none of the cases.
    """
    path = Path(folder, PLACE_FILE)
    place = read_place(path, annotation)
    if not set(dataset.identifiers) & place.cases.keys():
        raise UserError(f"{path}: lacks the cases {listed(dataset.identifiers)}; make it anew: cdpd place {path.parent.name}")
    return PlacedCases(dataset, annotation, place, plans_manager.transpose_forward)


def with_zones(
    label_map: Tensor, zones: Tensor, tables: Tensor, impossible: Tensor, unions: Sequence[Sequence[int]], ignored: int | None
) -> tuple[Tensor, Tensor]:
    """One label map of values in zones, and what each of these says of each class.

    Args:
        label_map, zones: (B, 1, X, Y(, Z)).
        tables: uint8 (B, K + U, V).
        impossible: Bool (B, zones, K).
        unions: Class indices of each of the U unions: impossible where all of its classes are.
        ignored: The stored value that says nothing, whatever the place; None: there is none.

    Returns:
        (B, 1, X, Y(, Z)), zone * V + value, and uint8 (B, K + U, zones * V).
    """
    of_unions = [impossible[..., list(union)].all(-1, keepdim=True) for union in unions]
    columns = torch.cat([impossible, *of_unions], -1).transpose(1, 2)  # (B, K + U, zones)
    may_say = torch.ones(tables.shape[-1], dtype=torch.bool, device=tables.device)
    if ignored is not None:
        may_say[ignored] = False
    states = tables[:, :, None].expand(-1, -1, columns.shape[-1], -1)
    is_told = columns[..., None] & may_say & (states == UNSUPERVISED)
    told = states.masked_fill(is_told, NEGATIVE)
    return zones.int() * tables.shape[-1] + label_map.int(), told.flatten(2)


def _asked(annotation: Annotation) -> np.ndarray:
    """Bool (S, K): the classes of which the label maps of a source leave something open."""
    rows = []
    for table, source in zip(annotation.tables, annotation.sources):
        values = [value for value in annotation.stored_values(source) if value != annotation.ignore_value]
        rows.append((table[values, : len(annotation.classes)] == UNSUPERVISED).any(0))
    return np.stack(rows)
