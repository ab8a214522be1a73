"""Studies of partial labels: what masking, more patients, completion, place and more iterations are worth."""

from patients import AIRWAYS, GLANDS, MIXED_SOURCES, NEURO, Patients, Source
from study import (
    BACKGROUND,
    COMPLETE,
    COMPLETED,
    COMPLETED_BORDERS,
    COMPLETED_CONFIDENT,
    COMPLETED_MIXED,
    MERGED,
    MIXED,
    OURS,
    PARTS,
    SETTING,
    STOCK,
    Arm,
    Study,
    dealt_out,
    kept_back,
    kept_back_of_both_kinds,
)

SAME_PATIENTS, EQUAL_CONTOURS = "partial_labels", "equal_contours"


def same_patients(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete = patients.trained(split, patients.complete)
    return {COMPLETE: complete} | dealt_out(complete)


def equal_contours(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete, partial = (patients.trained(split, kind) for kind in (patients.complete, patients.partial))
    return {COMPLETE: complete, NEURO: partial[::2], GLANDS: partial[1::2], AIRWAYS: complete}


def _and_mixed(patients: Patients, split: int) -> dict[Source, list[str]]:
    """As many contours again, in the complete patients and every second of the partial ones."""
    complete, partial = (patients.trained(split, kind) for kind in (patients.complete, patients.partial))
    parts = (complete[::2], complete[1::2], partial[::4], partial[2::4])
    return equal_contours(patients, split) | dict(zip(MIXED_SOURCES, parts))


_BARE = f"{OURS}_lossOnly"
_ARMS = {
    "complete": Arm("nnU-Net, every organ of the complete patients", STOCK, (COMPLETE.name,)),
    "complete_longer": Arm("the same organs and patients, three times as long", STOCK, (COMPLETE.name,), 3.0),
    "background": Arm("nnU-Net, what is not annotated taken as background", STOCK, (BACKGROUND,)),
    "per_source": Arm("one nnU-Net per source, joined", STOCK, PARTS),
    "per_source_third": Arm("one nnU-Net per source with a third of the iterations each, joined", STOCK, PARTS, 1 / 3),
    "marginal": Arm("marginal and exclusion loss on nnU-Net's U-Net (arXiv 2007.03868)", f"{OURS}_marginal", (MERGED,)),
    "masked": Arm("masked loss on nnU-Net's U-Net", _BARE, (MERGED,)),
    "masked_longer": Arm("masked loss, three times as long", _BARE, (MERGED,), 3.0),
    "masked_borders": Arm("masked loss, patches that end at the borders", f"{_BARE}_borders", (MERGED,)),
    "masked_place": Arm("masked loss, negatives by place", f"{_BARE}_place", (MERGED,), place=True),
    "ours": Arm("nnUNetTrainerCDPD", OURS, (MERGED,)),
    "ours_place": Arm("nnUNetTrainerCDPD, negatives by place", f"{OURS}_place", (MERGED,), place=True),
    "student": Arm("nnU-Net on what one nnU-Net per source completed", STOCK, (COMPLETED,), teachers="per_source"),
    "student_confident": Arm(
        "nnU-Net on what they completed by the filter confidence alone",
        STOCK,
        (COMPLETED_CONFIDENT,),
        teachers="per_source",
        completion=("--filters", "confidence"),
    ),
    "student_borders": Arm(
        "nnU-Net on what they completed, 6 mm around it ignored",
        STOCK,
        (COMPLETED_BORDERS,),
        teachers="per_source",
        completion=("--border", "6"),
    ),
}
# Beside `complete_longer`, `masked_longer` and `per_source`, which has three times the iterations in sum
_EFFORT = {
    "ours_longer": Arm("nnUNetTrainerCDPD, three times as long", OURS, (MERGED,), 3.0),
    "ours_batch": Arm("nnUNetTrainerCDPD, batches of 12 in place of 4", f"{OURS}_largeBatch", (MERGED,)),
    "ours_slow": Arm("nnUNetTrainerCDPD, learning rate 1e-3 in place of 3e-3", f"{OURS}_slow", (MERGED,)),
}
_MIXED = {
    "masked_mixed": Arm("masked loss, organs and hospitals mixed", _BARE, (MIXED,)),
    "masked_mixed_longer": Arm("masked loss, organs and hospitals mixed, twice as long", _BARE, (MIXED,), 2.0),
    "student_mixed": Arm(
        "nnU-Net on what that network completed",
        STOCK,
        (COMPLETED_MIXED,),
        teachers="masked_mixed_longer",
        completion=("--allow-seen",),
    ),
}
_ABLATIONS = {
    "no_jitter": Arm("nnUNetTrainerCDPD, organs in the centre of patches", f"{OURS}_noJitter", (MERGED,)),
    "no_vision": Arm("nnUNetTrainerCDPD without vision tokens", f"{OURS}_noVision", (MERGED,)),
    "no_task_prompt": Arm("nnUNetTrainerCDPD without task prompt", f"{OURS}_noTaskPrompt", (MERGED,)),
    "no_text": Arm("nnUNetTrainerCDPD without text modulation", f"{OURS}_noText", (MERGED,)),
}


PARTIAL_LABELS = {
    SAME_PATIENTS: Study(
        "24 patients with all organs; each source annotates eight of them.",
        _ARMS | _ABLATIONS,
        same_patients,
        kept_back,
        control="complete",
        **SETTING,
    ),
    EQUAL_CONTOURS: Study(
        "168 contours: 24 patients with all organs, or 72 patients with a third of them; or 48, organs and hospitals mixed.",
        _ARMS | _EFFORT | _MIXED,
        _and_mixed,
        kept_back_of_both_kinds,
        control="complete",
        **SETTING,
    ),
}
