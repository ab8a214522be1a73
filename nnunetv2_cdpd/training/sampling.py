"""Training patches from many sources: which case, which class to centre on, under which task.

    case    a source is drawn with p ~ n_cases ^ exponent, then one of its cases (exponent 1: every case alike, as nnU-Net;
            0: every source alike, as the paper)
    class   a foreground patch is centred on a class that the source annotates and the case contains, p ~ 1 / sqrt(number of
            cases whose source annotates it); with jitter, the class is somewhere else in the patch
    task    the source's own, or with some probability the universal task ("all structures")

nnU-Net's loader does the work; label maps stay integers, nothing is one-hot encoded in the workers.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.training.coordinates import CoordinateTransforms
from nnunetv2_cdpd.training.token_files import TokenFiles

LocationKey = int | tuple[int, ...]  # of nnU-Net's `class_locations`: a stored value or several
_ANYWHERE: LocationKey = ()  # of a voxel that may be of any class


class AnnotatedCases:
    """nnU-Net's dataset of preprocessed cases, joined with what each case's source annotates.

    Loads cases like the dataset it wraps, except that `class_locations` keeps only what the source annotates.

    last_loaded: The case that was loaded last.
    centre_weights: Stored values of a region -> how often a patch is centred on it, relative to the others of its case.
    """

    last_loaded: str

    def __init__(self, dataset: nnUNetBaseDataset, annotation: Annotation) -> None:
        self.dataset = dataset
        self.annotation = annotation
        self.identifiers = dataset.identifiers
        self.sources = {case: annotation.source_index(case) for case in self.identifiers}
        self.centre_on(annotation.classes)

    def centre_on(self, classes: Collection[str]) -> None:
        """Have patches centred on these classes only, where a source annotates them; on any of a merged label's at its value."""
        self._centres = [self._centre_regions(index, classes) for index in range(len(self.annotation.sources))]
        annotating = Counter(region for index in self.sources.values() for region in self._centres[index])
        self.centre_weights = {region: 1 / np.sqrt(count) for region, count in annotating.items()}

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict]:
        """nnU-Net's (data, segmentation, segmentation of the previous stage, properties) of a case.

        Raises:
            UserError: It was preprocessed with another dataset.json, so that its values mean something else.
        """
        self.last_loaded = identifier
        data, seg, seg_prev, properties = self.dataset.load_case(identifier)
        wanted = self._centres[self.sources[identifier]]
        if wanted - {stored_values(key) for key in properties["class_locations"]}:
            raise UserError(
                f"case {identifier}: preprocessed with another dataset.json than the one in nnUNet_preprocessed, which has other "
                "labels; preprocess the dataset again"
            )
        locations = {
            key: voxels
            for key, voxels in properties["class_locations"].items()
            if stored_values(key) in wanted or -1 in stored_values(key)  # -1: nnU-Net's key for "any voxel that is not ignored"
        }
        return data, seg, seg_prev, {**properties, "class_locations": locations}

    def taken_zones(self) -> list[torch.Tensor]:
        """What goes along with the zones of a batch, for cases whose segmentations have them (`zones.PlacedCases`)."""
        return []

    def case_probabilities(self, exponent: float) -> np.ndarray:
        """Probability of drawing each case, in the order of `identifiers`; see the module for the rule."""
        indices = np.array([self.sources[case] for case in self.identifiers])
        counts = np.bincount(indices, minlength=len(self.annotation.sources)).astype(float)
        source_weights = np.where(counts > 0, counts**exponent, 0)
        per_case = source_weights[indices] / counts[indices]
        return per_case / per_case.sum()

    def _centre_regions(self, source_index: int, classes: Collection[str]) -> set[frozenset[int]]:
        """The stored values of each annotated class and merged label of a source, as nnU-Net declares them."""
        annotation = self.annotation
        source = annotation.sources[source_index]
        merged = {label.name: label for label in annotation.merged_labels}
        declared = {
            name: frozenset(region).union(label.value for label in merged.values() if name in label.classes)
            for name, region in zip(annotation.classes, annotation.regions)
        }
        # A merged label's voxels stand in the regions of all its classes; one of them is enough to find them.
        members = [merged[name].classes for name in source.merged_labels]
        own = [name for name in source.annotated_classes if name in classes]
        return {declared[name] for name in (*own, *(names[0] for names in members if not set(classes).isdisjoint(names)))}


class SourceBalancedDataLoader(nnUNetDataLoader):
    """nnU-Net's loader over `AnnotatedCases`.

    Batches hold, besides nnU-Net's entries: `target`, a list of the label maps (one per deep-supervision output, stored
    values), the maps of zones and what is impossible in them, where the cases have zones, and, last, the source indices (B,);
    `task`, the task indices (B,), of which the universal one is S.

    Args:
        data: Cases to draw from.
        source_exponent: See the module.
        universal_probability: Share of samples that are trained under the universal task.
        border_patches: Patches end at the borders of the image, on all sides alike; False: nnU-Net's, see `get_bbox`.
        foreground_jitter: How far from the centre of a foreground patch its voxel of the class may lie: 0 in the centre, as
            nnU-Net; 1 anywhere in the patch.
        coordinates: Patches tell their coordinates, in channels behind those of the image.
        token_files: Or batches hold `tokens`, those of whole slices at the coordinates of each patch.
    """

    transforms: Any  # the host's

    def __init__(
        self,
        data: AnnotatedCases,
        *args: Any,
        source_exponent: float,
        universal_probability: float,
        border_patches: bool = False,
        foreground_jitter: float = 0.0,
        coordinates: bool = False,
        token_files: TokenFiles | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["sampling_probabilities"] = data.case_probabilities(source_exponent)
        super().__init__(data, *args, **kwargs)
        self.located = CoordinateTransforms(self.transforms, token_files) if coordinates else None
        self.transforms = self.located or self.transforms
        self.universal_probability = universal_probability
        self.border_patches = border_patches
        self.reach = np.floor(foreground_jitter * (np.asarray(self.final_patch_size) - 1) / 2).astype(int)  # voxels

    def get_bbox(
        self,
        data_shape: np.ndarray,
        force_fg: bool,
        class_locations: dict[LocationKey, np.ndarray],
        overwrite_class: LocationKey | None = None,
        verbose: bool = False,
    ) -> tuple[list[int], list[int]]:
        """nnU-Net's bounding box of a patch; foreground patches prefer rarely annotated classes.

        The windows of a prediction end at the borders of the image. Of nnU-Net's patches hardly any does: those of the foreground
        are moved into the image at its low borders only, and hang over the high ones, padded; the corner of any other is drawn,
        so that what lies near a border is rarely in one. With `border_patches` the voxel around which a patch lies is drawn in
        place of its corner, and it is moved into the image at all borders.
        """
        if force_fg and overwrite_class is None:
            overwrite_class = self._draw_class(class_locations)
        if force_fg and overwrite_class is not None and self.reach.any():
            class_locations = {overwrite_class: self._draw_centre(class_locations[overwrite_class], data_shape)}
        if self.border_patches and not (force_fg or self.has_ignore):
            force_fg, overwrite_class = True, _ANYWHERE
            class_locations = {_ANYWHERE: np.array([[0, *np.random.randint(0, data_shape)]])}
        lower, upper = super().get_bbox(data_shape, force_fg, class_locations, overwrite_class, verbose)
        if self.border_patches:
            lower, upper = self._moved_inside(lower, data_shape)
        if self.located is not None:  # whose sample is cut and transformed next
            self.located.box, self.located.case = (lower, upper, data_shape), self._data.last_loaded
        return lower, upper

    def _moved_inside(self, lower: list[int], data_shape: np.ndarray) -> tuple[list[int], list[int]]:
        """A box moved to where it hangs over no border by more than nnU-Net's may that are not of the foreground."""
        shape, patch = np.asarray(data_shape), np.asarray(self.patch_size)
        overhang = np.maximum(self.need_to_pad, patch - shape)  # both borders together
        moved = np.minimum(lower, shape - patch + overhang - overhang // 2)
        return moved.tolist(), (moved + patch).tolist()

    def _draw_class(self, class_locations: Mapping[LocationKey, np.ndarray]) -> LocationKey | None:
        present = [key for key, voxels in class_locations.items() if len(voxels) and -1 not in stored_values(key)]
        if not present:
            return None
        weights = np.array([self._data.centre_weights[stored_values(key)] for key in present])
        return present[np.random.choice(len(present), p=weights / weights.sum())]

    def _draw_centre(self, voxels: np.ndarray, data_shape: np.ndarray) -> np.ndarray:
        """One of some voxels (n, 1 + axes) of a class, moved by up to the reach within the image: (1, 1 + axes)."""
        voxel = voxels[np.random.choice(len(voxels))]
        moved = voxel[1:] + np.random.randint(-self.reach, self.reach + 1)
        return np.concatenate([voxel[:1], np.clip(moved, 0, np.asarray(data_shape) - 1)])[None]

    def generate_train_batch(self) -> dict[str, Any]:
        """nnU-Net's batch, with sources and tasks."""
        batch = super().generate_train_batch()
        label_maps = batch["target"] if isinstance(batch["target"], list) else [batch["target"]]
        sources = torch.tensor([self._data.sources[case] for case in batch["keys"]])
        universal = torch.from_numpy(np.random.uniform(size=len(sources)) < self.universal_probability)
        zones = [label_map[:, 1:] for label_map in label_maps if label_map.shape[1] > 1]
        label_maps = [label_map[:, :1] for label_map in label_maps]
        batch["target"] = [*label_maps, *zones, *self._data.taken_zones(), sources]
        batch["task"] = torch.where(universal, len(self._data.annotation.sources), sources)
        if self.located is not None and self.located.files is not None:
            batch["tokens"] = self.located.taken()
        return batch


def stored_values(key: LocationKey) -> frozenset[int]:
    """Stored values of a key of nnU-Net's `class_locations`: a label or a tuple of labels."""
    return frozenset(int(value) for value in np.atleast_1d(key))
