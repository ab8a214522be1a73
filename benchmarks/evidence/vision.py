"""Studies of vision tokens: what they earn with few and with more annotated patients, and on another scanner.

Each arm is nnUNetTrainerCDPD, its vision tokens aside. Three controls: no tokens, tokens of a ViT that is not pretrained, and
tokens that tell nothing but the place in the image.
"""

import numpy as np
from differences import mean_over_seeds, told_difference
from partial_labels import equal_contours
from patients import Patients, Source
from results import Result, mean_of_known, results_of
from scanners import by_scanner
from study import MERGED, OURS, PRETRAINED, PRETRAINED_FURTHER, SETTING, Arm, Study, dealt_out, kept_back_of_both_kinds

from nnunetv2_cdpd.pretrained.choices import RANDOM

CONTROLS = {"none": "no tokens", "random": "a random ViT", "coordinates": "coordinates"}
# An arm is compared with the control that sees what it sees, whose features ask where its own do, and whose gate is as its own.
_CLOSED = {"random": "random_closed", "coordinates": "coordinates_closed"}
_WHOLE = {"random": "random_whole_closed", "coordinates": "coordinates_closed"}
_ASKING = {"coordinates": "coordinates_values"}
OWN_CONTROLS = {
    **dict.fromkeys(("random_closed", "coordinates_closed"), _CLOSED),
    **dict.fromkeys(("closed", "scaled", "blocks", "windows", "neighbours", "guide", "adapters", "both"), _CLOSED),
    "positions": _CLOSED | {"random": "random_positions"},
    "random_positions": _CLOSED,
    "values": _CLOSED | _ASKING,
    **dict.fromkeys(("random_whole_closed", "whole_closed", "whole_sum", "further"), _WHOLE),
    "whole_dropout": _WHOLE | _ASKING,
    # with the former gate
    "whole": {"random": "random_whole"},
    "whole_values": {"random": "random_whole"} | _ASKING,
}
FEW, SOME, MANY, SHIFTED = "vision_2", "vision_8", "vision_24", "vision_shifted"
# Results of `vision_2` in the setting before: 600 iterations, an organ in every patch, Dice of each patch
BEFORE = "vision_2_before"
OPENKBP = "openkbp_vision"  # results of benchmarks/openkbp_vision.py
PARTIAL_TESTED = 3  # every third partial patient is scored, where none is trained on


def _arm(words: str, variant: str, weights: str = PRETRAINED) -> Arm:
    return Arm(words, f"{OURS}{variant}", (MERGED,), vision_weights=weights)


ARMS = {
    "none": _arm("no tokens", "_noVision", RANDOM),
    "random": _arm("random ViT, patches", "_blocksGate", RANDOM),
    "random_whole": _arm("random ViT, whole slices", "_wholeSlicesBlocksGate", RANDOM),
    "coordinates": _arm("coordinates", "_coordinatesBlocksGate", RANDOM),
    "random_closed": _arm("random ViT, patches, closed gate", "", RANDOM),
    "random_whole_closed": _arm("random ViT, whole slices, closed gate", "_wholeSlices", RANDOM),
    "coordinates_closed": _arm("coordinates, closed gate", "_coordinates", RANDOM),
    "coordinates_values": _arm("coordinates, features ask, closed gate", "_coordinatesValues", RANDOM),
    "random_positions": _arm("random ViT, patches, closed gate, positions in the slice", "_positions", RANDOM),
    "real": _arm("DINOv2, patches", "_blocksGate"),
    "closed": _arm("DINOv2, patches, closed gate", ""),
    "scaled": _arm("DINOv2, patches, closed gate, 4 voxels per token", "_scaled"),
    "positions": _arm("DINOv2, patches, closed gate, positions in the slice", "_positions"),
    "blocks": _arm("DINOv2, patches, closed gate, blocks 3, 6, 9, 12", "_blocks"),
    "windows": _arm("DINOv2, patches, closed gate, three windows", "_windows"),
    "neighbours": _arm("DINOv2, patches, closed gate, neighbouring slices", "_neighbours"),
    "guide": _arm("DINOv2, patches, closed gate, guide", "_guide"),
    "adapters": _arm("DINOv2, patches, closed gate, adapters of rank 4", "_adapters"),
    "values": _arm("DINOv2, patches, closed gate, features ask", "_values"),
    "both": _arm("DINOv2, patches, closed gate, tokens and features ask", "_both"),
    "whole": _arm("DINOv2, whole slices", "_wholeSlicesBlocksGate"),
    "whole_values": _arm("DINOv2, whole slices, features ask", "_wholeSlicesValuesBlocksGate"),
    "whole_closed": _arm("DINOv2, whole slices, closed gate", "_wholeSlices"),
    "whole_sum": _arm("DINOv2, whole slices, closed gate, sum", "_wholeSlicesSum"),
    "whole_dropout": _arm("DINOv2, whole slices, closed gate, features ask, token dropout 0.2", "_wholeSlicesDropout"),
    "further": _arm("DINOv2 after cdpd pretrain, whole slices, closed gate", "_wholeSlices", PRETRAINED_FURTHER),
}


def _few(patients: Patients, split: int) -> dict[Source, list[str]]:
    return dealt_out(patients.tested(split, partial=False))


def _but_few(patients: Patients, split: int) -> list[str]:
    return patients.trained(split, patients.complete)


def _some(patients: Patients, split: int) -> dict[Source, list[str]]:
    return dealt_out(patients.trained(split, patients.complete))


def _kept_back_and_partial(patients: Patients, split: int) -> list[str]:
    return patients.tested(split, partial=False) + patients.partial[split % PARTIAL_TESTED :: PARTIAL_TESTED]


def _many(patients: Patients, split: int) -> dict[Source, list[str]]:
    sources = equal_contours(patients, split)
    return {source: sources[source] for source in dealt_out([])}


def _one_scanner(patients: Patients, split: int) -> dict[Source, list[str]]:
    return dealt_out(by_scanner(patients)[split])


def _other_scanner(patients: Patients, split: int) -> list[str]:
    return by_scanner(patients)[1 - split]


VISION = {
    FEW: Study("2 patients per source, 24 others scored.", ARMS, _few, _but_few, control="none", whole_images=True, **SETTING),
    SOME: Study(
        "8 patients per source, 6 other complete ones and 18 of other hospitals scored.",
        ARMS, _some, _kept_back_and_partial, control="none", whole_images=True, **SETTING,
    ),
    MANY: Study(
        "24 patients per source, 11 others of both kinds scored.",
        ARMS, _many, kept_back_of_both_kinds, control="none", whole_images=True, **SETTING,
    ),
    SHIFTED: Study(
        "Trained on patients of one distance of slices, scored on those of the other.",
        ARMS, _one_scanner, _other_scanner, control="none", splits=2, whole_images=True, **SETTING,
    ),
}  # fmt: skip


def vision_tables() -> dict[str, str]:
    return {name: vision_table(name) for name in (*VISION, BEFORE, OPENKBP)}


def vision_table(folder: str) -> str:
    """Each arm against the three controls, and what it costs; '' without results."""
    results = {arm: list(results_of(folder, arm)) for arm in ARMS}
    lines = []
    for arm, facts in ARMS.items():
        if not (own := results[arm]):
            continue
        patients = sorted({patient for result in own for patient in result.scores})
        dice, distances = (mean_over_seeds(own, metric, patients) for metric in ("Dice", "HD95_mm"))
        missed = int(np.isinf(distances).sum())
        distances[np.isinf(distances)] = np.nan
        cells = [f"{mean_of_known(mean_of_known(dice, 0)):.3f}"]
        cells.append(f"{mean_of_known(mean_of_known(distances, 0)):.0f}" + (f" ({missed} not found)" if missed else ""))
        controls = [OWN_CONTROLS.get(arm, {}).get(control, control) for control in CONTROLS]
        told = arm != "none"  # which every other arm is compared with, whatever its gate
        cells += [told_difference(own, results[control]) if told and control != arm else "" for control in controls]
        runs = sorted({(result.split, result.seed) for result in own})
        cells += [str(len(patients)), str(len(runs)), _per(own, "cpu_seconds", lambda result: result.setting["iterations"])]
        cells.append(_per(own, "prediction_cpu_seconds", lambda result: len(result.scores)))
        lines.append(f"| {facts.words} | {' | '.join(cells)} |")
    if not lines:
        return ""
    columns = ["arm", "Dice", "HD95 mm", *(f"against {words}" for words in CONTROLS.values()), "patients", "runs"]
    columns += ["CPU s per iteration", "CPU s per prediction"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *lines])


def _per(results: list[Result], name: str, count) -> str:
    """Median of CPU seconds of the runs that tell them, each divided by a count."""
    values = [seconds / count(result) for result in results if (seconds := getattr(result, name)) is not None]
    return f"{np.median(values):.2f}" if values else ""
