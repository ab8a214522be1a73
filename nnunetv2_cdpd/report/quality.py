"""Page of predictions without references: what their quality is likely to be, the worst first (`cdpd predict --quality`)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnunetv2_cdpd.errors import amount
from nnunetv2_cdpd.inference.outputs import QUALITY
from nnunetv2_cdpd.jobs.shapes import read_shaped
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.pages.template import write_html
from nnunetv2_cdpd.quality.tables import QUALITY_JSON

MOST_ROWS = 500  # of a table, unless more are flagged


class QualityRow(NamedTuple):
    """One class of one case; its volume and the limits of it in ml are nan where nothing is known."""

    case: str
    name: str
    present: bool
    dice: float
    volume: float
    low: float
    high: float
    look: bool
    why: str


class QualityOfCase(NamedTuple):
    """A case: mean predicted Dice, the class with the lowest one, and how many classes are flagged."""

    case: str
    classes: int
    dice: float
    worst: str
    worst_dice: float
    flagged: int


def quality_file(folder: Path) -> Path:
    """Where a folder of predictions has their quality."""
    return folder / f"{QUALITY}.json"


def write_quality_page(folder: Path, page: Path, *, title: str, intro_lines: Sequence[tuple[str, str]] = ()) -> Path:
    """Write the page of a folder with quality.json.

    Args:
        intro_lines: Names and values that the page begins with.

    Raises:
        UserError: The file is damaged, or the page would take the place of a file that is none of ours.
    """
    content = read_shaped(quality_file(folder), QUALITY_JSON, "predict again with --quality")
    cases: Mapping[str, Any] = content["cases"]
    rows = [_row(case, name, its) for case, classes in cases.items() for name, its in classes.items()]
    rows.sort(key=lambda row: row.dice)
    flagged = sum(row.look for row in rows)
    shown = [row for number, row in enumerate(rows) if row.look or number < MOST_ROWS]
    calibration = content["calibration"]
    write_html(
        page,
        "report/quality.html",
        title=title,
        palette=Palette.of(dict.fromkeys(row.name for row in rows)),
        facts=[*intro_lines, *_facts(calibration)],
        figures=[
            (str(len(cases)), "cases"),
            (str(flagged), f"of {amount(len(rows), 'structure')} to look at"),
            (str(sum(any(its["look"] for its in classes.values()) for classes in cases.values())), "cases with one of them"),
        ],
        cases=sorted((_of_case(case, rows) for case in cases), key=lambda its: (-its.flagged, its.dice)),
        rows=shown,
        left_out=len(rows) - len(shown),
    )
    return page


def _row(case: str, name: str, its: Mapping[str, Any]) -> QualityRow:
    volume, low, high = (math.nan if its[key] is None else its[key] for key in ("volume_ml", "volume_low_ml", "volume_high_ml"))
    return QualityRow(case, name, its["present"], its["predicted_dice"], volume, low, high, its["look"], ", ".join(its["why"]))


def _of_case(case: str, rows: Sequence[QualityRow]) -> QualityOfCase:
    its = [row for row in rows if row.case == case]
    worst = min(its, key=lambda row: row.dice, default=None)
    mean = sum(row.dice for row in its) / len(its) if its else math.nan
    flagged = sum(row.look for row in its)
    return QualityOfCase(case, len(its), mean, worst.name if worst else "", worst.dice if worst else math.nan, flagged)


def _facts(calibration: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the calibration that judged says of itself."""
    words = {
        "cases": "{} validation cases",
        "caught": "{:.0%} of the worst tenth flagged",
        "false_alarms": "{:.0%} of the others",
    }
    told = [text.format(calibration[key]) for key, text in words.items() if isinstance(calibration.get(key), (int, float))]
    return [("Calibration", ", ".join(told))] if told else []
