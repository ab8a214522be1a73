"""Quality: what `cdpd predict --quality` said of held-out patients, and what is true; measured by benchmarks/quality.py."""

import json
from collections.abc import Callable
from itertools import product

import numpy as np
from results import FOLDER

TRAINED = {"complete": "complete patients", "both": "both kinds, partly annotated"}
NETWORKS = {"five_networks": "five networks", "one_network": "one network"}
CLEANED = {"": "", "_cleaned": ", cleaned by place"}
KINDS = {
    ("complete", "complete"): "of the same kind",
    ("complete", "partial"): "of other hospitals, with a smaller field of view",
    ("both", "all"): "of the same kinds",
}  # trained on, held out -> what the second are to the first
DRAWS = 2000
WORST = 0.1
Predictions = dict[str, np.ndarray]  # column of the result file -> a value for each organ of each patient
Statistic = Callable[[Predictions, np.ndarray], np.ndarray]  # and how often each draw has each prediction -> a value per draw


def quality_table() -> str:
    """Every statistic with its interval, by training, networks and kind of patient; '' without results."""
    lines = []
    for trained, networks, cleaned in product(TRAINED, NETWORKS, CLEANED):
        words, by_kind = NETWORKS[networks] + CLEANED[cleaned], _by_kind(trained, networks, cleaned)
        for kind, predictions in by_kind.items():
            patients = len(np.unique(predictions["patient"]))
            cells = [TRAINED[trained], words, f"{patients} {kind}", str(len(predictions["dice"])), *_told(predictions)]
            lines.append(f"| {' | '.join(cells)} |")
    return _table(("trained on", "predictions of", "patients", "predictions", *STATISTICS), lines, left=3)


def short_quality_table() -> str:
    """What the mean of five networks says, of patients like those of the training and of others; '' without results."""
    lines = []
    for (trained, kind), words in KINDS.items():
        if predictions := _by_kind(trained, "five_networks").get(kind):
            patients = len(np.unique(predictions["patient"]))
            cells = [f"{_once(STATISTICS[name][0], predictions):.2f}" for name in SHORT]
            lines.append(f"| {TRAINED[trained]} | {patients} {words} | {' | '.join(cells)} |")
    return _table(("trained on", "held-out patients", *SHORT.values()), lines, left=2)


def _by_kind(trained: str, networks: str, cleaned: str = "") -> dict[str, Predictions]:
    path = FOLDER / "quality" / f"{trained}_{networks}{cleaned}.json"
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


def _correlation(key: str, sign: int = 1, of_found: bool = False) -> Statistic:
    """Spearman's, with the Dice; `of_found`: of organs that were found."""

    def statistic(predictions: Predictions, counts: np.ndarray) -> np.ndarray:
        if of_found:
            counts = counts * predictions["found"]
        ranks = [_ranks(sign * predictions[key], counts), _ranks(predictions["dice"], counts)]
        centred = [each - _mean(each, counts)[:, None] for each in ranks]
        covariance, *variances = (_mean(a * b, counts) for a, b in (centred, centred[:1] * 2, centred[1:] * 2))
        return _share(covariance, np.sqrt(variances[0] * variances[1]))

    return statistic


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws, predictions): mean rank of a value among those drawn, in each draw."""
    distinct, index = np.unique(values, return_inverse=True)
    of_value = np.stack([np.bincount(index, each, len(distinct)) for each in counts])
    return (np.cumsum(of_value, 1) - (of_value - 1) / 2)[:, index]


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return _share((values * counts).sum(1), counts.sum(1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _error(predictions: Predictions, counts: np.ndarray) -> np.ndarray:
    return _mean(np.abs(predictions["predicted"] - predictions["dice"]), counts)


def _inside(predictions: Predictions, counts: np.ndarray) -> np.ndarray:
    """Of organs that were found: of others there is no volume to be right about."""
    return _mean(predictions["inside"], counts * predictions["found"])


def _flagged(of_worst: bool) -> Statistic:
    def statistic(predictions: Predictions, counts: np.ndarray) -> np.ndarray:
        dice, total = predictions["dice"], counts.sum(1)
        order = np.argsort(dice, kind="stable")
        number = np.maximum(1, np.round(WORST * total))
        limits = dice[order][(np.cumsum(counts[:, order], 1) >= number[:, None]).argmax(1)]
        return _mean(predictions["look"], counts * ((dice <= limits[:, None]) == of_worst))

    return statistic


STATISTICS: dict[str, tuple[Statistic, int]] = {  # column -> what it is, and its digits
    "Spearman": (_correlation("predicted"), 2),
    "of organs found": (_correlation("predicted", of_found=True), 2),
    "expected Dice alone": (_correlation("expected_dice"), 2),
    "mean entropy alone": (_correlation("entropy", -1), 2),
    "mean error": (_error, 3),
    "volumes inside": (_inside, 2),
    "worst tenth flagged": (_flagged(True), 2),
    "others flagged": (_flagged(False), 2),
}
SHORT = {
    "Spearman": "rank correlation of predicted and true Dice",
    "of organs found": "of organs that were found",
    "expected Dice alone": "of the expected Dice alone",
    "volumes inside": "volumes inside",
    "worst tenth flagged": "worst tenth flagged",
    "others flagged": "others flagged",
}  # of the columns those that docs/quality.md shows, in its words


def _once(statistic: Statistic, predictions: Predictions) -> float:
    return float(statistic(predictions, np.ones((1, len(predictions["dice"]))))[0])


def _told(predictions: Predictions) -> list[str]:
    """Every statistic with its 95 % interval, patients drawn again."""
    names, patient = np.unique(predictions["patient"], return_inverse=True)
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    counts = np.stack([np.bincount(each, minlength=len(names)) for each in drawn])[:, patient]
    told = []
    for statistic, digits in STATISTICS.values():
        low, high = np.nanquantile(statistic(predictions, counts), [0.025, 0.975])
        told.append(f"{_once(statistic, predictions):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
    return told
