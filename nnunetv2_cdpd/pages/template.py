"""Template: a page from data and its template, which lies beside the code that makes the data; all text is escaped."""

import math
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.jobs.tables import interval, number, p_value
from nnunetv2_cdpd.pages.contents import PageContents
from nnunetv2_cdpd.pages.mistakes import MISTAKE_KINDS
from nnunetv2_cdpd.pages.palette import Palette

# What the browser holds a page to: nothing is fetched, whatever a script in it asks for
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_MADE_BY = b"<footer>Made by nnunetv2-cdpd"  # of pages/base.html


def check_page(path: Path) -> None:
    """Raise UserError if a page would take the place of a file that is no page of ours; to be asked before long work."""
    if not path.is_dir():
        check_may_write([path], made_here=_is_our_page(path), way_out="give another file")


def _is_our_page(path: Path) -> bool:
    try:
        return _MADE_BY in path.read_bytes()
    except OSError:
        return False


def write_html(path: Path, template: str, *, title: str, palette: Palette, **data: Any) -> None:
    """Write a page.

    Args:
        template: By its path in the package, like "report/page.html"; it extends "pages/base.html".
        palette: Of all classes that the page names.
        data: What the template shows; a name that it lacks is an error.

    Raises:
        UserError: See `check_page`.
    """
    check_page(path)
    page = _environment().get_template(template)
    today = date.today().isoformat()
    html = page.render(title=title, palette=palette, contents=PageContents(), version=__version__, date=today, **data)
    write_text(path, html.encode("utf-8", "backslashreplace").decode())  # names of files need not be text


def text_of(template: str, escape: Callable[[Any], Any], filters: Mapping[str, Callable[[Any], Any]], **data: Any) -> str:
    """A text that is no HTML.

    Args:
        template: By its path in the package, like "card/card.md".
        escape: Makes of every value what the template's language shows as it is.
        filters: Of the template, by their names in it.
        data: What the template shows; a name that it lacks is an error.
    """
    environment = Environment(
        loader=PackageLoader("nnunetv2_cdpd", "."),
        autoescape=False,
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(template).render(**data)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nnunetv2_cdpd", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"verbatim": _verbatim, "policy": POLICY, "mistake_kinds": MISTAKE_KINDS}
    environment.filters |= {"interval": interval, "number": number, "p_value": p_value, "sort_key": _sort_key}
    environment.tests["finite"] = math.isfinite
    return environment


def _verbatim(name: str) -> Markup:
    """A file of the package as it is: code may hold what a template would take for its own."""
    return Markup((Path(__file__).parents[1] / name).read_text(encoding="utf-8"))


def _sort_key(value: float) -> str:
    """What a table sorts by; empty where there is no number."""
    return f"{value:.6g}" if math.isfinite(value) else ""
