"""Templates: plain data in, HTML out, by jinja2; what is text is escaped there and nowhere else."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnunetv2_cdpd import __version__

_FOLDER = "templates"


def render(name: str, **content: Any) -> str:
    """A page.

    Args:
        name: Of a template, "report.html".
        content: What it shows.
    """
    return _environment().get_template(name).render(content)


def render_part(name: str, *content: Any) -> str:
    """What a macro of parts.html makes of its arguments."""
    return str(getattr(_environment().get_template("parts.html").module, name)(*content))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nnunetv2_cdpd.pages", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Ours, not text from outside: they stand in <style> and <script>, where nothing may be escaped.
    for variable, file in (("style", "style.css"), ("script", "script.js")):
        environment.globals[variable] = files("nnunetv2_cdpd.pages").joinpath(_FOLDER, file).read_text(encoding="utf-8")
    environment.globals["version"] = __version__
    return environment
