"""Style: every text can be read on every ground that it stands on, by day and by night, and prints are light."""

import re

import pytest

TEXTS, GROUNDS = ("ink", "quiet"), ("paper", "ground", "bar", "warned")


@pytest.fixture(scope="module")
def style(request):
    return (request.config.rootpath / "nnunetv2_cdpd/pages/style.css").read_text()


def colours(block):
    return dict(re.findall(r"--([\w-]+): (#\w+);", block))


def schemes(style):
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return {"light": colours(light), "dark": colours(light) | colours(dark)}


def luminance(colour):
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """As WCAG 2 defines it, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_known_colours():
    assert contrast("#fff", "#000000") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(style, scheme):
    its = schemes(style)[scheme]
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [(text, ground) for text in ("accent", "bad", "good") for ground in ("paper", "ground")]
    low = {pair: round(contrast(its[pair[0]], its[pair[1]]), 2) for pair in pairs if contrast(its[pair[0]], its[pair[1]]) < 4.5}
    assert not low
    assert all(contrast(its[curve], its["paper"]) >= 3 for curve in ("curve-1", "curve-2"))


def test_dark_is_its_own_scheme_and_never_printed(style):
    its = schemes(style)
    assert luminance(its["dark"]["paper"]) < 0.02 and its["light"]["paper"] == "#fff"
    assert set(its["light"]) == set(colours(re.findall(r":root \{(.*?)\}", style, re.DOTALL)[1]))
    assert "@media screen and (prefers-color-scheme: dark)" in style and style.count("prefers-color-scheme") == 1


def test_marks_of_charts_have_the_colours_of_the_scheme(style):
    for rule in re.findall(r"^\.(?:chart|curve)[^{]*\{[^}]*\}", style, re.MULTILINE):
        assert not re.search(r"#[0-9a-f]{3,6}\b", rule), rule
