"""Tables of a page as data: columns and cells; parts.html draws them, script.js sorts them by a click on the head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.jobs.tables import number


@dataclass(frozen=True)
class Column:
    """remark: Small, below the name."""

    name: str
    remark: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell.

    sort: By what its column is sorted; None: by its text.
    share: How far a bar fills it, 0 ... 1.
    colour: Of a class, before the text.
    link: Id on the page that the text leads to.
    is_head: The name of its row.
    """

    text: str
    sort: str | None = None
    css: str = ""
    remark: str = ""
    share: float | None = None
    colour: str = ""
    link: str = ""
    columns: int = 1
    is_head: bool = False


@dataclass(frozen=True)
class Table:
    """foot: A last row that stays there."""

    head: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Cell] = ()
    css: str = ""


def columns(*names: str | tuple[str, str]) -> tuple[Column, ...]:
    """A head of names, some with a remark."""
    return tuple(Column(name) if isinstance(name, str) else Column(*name) for name in names)


def row_head(text: str, colour: str = "", link: str = "") -> Cell:
    return Cell(text, colour=colour, link=link, is_head=True)


def words(text: str, colour: str = "", link: str = "", sort: str | None = None) -> Cell:
    return Cell(text, sort, "words", colour=colour, link=link)


def value(amount: float, digits: int, css: str = "") -> Cell:
    """A number that sorts by its full value."""
    return Cell(number(amount, digits), sort_key(amount), css)


def count(amount: int, css_unless_0: str = "") -> Cell:
    return value(amount, 0, css_unless_0 if amount else "")


def bar(share: float, digits: int = 3, remark: str = "") -> Cell:
    """A number that fills its cell as far as it goes from 0 to 1."""
    return Cell(number(share, digits), sort_key(share), "score", remark, share=float(np.nan_to_num(share)))


def sort_key(amount: float) -> str:
    return f"{amount:.6g}" if np.isfinite(amount) else ""
