"""Tables: the quality of predictions as JSON and CSV."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nnunetv2_cdpd.jobs.shapes import FLAG, NAME, NUMBER, OBJECT, list_of, map_of, none_or, record
from nnunetv2_cdpd.jobs.tables import csv_of
from nnunetv2_cdpd.quality.model import ClassQuality, QualityModel

Judged = Mapping[str, Mapping[str, ClassQuality]]  # case -> class -> what is to be expected
_DIGITS = {"predicted_dice": 4, "volume_ml": 6, "volume_low_ml": 3, "volume_high_ml": 3}
_CLASS = record(
    {
        "present": FLAG,
        "predicted_dice": NUMBER,
        "volume_ml": none_or(NUMBER),
        "volume_low_ml": none_or(NUMBER),
        "volume_high_ml": none_or(NUMBER),
        "look": FLAG,
        "why": list_of(NAME),
    }
)
QUALITY_JSON = record({"calibration": OBJECT, "cases": map_of(map_of(_CLASS, "an object of classes"), "an object of cases")})


def quality_json(judged: Judged, model: QualityModel) -> dict[str, Any]:
    """JSON-able: what is to be expected of each case and class, and by which calibration."""
    calibration = {
        "cases": model.cases,
        "folds": dict(model.folds),
        "worst_score": round(model.flags.worst_score, 4),
        "caught": round(model.flags.caught, 4),
        "false_alarms": round(model.flags.false_alarms, 4),
        "found": {name: None if value is None else round(value, 4) for name, value in model.found.items()},
    }
    cases = {case: {name: _rounded(its) for name, its in classes.items()} for case, classes in judged.items()}
    return {"calibration": calibration, "cases": cases}


def quality_csv(judged: Judged) -> str:
    """A row per case and class, the lowest predicted Dice first."""
    rows = [(case, name, _rounded(its)) for case, classes in judged.items() for name, its in classes.items()]
    rows.sort(key=lambda row: row[2]["predicted_dice"])
    columns = [key for key in ClassQuality.__dataclass_fields__ if key != "why"]
    # flags as 1 and 0, which every program reads
    numbers = ([int(v) if isinstance(v, bool) else v for v in (its[key] for key in columns)] for _, _, its in rows)
    body = [[case, name, *cells, "; ".join(its["why"])] for (case, name, its), cells in zip(rows, numbers)]
    return csv_of([["case", "class", *columns, "why"], *body])


def _rounded(quality: ClassQuality) -> dict[str, Any]:
    plain = asdict(quality) | {"why": list(quality.why)}
    return {k: round(v, _DIGITS[k]) if k in _DIGITS and v is not None else v for k, v in plain.items()}
