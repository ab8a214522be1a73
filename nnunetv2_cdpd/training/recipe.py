"""Recipe: how a network is trained, as one typed thing that variants change with `dataclasses.replace`."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from nnunetv2_cdpd.planning.architecture import NetworkSettings


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Facts of a training; None: nnU-Net's own.

    network: CDPDNet's added parts, where the plans do not say.
    save_every: Epochs between two saved checkpoints.
    oversample_foreground_percent: Share of patches that hold an annotated class for certain, 0 ... 1.
    probabilistic_oversampling: Draw that for each patch by itself.
    source_sampling_exponent: p(source) ~ n_cases ^ exponent; 0: every source alike, 1: every case alike.
    universal_task_probability: Share of training samples that are seen under the universal task.
    border_patches: Patches end at the borders of the image as the windows of a prediction do; False: nnU-Net's patches.
    foreground_jitter: Where in a foreground patch its class lies; 0: in the centre, as nnU-Net, 1: anywhere.
    batch_dice: Dice of a batch in place of each sample's, so that false voxels in a patch without the class lower it; None: as
        the plans have it.
    place_negatives: Learn that a class is not where it cannot lie by what `cdpd place` learned, from all sources.
    warmup_epochs: Of a schedule with a warm-up; others pass it over.
    seed: Of weights and patches, again at every epoch; None: another training each time. Worker processes of the loader draw
        their own patches whatever it is; with `nnUNet_n_proc_DA=0` there are none.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    num_epochs: int | None = None
    num_iterations_per_epoch: int | None = None
    num_val_iterations_per_epoch: int | None = None
    save_every: int | None = None
    initial_lr: float = 4e-4
    weight_decay: float = 1e-5
    oversample_foreground_percent: float | None = None
    probabilistic_oversampling: bool | None = None
    enable_deep_supervision: bool | None = None
    source_sampling_exponent: float = 0.5
    universal_task_probability: float = 0.5
    border_patches: bool = False
    foreground_jitter: float = 0.0
    batch_dice: bool | None = None
    place_negatives: bool = False
    warmup_epochs: int = 0
    seed: int | None = None

    def with_network(self, **changes: Any) -> "Recipe":
        """The same with other settings of the network."""
        return replace(self, network=replace(self.network, **changes))

    @property
    def trainer_attributes(self) -> dict[str, Any]:
        """What it says, by the names of the trainer's attributes, nnU-Net's and ours."""
        said = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "network"}
        return {name: value for name, value in said.items() if value is not None}
