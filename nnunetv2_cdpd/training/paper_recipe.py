"""PaperRecipeTrainer: the paper's recipe, for plans of nnUNetPlannerCDPDPaper and for any others.

What the released train.py does, and nnUNetTrainerCDPD otherwise:
    learning rate   50 epochs of linear warm-up, then a cosine to 0
    sources         every one as often as the others, however many cases it has
    patches         two of three centred on an annotated class, drawn for each patch by itself
    augmentation    zoom, right-angled rotation in the axial plane, shift of intensities; no mirroring, in prediction neither

What the release does and this recipe does not: zoom only in cases of the Medical Segmentation Decathlon (here: in all), centre
five times as often on tumors as on organs in four of its sources (here: by how rarely a class is annotated), draw two
patches of one CT at a time, train in single precision on GPUs (nnU-Net: autocast) without clipping gradients, no universal
task where the network has one. The network is the plans'.

Source: Wu et al., CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet).
"""

from itertools import dropwhile
from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnunetv2_cdpd.planning.architecture import intensity_windows
from nnunetv2_cdpd.training.recipe import Recipe
from nnunetv2_cdpd.training.shift_intensity import ShiftIntensity
from nnunetv2_cdpd.training.trainer import PartialLabelTrainer
from nnunetv2_cdpd.training.warmup_cosine import WarmupCosineScheduler


class PaperRecipeTrainer(PartialLabelTrainer):
    """See the module."""

    recipe = Recipe(
        warmup_epochs=50,
        source_sampling_exponent=0.0,
        oversample_foreground_percent=2 / 3,
        probabilistic_oversampling=True,
    )
    warmup_epochs: int

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmupCosineScheduler]:
        optimizer, _ = super().configure_optimizers()
        # A training of fewer epochs than the warm-up is a test of it. A single epoch is the last of a warm-up of two, at the full
        # learning rate, since the last epoch of a cosine has none.
        warmup_epochs = 2 if self.num_epochs == 1 else min(self.warmup_epochs, self.num_epochs - 1)
        return optimizer, WarmupCosineScheduler(optimizer, self.initial_lr, self.num_epochs, warmup_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        """No mirroring, and no larger patch to rotate in."""
        rotation, _, _, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, False, list(self.configuration_manager.patch_size), None

    def get_training_transforms(self, patch_size: Any, *args: Any, **kwargs: Any) -> ComposeTransforms:
        """The paper's augmentation, then what the host does to every patch after its own."""
        hosts = super().get_training_transforms(patch_size, *args, **kwargs).transforms
        others = dropwhile(lambda transform: not isinstance(transform, (MaskImageTransform, RemoveLabelTansform)), hosts)
        zoom = SpatialTransform(
            tuple(patch_size),
            patch_center_dist_from_border=0,
            random_crop=False,
            p_scaling=0.3,
            scaling=(1 / 1.5, 1 / 1.3),  # batchgeneratorsv2's numbers are the other way round
            p_synchronize_scaling_across_axes=1,
            bg_style_seg_sampling=False,
            border_mode_seg="constant",
            padding_value_seg=-1,
        )
        axes = self._axial_axes()
        turns = (1, 2, 3) if len({patch_size[axis] for axis in axes}) == 1 else (2,)  # a patch keeps its shape
        rotation = Rot90Transform(1, turns, allowed_axes=set(axes))
        windows = intensity_windows(
            self.configuration_manager.normalization_schemes,
            self.plans_manager.foreground_intensity_properties_per_channel,
            self.recipe.network.ct_window_hu,
        )
        shift = ShiftIntensity(windows, most=0.1)
        return ComposeTransforms([zoom, RandomTransform(rotation, 0.1), RandomTransform(shift, 0.2), *others])

    def _axial_axes(self) -> tuple[int, ...]:
        """The two axes of a patch that lie in the axial plane; nnU-Net reads (z, y, x) and its plans may transpose it."""
        if len(self.configuration_manager.patch_size) == 2:
            return 0, 1
        return tuple(axis for axis, read in enumerate(self.plans_manager.transpose_forward) if read != 0)
