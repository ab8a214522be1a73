"""Prompt tables: what benchmarks/text_prompts found, a small JSON file per network and organ, and the tables of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from patients import ORGANS
from results import FOLDER

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean
from nnunetv2_cdpd.jobs import write_text

BTCV = {
    "spleen": 1, "right_kidney": 2, "left_kidney": 3, "gallbladder": 4, "liver": 6, "stomach": 7, "aorta": 8,
    "inferior_vena_cava": 9, "portal_and_splenic_vein": 10, "pancreas": 11, "right_adrenal_gland": 12, "left_adrenal_gland": 13,
}  # fmt: skip
ORGANS_OF = {"abdomen": tuple(BTCV), "neck": tuple(ORGANS)}
SEEN, UNSEEN = "seen", "unseen"  # what a network is to the organ whose head is made
LABELS, OTHER = "labels", "another organ's"
RIDGE, MLP = MAKERS = "ridge", "mlp"
EXCHANGED, RANDOM = "exchanged", "random"
STUDY = "text_prompts"
NAMES = ("text_prompts", "text_prompts_best", "text_prompts_organs")
_TEXTS = {
    "clip": "CLIP's text, as released", "sentences": "text, MiniLM", "facts": "no text: place, volume, HU",
    EXCHANGED: "text of another organ", RANDOM: "random numbers",
}  # fmt: skip
_MAKERS = {RIDGE: "regression", MLP: "trained on the others"}


@dataclass(frozen=True)
class Score:
    """Dice of one head; a mean over cases.

    maker: How the head was made. text: Of what; '' where of none.
    competing: The voxels where it is the highest of all heads, and above 0: a prediction. None: it is another organ's.
    alone: The voxels where it is above 0.
    best: The voxels above the threshold that is best for these very voxels, which nobody knows.
    """

    maker: str
    text: str
    seed: int
    competing: float | None
    alone: float
    best: float

    def entry(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def path_of(region: str, network: str, organ: int) -> Path:
    return FOLDER / STUDY / region / network / f"{ORGANS_OF[region][organ]}.json"


def write_scores(region: str, network: str, organ: int, scores: list[Score]) -> None:
    path = path_of(region, network, organ)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "[\n" + ",\n".join(json.dumps(score.entry()) for score in scores) + "\n]\n")


def read_scores(region: str, network: str, organ: int) -> list[Score]:
    """[] where there is no result yet."""
    path = path_of(region, network, organ)
    return [Score(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def prompt_tables() -> dict[str, str]:
    """Name -> Markdown, of those columns that have results; none without any."""
    found = {
        (region, network): {name: scores for organ, name in enumerate(names) if (scores := read_scores(region, network, organ))}
        for region, names in ORGANS_OF.items()
        for network in (SEEN, UNSEEN)
    }
    found = {column: organs for column, organs in found.items() if organs}
    if not found:
        return {}
    makers, best = _table(found, "competing"), _table(found, "best", _differences(found, "best"))
    return dict(zip(NAMES, (makers, best, _organs({column: each for column, each in found.items() if column[1] == UNSEEN}))))


Found = dict[tuple[str, str], dict[str, list[Score]]]


def _table(found: Found, field: str, further: Sequence[str] = ()) -> str:
    """A row for each way to make a head, a column for each region and network: mean over organs and its interval."""
    lines = [
        "| head made by | of | "
        + " | ".join(f"{region}, organ {network} ({len(found[region, network])})" for region, network in found)
        + " |"
    ]
    lines.append("|---|---|" + "---:|" * len(found))
    for words, of, maker, text in _rows():
        cells = [_told(_means(organs, maker, text, field)) for organs in found.values()]
        if any(cells):
            lines.append(f"| {words} | {of} | {' | '.join(cells)} |")
    return "\n".join([*lines, *further])


def _differences(found: Found, field: str) -> list[str]:
    """Rows of what a text gives more than that of another organ."""
    rows = []
    for maker, text in product(MAKERS, ("clip", "sentences")):
        cells = [
            _told(_means(organs, maker, text, field) - _means(organs, maker, EXCHANGED, field), signed=True)
            for organs in found.values()
        ]
        if any(cells):
            rows.append(f"| {_MAKERS[maker]} | {_TEXTS[text]}, less {_TEXTS[EXCHANGED]} | {' | '.join(cells)} |")
    return rows


def _rows() -> list[tuple[str, str, str, str]]:
    """Words of the maker and of its text, and both as `Score` has them."""
    made = [(_MAKERS[maker], words, maker, text) for maker in MAKERS for text, words in _TEXTS.items()]
    return [("labels of the organ", "", LABELS, ""), ("nothing: the head of the organ that overlaps most", "", OTHER, ""), *made]


def _organs(found: Found) -> str:
    """A row for each organ, on the network that has not seen it; thresholds that are best for it."""
    told = [f"{_MAKERS[maker]}, {words}" for maker in MAKERS for words in ("its text", _TEXTS[EXCHANGED])]
    lines = [f"| organ | labels | another organ's head | {' | '.join(told)} |", "|---|" + "---:|" * (2 + len(told))]
    for (region, _), organs in found.items():
        text = "clip" if region == "abdomen" else "sentences"
        columns = [(LABELS, ""), (OTHER, ""), *product(MAKERS, (text, EXCHANGED))]
        for organ, scores in organs.items():
            values = [float(_means({organ: scores}, maker, of, "best")[0]) for maker, of in columns]
            lines.append(f"| {organ} | " + " | ".join("" if np.isnan(value) else f"{value:.2f}" for value in values) + " |")
    return "\n".join(lines)


def _means(organs: dict[str, list[Score]], maker: str, text: str, field: str) -> np.ndarray:
    """(organs,): the mean over seeds; nan where there is none."""
    values = [
        [value for score in scores if (score.maker, score.text) == (maker, text) and (value := getattr(score, field)) is not None]
        for scores in organs.values()
    ]
    return np.array([np.mean(each) if each else np.nan for each in values])


def _told(values: np.ndarray, signed: bool = False) -> str:
    """Mean and 95 % interval, organs drawn again; '' where there is nothing."""
    if np.isnan(values).all():
        return ""
    low, high = interval_of_mean(values[:, None])
    form = "{:+.2f} ({:+.2f} to {:+.2f})" if signed else "{:.2f} ({:.2f} to {:.2f})"
    return form.format(np.nanmean(values), low, high)
