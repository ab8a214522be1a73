"""Recipe: the numbers that a training goes by, and the settings of its network."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from nnunetv2_cdpd.planning.architecture import NetworkSettings

_Recipe = TypeVar("_Recipe", bound="Recipe")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a trainer is told; `dataclasses.replace` makes variants, a subclass with more fields tells it more.

    Every field but `network` becomes an attribute of the trainer, nnU-Net's own by nnU-Net's names, before the rest of a
    subclass's `__init__` runs.

    num_epochs ... save_every: nnU-Net's; None: as nnU-Net has it.
    source_sampling_exponent: p(source) ~ n_cases ^ exponent; 0: every source alike, 1: every case alike.
    universal_task_probability: Share of training samples that are seen under the universal task.
    foreground_jitter: Where in a foreground patch its class lies; 0: in the centre, as nnU-Net, 1: anywhere.
    network: What may be chosen about the network; plans that hold a CDPDNet keep more of theirs (see there).
    """

    initial_lr: float = 4e-4
    weight_decay: float = 1e-5
    num_epochs: int | None = None
    num_iterations_per_epoch: int | None = None
    num_val_iterations_per_epoch: int | None = None
    oversample_foreground_percent: float | None = None
    probabilistic_oversampling: bool | None = None
    enable_deep_supervision: bool | None = None
    save_every: int | None = None
    source_sampling_exponent: float = 0.5
    universal_task_probability: float = 0.5
    foreground_jitter: float = 0.0
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def with_network(self: _Recipe, **settings: Any) -> _Recipe:
        """The recipe with other settings of the network."""
        return replace(self, network=replace(self.network, **settings))

    def attributes(self) -> dict[str, Any]:
        """What the trainer's attributes are set to."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "network"}
        return {name: value for name, value in values.items() if value is not None}
