"""Tables: numbers as text, rows as aligned lines for people and as CSV for programs."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # at the start of a text


def aligned(rows: Sequence[Sequence[str]], left: int = 1, last_is_total: bool = True) -> list[str]:
    """Rows as lines, the first columns to the left, the others to the right; a rule below the head.

    Args:
        left: Number of columns that are words.
        last_is_total: Also a rule above the last row.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:left], widths)]
        numbers = [cell.rjust(width) for cell, width in zip(row[left:], widths[left:])]
        lines.append("  ".join([*words, *numbers]).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:-1], *([rule] if last_is_total else []), lines[-1]]


def csv_of(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as the text of a CSV file; a text that a spreadsheet would run begins with an apostrophe, numbers stay as they are."""
    return "".join(f"{_csv_line([_guarded(cell) for cell in row])}\n" for row in rows)


def _csv_line(row: Sequence[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(row)  # so that it quotes both characters in a text
    return file.getvalue().removesuffix("\r\n")


def _guarded(cell: Any) -> Any:
    # as https://owasp.org/www-community/attacks/CSV_Injection says; some programs take the full-width signs as well
    if not isinstance(cell, str) or not cell.startswith(RUN_BY_SPREADSHEETS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell  # a number that came as text


def number(value: float, digits: int) -> str:
    """A rounded number; "-" where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def interval(limits: tuple[float, float], digits: int = 3) -> str:
    """A confidence interval; "-" where there is none."""
    return f"{limits[0]:.{digits}f}..{limits[1]:.{digits}f}" if math.isfinite(limits[0]) else "-"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
