"""Contents: the headings of a page, each with an anchor, in the order in which the page has them."""

import re

from markupsafe import Markup


class PageContents:
    """What a template calls for each of its headings; base.html lists them.

    entries: (anchor, text) of the headings so far.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def heading(self, text: str) -> Markup:
        """A heading as HTML; its anchor is made from its words."""
        anchor = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        self.entries.append((anchor, text))
        return Markup('<h2 id="{}">{}</h2>').format(anchor, text)
