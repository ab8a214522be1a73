"""README.md: a number that somebody measured stands between marks, so that it is that of a result file (`test_evidence`)."""

import re

import pytest
from builders.project import CLONE

# What stands between these is written by `python benchmarks/evidence write`, or is no prose
NO_PROSE = (
    r"<!-- table (\w+) -->.*?<!-- end of table \1 -->",
    r"<!-- value \w+ -->.*?<!-- end -->",
    r"^```.*?^```",  # commands
    r"`[^`\n]*`",  # names
    r"(?<=\])\([^)\s]*\)",  # where links lead
)
# Numbers that nobody measured, and why; each has to be found in the README
NOT_MEASURED = {
    r"arXiv \d{4}\.\d{5}": "a paper",
    r"Nature Methods 20\d\d": "a paper",
    r"Python 3\.\d+ or newer; nnunetv2 2\.8 or newer": "what setup.cfg asks for",
    r"from five cases on": "what `cdpd extend` asks for",
    r"AdamW 4e-4": "a setting",
    r"for prediction without a GPU: 3 mm": "a setting",
    r"a GPU of 8 GB \( 24,  40\)": "settings",
    r"text scale starts at 1;|starts around 0 with": "initial values of weights",
    r"the last 12 of 96 slices": "what the released code does",
}
_WORDS = "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty hundred half".split()
_UNITS = "seconds? minutes? hours? days? GiB MiB GB MB percent points patients volumes cases classes runs times voxels".split()
# A number that is no part of a name (HD95, x86_64, ViT-S/14), or one in words with a unit soon after it
MEASUREMENT = re.compile(
    r"(?<![\w.^/])(?<!\w-)\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?![\w^/-])"
    rf"|\b(?:{'|'.join(_WORDS)})\b(?=(?:[ \n]+[\w,-]+){{0,3}}?[ \n]+(?:per cent|{'|'.join(_UNITS)})\b)",
    re.IGNORECASE,
)


def measurements(text, not_measured=tuple(NOT_MEASURED)):
    """Numbers of the prose of a page that are not written from result files and not known to be something else."""
    for pattern in (*NO_PROSE, *not_measured):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
    return [text[max(0, match.start() - 40) : match.end() + 20] for match in MEASUREMENT.finditer(text)]


def test_measured_numbers_of_the_readme_come_from_result_files():
    assert measurements((CLONE / "README.md").read_text()) == [], (
        "write it between marks (see benchmarks/evidence/values.py); what nobody measured: into NOT_MEASURED, with the reason"
    )


@pytest.mark.parametrize(
    "text",
    [
        "the mean Dice was 0.913",
        "a run takes 12 minutes",
        "about ten CPU minutes",
        "on nine unseen, fully labelled volumes",
        "needs 3.4 GiB",
        "gains 22 % of them, 1.5 times as many",
        "| ours | 0.7 |",
        "a loss of -3 points",
    ],
)
def test_measured_numbers_are_found(text):
    assert measurements(text)


@pytest.mark.parametrize(
    "text",
    [
        "was <!-- value demo_seeded_mean_dice -->0.908 and\n0.913<!-- end --> in",
        "<!-- table demo -->\n| run |\n|---:|\n| 3 |\n<!-- end of table demo -->",
        "```\npip install -d 301\n```\n\n`CDPD_N=3`, ViT-S/14, HD95, x86_64, AVX2, 3D, DINOv2 [text](docs/a.md#3)",
        "AdamW 4e-4 (arXiv 2505.18958), one of two datasets",
    ],
)
def test_other_numbers_are_passed_over(text):
    assert measurements(text) == []


@pytest.mark.parametrize("pattern", NOT_MEASURED)
def test_what_is_passed_over_is_there(pattern):
    assert measurements((CLONE / "README.md").read_text(), [other for other in NOT_MEASURED if other != pattern])
