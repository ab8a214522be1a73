"""Study: what is compared with what. An arm is a way to train; its datasets are named as `raw_data` makes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from patients import ORGANS, SOURCES, Patients, Source

from nnunetv2_cdpd.pretrained.choices import RANDOM

COMPLETE = Source("Complete", tuple(ORGANS))
# By `cdpd complete`; of each seed its own, as it has its own teachers
COMPLETED, COMPLETED_MIXED = "Completed", "CompletedMixed"
COMPLETED_CONFIDENT = "CompletedConfident"  # whatever the structure's place, volume and shape
COMPLETED_BORDERS = "CompletedBorders"  # voxels around what was completed are ignored
MERGED, BACKGROUND = "Merged", "Background"  # of the three sources: by `cdpd merge`; with 0 for what is not annotated
MIXED = "Mixed"  # by `cdpd merge`, of the four sources that are mixed
PARTS = tuple(source.name for source in SOURCES)
STOCK, OURS = "nnUNetTrainerBenchmark", "nnUNetTrainerCDPDBenchmark"
# Kinds of vision weights, beside RANDOM: a file that the user gives, and that file trained further by `cdpd pretrain`
PRETRAINED, PRETRAINED_FURTHER = "pretrained", "pretrained further"


@dataclass(frozen=True)
class Arm:
    """One way to train.

    words: What it is, for the table.
    trainer: Its class in benchmarks/trainers.
    datasets: One network each; label maps of several are joined.
    iterations: Of each network, in those of the study.
    extends: Arm whose network is extended by `cdpd extend` with the dataset, in place of a training.
    unfreeze: All of that network is trained further.
    place: Where organs can lie is learned before, for a trainer that needs it.
    teachers: Arm whose networks complete a merged dataset, on which this arm is then trained: that which its one network learned
        from, else that of the three sources.
    completion: Further arguments of `cdpd complete`.
    vision_weights: RANDOM, PRETRAINED or PRETRAINED_FURTHER.
    """

    words: str
    trainer: str
    datasets: tuple[str, ...]
    iterations: float = 1.0
    extends: str | None = None
    unfreeze: bool = False
    place: bool = False
    teachers: str | None = None
    completion: tuple[str, ...] = ()
    vision_weights: str = RANDOM

    @property
    def ours(self) -> bool:
        """Its networks are of our trainer, with a sigmoid head for every class."""
        return self.trainer.startswith(OURS)


@dataclass(frozen=True)
class Study:
    """What is compared.

    dealt: (patients, split) -> source -> its patients of training.
    tested: (patients, split) -> those that are scored, on the organs that they have.
    control: Arm that the others are compared with.
    iterations: Of a training, where its arm says nothing else.
    foreground: Share of patches that hold an annotated organ for certain; nnU-Net rounds it to whole patches of a batch of 4.
    batch_dice: The plans, of all arms alike, have the Dice of a batch in place of each patch's.
    half: Networks are trained in bfloat16 under autocast, as nnU-Net does on a GPU; else in single precision.
    splits: How many there are.
    whole_images: Predict by `cdpd predict`, which tells a network where in the image a window lies; else by nnU-Net.
    """

    words: str
    arms: Mapping[str, Arm]
    dealt: Callable[[Patients, int], dict[Source, list[str]]]
    tested: Callable[[Patients, int], list[str]]
    control: str
    iterations: int
    foreground: float = 1.0
    batch_dice: bool = False
    half: bool = False
    splits: int = 5
    whole_images: bool = False


# Of all arms, nnU-Net's too. Its share of foreground: three patches of four. The Dice of a batch: as nnU-Net plans it where
# patches cover little of an image.
SETTING: dict[str, Any] = {"iterations": 1200, "foreground": 2 / 3, "batch_dice": True, "half": True}


def dealt_out(patients: list[str]) -> dict[Source, list[str]]:
    """Every third patient to the first source, and so on."""
    return {source: patients[index :: len(SOURCES)] for index, source in enumerate(SOURCES)}


def kept_back(patients: Patients, split: int) -> list[str]:
    return patients.tested(split, partial=False)


def kept_back_of_both_kinds(patients: Patients, split: int) -> list[str]:
    return patients.tested(split, partial=True)
