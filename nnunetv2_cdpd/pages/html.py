"""HTML: small pieces that every part of the page uses."""

from collections.abc import Iterable
from html import escape

import numpy as np

from nnunetv2_cdpd.evaluation.tables import number


def swatch(colour: str) -> str:
    """A class's colour before its name."""
    return f'<span class="swatch" style="background: {colour}"></span>'


def head_row(cells: Iterable[tuple[str, str]]) -> str:
    """A table head of names, each with a small remark or ""."""
    return "".join(
        f'<th scope="col">{escape(name)}{f"<small>{escape(remark)}</small>" if remark else ""}</th>' for name, remark in cells
    )


def cell(value: float, digits: int, remark: str = "", css: str = "") -> str:
    """A number that sorts by its full value; the remark is HTML."""
    return f"<td{_attributes(value, css)}>{number(value, digits)}{remark}</td>"


def bar_cell(share: float, digits: int = 3, remark: str = "") -> str:
    """A number that fills its cell as far as it goes from 0 to 1."""
    style = f'style="--share: {100 * np.nan_to_num(share):.1f}%"'
    return f"<td{_attributes(share, 'score')} {style}>{number(share, digits)}{remark}</td>"


def table(head: str, rows: Iterable[str], foot: str = "", css: str = "") -> str:
    """A table whose head sorts it; foot: cells of a last row that stays there."""
    foot = f"\n<tfoot><tr>{foot}</tr></tfoot>" if foot else ""
    body = "\n".join(rows)
    return f"""<div class="table"><table class="sortable {css}">
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>{foot}
</table></div>"""


def _attributes(value: float, css: str) -> str:
    sort = f' data-value="{value:.6g}"' if np.isfinite(value) else ' data-value=""'
    return sort + (f' class="{css}"' if css else "")
