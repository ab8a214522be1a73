"""Studies: what is compared with what. An arm is a way to train; its datasets are named as `raw_data` makes them.

partial_labels  24 complete patients, each annotated for the organs of one of three sources: what masking is worth
equal_contours  the same number of contours, 168: all of 24 complete patients, or a third of 72 patients
extension       six organs of 24 complete patients; the seventh learned later, from 5 or 20 of them
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from patients import AIRWAYS, GLANDS, NEURO, ORGANS, SOURCES, Patients, Source

COMPLETE = Source("Complete", tuple(ORGANS))
COMPLETED = "Completed"  # by `cdpd complete`; of each seed its own, as it has its own teachers
MERGED, BACKGROUND = "Merged", "Background"  # of the three sources: by `cdpd merge`; with 0 for what is not annotated
PARTS = tuple(source.name for source in SOURCES)
ADDED_CASES = (5, 20)
ADDED, UNFROZEN, MIRRORED = "added", "unfrozen", "mirrored"


def without(organ: str) -> Source:
    return Source(f"Without{organ}", tuple(name for name in ORGANS if name != organ))


def only(organ: str, cases: int) -> Source:
    return Source(f"Only{organ}{cases}", (organ,))


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
    teachers: Arm whose networks complete the merged dataset, on which this arm is then trained.
    """

    words: str
    trainer: str
    datasets: tuple[str, ...]
    iterations: float = 1.0
    extends: str | None = None
    unfreeze: bool = False
    place: bool = False
    teachers: str | None = None


@dataclass(frozen=True)
class Study:
    """What is compared.

    dealt: (patients, split) -> source -> its patients of training.
    tests_partial: Whether patients are scored that have not all organs, on those that they have.
    control: Arm that the others are compared with.
    """

    words: str
    arms: Mapping[str, Arm]
    dealt: Callable[[Patients, int], dict[Source, list[str]]]
    tests_partial: bool
    control: str
    iterations: int = 1200
    foreground: float = 1.0


def _same_patients(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete = patients.trained(split, patients.complete)
    return {COMPLETE: complete} | {source: complete[index :: len(SOURCES)] for index, source in enumerate(SOURCES)}


def _equal_contours(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete, partial = (patients.trained(split, kind) for kind in (patients.complete, patients.partial))
    return {COMPLETE: complete, NEURO: partial[::2], GLANDS: partial[1::2], AIRWAYS: complete}


def _extension(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete = patients.trained(split, patients.complete)
    dealt = {COMPLETE: complete}
    for organ in ORGANS:
        dealt[without(organ)] = complete
        dealt |= {only(organ, cases): complete[:cases] for cases in ADDED_CASES}
    return dealt


_STOCK, _OURS = "nnUNetTrainerBenchmark", "nnUNetTrainerCDPDBenchmark"
_ARMS = {
    "complete": Arm("nnU-Net, every organ of the complete patients", _STOCK, (COMPLETE.name,)),
    "background": Arm("nnU-Net, what is not annotated taken as background", _STOCK, (BACKGROUND,)),
    "per_source": Arm("one nnU-Net per source, joined", _STOCK, PARTS),
    "per_source_third": Arm("one nnU-Net per source with a third of the iterations each, joined", _STOCK, PARTS, 1 / 3),
    "masked": Arm("masked loss on nnU-Net's U-Net", f"{_OURS}_lossOnly", (MERGED,)),
    "masked_longer": Arm("the same, three times as long", f"{_OURS}_lossOnly", (MERGED,), 3.0),
    "masked_place": Arm("masked loss, negatives by place", f"{_OURS}_lossOnly_place", (MERGED,), place=True),
    "ours": Arm("nnUNetTrainerCDPD", _OURS, (MERGED,)),
    "ours_place": Arm("nnUNetTrainerCDPD, negatives by place", f"{_OURS}_place", (MERGED,), place=True),
    "student": Arm("nnU-Net on what one nnU-Net per source completed", _STOCK, (COMPLETED,), teachers="per_source"),
}
STUDIES = {
    "partial_labels": Study(
        "24 patients with all organs; each source annotates eight of them.",
        _ARMS
        | {
            "no_jitter": Arm("nnUNetTrainerCDPD, organs in the centre of patches", f"{_OURS}_noJitter", (MERGED,)),
            "no_vision": Arm("nnUNetTrainerCDPD without vision tokens", f"{_OURS}_noVision", (MERGED,)),
            "no_task_prompt": Arm("nnUNetTrainerCDPD without task prompt", f"{_OURS}_noTaskPrompt", (MERGED,)),
            "no_text": Arm("nnUNetTrainerCDPD without text modulation", f"{_OURS}_noText", (MERGED,)),
        },
        _same_patients,
        tests_partial=False,
        control="complete",
    ),
    "equal_contours": Study(
        "168 contours: 24 patients with all organs, or 72 patients with a third of them.",
        _ARMS,
        _equal_contours,
        tests_partial=True,
        control="complete",
    ),
    "extension": Study(
        "24 patients; a network of six organs, to which the seventh is added.",
        {"joint": Arm("nnUNetTrainerCDPD, all seven organs at once", _OURS, (COMPLETE.name,))}
        | {f"without_{organ}": Arm(f"the same without {organ}", _OURS, (without(organ).name,)) for organ in ORGANS}
        | {
            f"{MIRRORED}_{organ}": Arm(
                f"that with mirrored patches, without {organ}", f"{_OURS}_mirrored", (without(organ).name,)
            )
            for organ in GLANDS.organs
        }
        | {
            f"{how}_{organ}_{cases}": Arm(
                f"{organ} {how} from {cases} cases",
                _OURS,
                (only(organ, cases).name,),
                extends=f"without_{organ}",
                unfreeze=how == UNFROZEN,
            )
            for how in (ADDED, UNFROZEN)
            for organ in ORGANS
            for cases in ADDED_CASES
        },
        _extension,
        tests_partial=True,
        control="joint",
        iterations=600,
    ),
}
_TO_ADD = tuple(source.name for organ in ORGANS for source in (without(organ), *(only(organ, cases) for cases in ADDED_CASES)))
DATASETS = (COMPLETE.name, *PARTS, MERGED, BACKGROUND, *_TO_ADD)  # in the order of their numbers
