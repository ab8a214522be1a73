"""Quality: what `cdpd predict --quality` said of held-out patients, and what is true; measured by benchmarks/quality.py."""

import json
import math
from collections.abc import Callable

import numpy as np
from results import FOLDER
from scipy.stats import rankdata

ARMS = {"five_networks": "five networks", "one_network": "one network"}
KINDS = {"complete": "like those of the training", "partial": "of other hospitals, with a smaller field of view"}
DRAWS = 2000
WORST = 0.1
Predictions = dict[str, np.ndarray]  # column of the result file -> a value for each organ of each patient
Statistic = Callable[[Predictions], float]


def quality_table() -> str:
    """Every statistic with its interval, by networks and kind of patient; '' without results."""
    lines = []
    for arm, words in ARMS.items():
        for kind, predictions in _by_kind(arm).items():
            patients = len(np.unique(predictions["patient"]))
            lines.append(f"| {words} | {patients} {kind} | {len(predictions['dice'])} | {' | '.join(_told(predictions))} |")
    return _table(("networks", "patients", "predictions", *STATISTICS), lines, left=2)


def short_quality_table() -> str:
    """What the mean of five networks says of patients of each kind; '' without results."""
    lines = []
    by_kind = _by_kind("five_networks")
    for kind, words in KINDS.items():
        if kind in by_kind:
            patients = len(np.unique(by_kind[kind]["patient"]))
            cells = [f"{statistic(by_kind[kind]):.2f}" for statistic, _ in (STATISTICS[name] for name in SHORT)]
            lines.append(f"| {patients} {words} | {' | '.join(cells)} |")
    return _table(("held-out patients", *SHORT.values()), lines, left=1)


def _by_kind(arm: str) -> dict[str, Predictions]:
    path = FOLDER / "quality" / f"{arm}.json"
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text())["rows"]
    predictions = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    complete = predictions["complete"]
    return {"complete": _of(predictions, complete), "partial": _of(predictions, ~complete), "all": predictions}


def _of(predictions: Predictions, which: np.ndarray) -> Predictions:
    return {key: values[which] for key, values in predictions.items()}


def _table(columns: tuple[str, ...], lines: list[str], left: int) -> str:
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * left + "---:|" * (len(columns) - left)]
    return "\n".join([*head, *lines]) if lines else ""


def _correlation(key: str, sign: int = 1) -> Statistic:
    """Spearman's, with the Dice."""

    def statistic(predictions: Predictions) -> float:
        values, dice = rankdata(sign * predictions[key]), rankdata(predictions["dice"])
        return float(np.corrcoef(values, dice)[0, 1]) if np.ptp(values) > 0 and np.ptp(dice) > 0 else math.nan

    return statistic


def _error(predictions: Predictions) -> float:
    return float(np.abs(predictions["predicted"] - predictions["dice"]).mean())


def _inside(predictions: Predictions) -> float:
    """Of organs that were found: of others there is no volume to be right about."""
    return float(predictions["inside"][predictions["found"]].mean())


def _flagged(of_worst: bool) -> Statistic:
    def statistic(predictions: Predictions) -> float:
        dice = predictions["dice"]
        worst = dice <= np.sort(dice)[max(1, round(WORST * len(dice))) - 1]
        looks = predictions["look"][worst == of_worst]
        return float(looks.mean()) if looks.size else math.nan

    return statistic


STATISTICS: dict[str, tuple[Statistic, int]] = {  # column -> what it is, and its digits
    "Spearman": (_correlation("predicted"), 2),
    "expected Dice alone": (_correlation("expected_dice"), 2),
    "mean entropy alone": (_correlation("entropy", -1), 2),
    "mean error": (_error, 3),
    "volumes inside": (_inside, 2),
    "worst tenth flagged": (_flagged(True), 2),
    "others flagged": (_flagged(False), 2),
}
SHORT = {
    "Spearman": "rank correlation of predicted and true Dice",
    "expected Dice alone": "of the expected Dice alone",
    "volumes inside": "volumes inside",
    "worst tenth flagged": "worst tenth flagged",
    "others flagged": "others flagged",
}  # of the columns those that docs/quality.md shows, in its words


def _told(predictions: Predictions) -> list[str]:
    """Every statistic with its 95 % interval, patients drawn again."""
    _, patient = np.unique(predictions["patient"], return_inverse=True)
    of_patient = [np.flatnonzero(patient == number) for number in range(patient.max() + 1)]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        sample = np.concatenate([of_patient[number] for number in random.integers(len(of_patient), size=len(of_patient))])
        drawn.append([statistic(_of(predictions, sample)) for statistic, _ in STATISTICS.values()])
    limits = np.nanquantile(drawn, [0.025, 0.975], axis=0).T
    return [
        f"{statistic(predictions):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
        for (statistic, digits), (low, high) in zip(STATISTICS.values(), limits)
    ]
