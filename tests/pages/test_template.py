"""Templates: what a page shows is escaped, and what it lacks is told."""

import pytest
from jinja2 import UndefinedError

from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.pages.template import write_html

PLAIN = {"figures": [("<1>", "a & b")], "datasets": ["<i>"], "anchors": {}, "flagged": {}, "shown_pairs": []}


class Nothing:
    listing = ("</p><script>",)
    findings = classes = geometry = pairs = ()


def test_text_is_escaped_wherever_it_stands(tmp_path):
    page = tmp_path / "page.html"
    write_html(page, "audit/page.html", title="</title>", palette=Palette.of(["liver"]), audit=Nothing(), **PLAIN)
    html = page.read_text()
    for text in ("&lt;1&gt;", "a &amp; b", "&lt;i&gt;", "&lt;/p&gt;&lt;script&gt;", "<title>&lt;/title&gt;</title>"):
        assert text in html
    assert html.count("<script>") == 1 and ".c1 { --colour: #" in html


def test_style_and_script_stand_in_the_page_as_they_are(tmp_path, request):
    page = tmp_path / "page.html"
    write_html(page, "audit/page.html", title="T", palette=Palette({}), audit=Nothing(), **PLAIN)
    pages = request.config.rootpath / "nnunetv2_cdpd" / "pages"
    for name in ("style.css", "script.js"):
        assert (pages / name).read_text() in page.read_text()


def test_a_name_that_a_template_lacks_is_an_error_and_no_page(tmp_path):
    with pytest.raises(UndefinedError, match="figures"):
        write_html(tmp_path / "page.html", "audit/page.html", title="T", palette=Palette({}))
    assert not list(tmp_path.iterdir())
