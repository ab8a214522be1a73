"""OpenKBP: what benchmarks/openkbp.py found, a file per trainer, and the table of all of them."""

import json
from typing import Any

import numpy as np
from patients import ORGANS
from results import FOLDER, mean_of_known, versions, write_json

METRICS = {"Dice": ("Dice", 3), "HD95_mm": ("HD95 mm", 1), "SurfaceDice": ("surface Dice at 3 mm", 3)}  # heading, digits
PREDICTED, CLEANED = KINDS = "predicted", "cleaned"
Scores = dict[str, dict[str, dict[str, float | None]]]  # patient -> organ -> metric; None: infinite, nothing predicted


def write_scores(trainer: str, scores: dict[str, Scores], setting: dict[str, Any]) -> None:
    """scores: of what was predicted, and of what was cleaned, if it was."""
    content = {"trainer": trainer, "setting": setting, "versions": versions(), "scores": scores}
    write_json(FOLDER / "openkbp" / f"{trainer}.json", content)


def openkbp_table() -> str:
    """Dice and distances of each trainer and organ, with the columns that a file has something for; '' without files."""
    files = [json.loads(path.read_text()) for path in sorted((FOLDER / "openkbp").glob("*.json"))]
    means = {file["trainer"]: _means(file) for file in files}
    columns = [
        (kind, metric)
        for kind in KINDS
        for metric in METRICS
        if any(metric in organ for of in means.values() for organ in of.get(kind, {}).values())
    ]
    if not columns:
        return ""
    headings = [METRICS[metric][0] + (", cleaned" if kind == CLEANED else "") for kind, metric in columns]
    lines = [f"| trainer | organ | {' | '.join(headings)} |", f"|---|---|{'---:|' * len(columns)}"]
    for trainer, of in means.items():
        table = np.array(
            [[of.get(kind, {}).get(organ, {}).get(metric, np.nan) for kind, metric in columns] for organ in ORGANS], float
        )
        lines += [_line(trainer, organ, row, columns) for organ, row in zip(ORGANS, table)]
        lines.append(_line(trainer, "**mean**", mean_of_known(table, 0), columns))
    return "\n".join(lines)


def _line(trainer: str, organ: str, row: np.ndarray, columns: list[tuple[str, str]]) -> str:
    cells = ["" if np.isnan(value) else f"{value:.{METRICS[metric][1]}f}" for value, (_, metric) in zip(row, columns)]
    return f"| {trainer} | {organ} | {' | '.join(cells)} |"


def _means(file: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Of a kind, organ -> metric -> mean over patients, distances over those where something was predicted.

    A file of an earlier version, which kept no patients, holds these means as they were printed.
    """
    if file.get("as_printed"):
        return file["means"]
    return {
        kind: {
            organ: {metric: float(mean_of_known(_of(scores, organ, metric))) for metric in METRICS}
            for organ in ORGANS
            if any(organ in organs for organs in scores.values())
        }
        for kind, scores in file["scores"].items()
    }


def _of(scores: Scores, organ: str, metric: str) -> np.ndarray:
    """nan where it is infinite, as `cdpd evaluate` leaves it out of the mean."""
    return np.array([organs[organ][metric] for organs in scores.values() if organ in organs], float)
