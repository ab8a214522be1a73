"""Values: numbers of result files within sentences, between two marks that name them and that no reader of a page sees.

    was <!-- value demo_seeded_mean_dice -->0.913<!-- end --> in each run

A mark must not begin a line: Markdown would take the line for HTML.
"""

import re

from demo_tables import demo_values

VALUE = re.compile(r"(<!-- value (\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)


def values() -> dict[str, str]:
    """Name -> text, of all that has results."""
    return demo_values()


def with_values(text: str, made: dict[str, str]) -> str:
    """A text with the values that its marks name.

    Raises:
        ValueError: A mark names no value, begins a line, or has no end.
    """
    if text.count("<!-- value ") != len(VALUE.findall(text)):
        raise ValueError("a mark of a value without its end: <!-- value NAME -->...<!-- end -->")
    if line := re.search(r"^ *<!-- (?:value |end -->).*", text, re.MULTILINE):
        raise ValueError(f"a mark begins a line, which Markdown takes for HTML: {line[0][:60]}")
    if unknown := {name for _, name, _, _ in VALUE.findall(text)} - made.keys():
        raise ValueError(f"no results for value {', '.join(sorted(unknown))}")
    return VALUE.sub(lambda match: match[1] + made[match[2]] + match[4], text)
