"""What the released CDPDNet knows: its 32 classes and its 11 tasks with the classes that each annotates.

Class numbers are the released ones, 1 ... 32: output channel k - 1 of the network, and the stored value of class k here. The
classes have the names of our class table, which lists them in the same order.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet, utils).
"""

from collections.abc import Mapping

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.classes import CLASS_TABLE, compatible_pairs, structure
from nnunetv2_cdpd.released.prompts import PAPER_TASK_PROMPT_OF

RELEASED_CLASSES = tuple(entry.name for entry in CLASS_TABLE)

# In the order of the released task indices. The Decathlon's six datasets share one task; what each annotates, together.
ANNOTATED_BY_TASK: Mapping[str, tuple[int, ...]] = {
    "BTCV": tuple(range(1, 15)),
    "Pancreas-CT": (1, 3, 4, 5, 6, 7, 11, 14),
    "CHAOS": (6,),
    "LiTS": (6, 27),
    "KiTS": (2, 3, 26, 32),
    "WORD": (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 18, 19, 20, 21, 23, 24),
    "AbdomenCT-1K": (1, 2, 3, 6, 11),
    "AMOS": (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 21, 22),
    "MSD": (1, 6, 11, 15, 27, 28, 29, 30, 31),
    "CT-ORG": (2, 3, 6, 16, 17, 21),
    "AbdomenCT-12organ": (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 25),
}


def released_annotation() -> Annotation:
    """Classes, nesting and sources of the released network, as our dataset.json holds them; the sources have no cases."""
    number = {name: k for k, name in enumerate(RELEASED_CLASSES, start=1)}
    inside = {name: [other for other in RELEASED_CLASSES if structure(other).parents == (name,)] for name in RELEASED_CLASSES}
    return Annotation(
        classes=RELEASED_CLASSES,
        values=tuple(number.values()),
        regions=tuple(tuple(sorted([number[name], *(number[other] for other in inside[name])])) for name in RELEASED_CLASSES),
        sources=tuple(
            Source(name, tuple(RELEASED_CLASSES[k - 1] for k in numbers), task_prompt=PAPER_TASK_PROMPT_OF[name])
            for name, numbers in ANNOTATED_BY_TASK.items()
        ),
        case_source={},
        possible_parents={name: structure(name).parents for name in RELEASED_CLASSES if len(structure(name).parents) > 1},
        compatible=compatible_pairs(RELEASED_CLASSES),
    )
