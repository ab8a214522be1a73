"""What must not be in a card: patients' names, case identifiers, paths; and what texts of others cannot do to it."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from builders.card import ANNOTATION, CASES, write_summary, write_trained

from nnunetv2_cdpd.annotation import Source
from nnunetv2_cdpd.card.components import components_json
from nnunetv2_cdpd.card.files import card_of, write_card
from nnunetv2_cdpd.card.markdown import card_markdown
from nnunetv2_cdpd.card.shape import CARD
from nnunetv2_cdpd.card.text import Plain, escaped, plain_cases
from nnunetv2_cdpd.errors import has_control
from nnunetv2_cdpd.jobs.shapes import check_shape

EVIL = "<script>alert(1)</script> [x](javascript:alert(1)) ![i](http://e/i.png) | a | **b** `c` \u202e\x1b[31m\x00 <!-- "
PLANTED = ("DOE_JANE_19500101", "ROE^RICHARD", "/data/jane", "janes-machine", "secret_folder", "C:\\", "wing-7")


def files_of(made):
    return {"json": json.dumps(made, ensure_ascii=False), "md": card_markdown(made), "cdx": components_json(made)}


def test_no_patient_case_or_path_is_in_any_file(tmp_path):
    case_source = {"DOE_JANE_19500101": "LiTS", "ROE^RICHARD": "Organs", **CASES}
    sources = tuple(
        replace(source, reference=f"scans of DOE_JANE_19500101 in /home/secret_folder/x, see https://example.org/a/b ({n})")
        for n, source in enumerate(ANNOTATION.sources)
    )
    sources = (replace(sources[0], license="C:\\secret_folder\\license.txt"), *sources[1:])
    entries = {case: {"images": [f"/data/jane/secret_folder/{case}.nii.gz"], "label": f"labelsTr/{case}"} for case in case_source}
    model = write_trained(
        tmp_path / "secret_folder" / "m",
        annotation=replace(ANNOTATION, sources=sources, case_source=case_source),
        dataset=entries,
        description="Merged for ROE^RICHARD from /mnt/nas/wing-7/secret_folder and ~/secret_folder, file:///data/jane/x",
    )
    CASES_WITH = {"DOE_JANE_19500101": {"liver": 0.5}}
    CASES.update(DOE_JANE_19500101="LiTS")
    try:
        write_summary(model / "fold_0/validation", CASES_WITH)
    finally:
        del CASES["DOE_JANE_19500101"]
    made = card_of(model)[1]
    assert made["scores"]["cases"] == 1
    found = {(name, kind) for name in (*PLANTED, *CASES, str(tmp_path)) for kind, text in files_of(made).items() if name in text}
    assert found == set()
    assert "https://example.org/a/b" in files_of(made)["json"]  # what is no path of a disk stays
    write_card(made, model, model, pytest.fail)
    written = "".join(path.read_text() for path in sorted(model.glob("cdpd_*")))
    written += json.dumps(json.loads((model / "dataset_fingerprint.json").read_text())["cdpd_card"])
    assert [name for name in (*PLANTED, *CASES, str(tmp_path)) if name in written] == []


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_hostile_texts_stay_texts_of_bounded_length(tmp_path):
    markdown_it = pytest.importorskip("markdown_it")
    seen = "".join(letter for letter in EVIL if not has_control(letter))  # names with others are refused where they are read
    names = {"liver": f"liver {seen}", "spleen": "spleen\n\n# Heading\n- item"}
    annotation = replace(
        ANNOTATION,
        classes=tuple(names.get(name, name) for name in ANNOTATION.classes),
        sources=(
            Source("LiTS", (names["liver"], "liver_tumor"), license=EVIL * 200, reference="x" * 10_000),
            ANNOTATION.sources[1],
            Source(f"Organs {seen}", (names["liver"], names["spleen"], "right_kidney", "left_kidney"), reference="\ud800 1. one"),
        ),
        case_source={case: f"Organs {seen}" if source == "Organs" else source for case, source in CASES.items()},
    )
    model = write_trained(tmp_path / "m", annotation=annotation, description=EVIL * 500, name=EVIL)
    debug = json.loads((model / "fold_0/debug.json").read_text())
    debug |= {"gpu_name": EVIL, "num_epochs": EVIL, "torch_version": EVIL}
    (model / "fold_0/debug.json").write_text(json.dumps(debug))
    made = card_of(model, words={"description": [EVIL], "limits": ["# not a heading", "- no list", "1. no number"]})[1]
    check_shape(made, CARD, "card", "-")
    files = files_of(made)
    longest = max(len(text) for text in strings(made))
    assert longest < 400 and max(map(len, files.values())) < 40_000
    assert not any(sign in text for text in files.values() for sign in ("\u202e", "\x1b", "\x00", "\ud800"))
    assert "num_epochs" not in made["training"]
    html = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(files["md"].split("\n---\n", 1)[1])
    tags = Tags()
    tags.feed(html)
    kinds = {tag for tag, _ in tags.found}
    assert kinds <= {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    headings = [line for line in files["md"].splitlines() if line.startswith("#")]
    assert len(headings) == sum(tag in ("h1", "h2") for tag, _ in tags.found) == 11
    tables = [line for line in files["md"].splitlines() if line.startswith("| 1 |")]
    assert len(tables) == 1  # the row of the liver, with as many cells as its head
    assert html.count("<td") == sum(len(row) for row in cells(html))
    assert len({len(row) for row in cells(html) if row and row[0] in "12345"}) == 1


def strings(value):
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    return [value] if isinstance(value, str) else []


def cells(html):
    """Cells of each row of the body of each table."""
    return [[cell.split("<", 1)[0].split(">")[-1] for cell in row.split("<td")[1:]] for row in html.split("<tr>") if "<td" in row]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("CT of DOE_JANE_1950 in /home/jane doe/data, ok", "CT of [case] in [path], ok"),
        ("C:\\Users\\x y\\z; ok", "[path]; ok"),
        ("\\\\server\\share\\x", "[path]"),
        ("path=/home/q", "path=[path]"),
        ("(/mnt/a/b)", "([path])"),
        ("https://a.b/c/d and doi:10.1/x, n/a, 1/2/3", "https://a.b/c/d and doi:10.1/x, n/a, 1/2/3"),
        ("a\x00b\nc\td\ud800e", "a b c d e"),
        ("y" * 500, f"{'y' * 300}…"),
    ],
)
def test_plain_texts(text, plain):
    assert plain_cases(["DOE_JANE_1950", "DOE", "a"])(text) == plain
    assert Plain().name("x" * 500) == f"{'x' * 100}…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("right_kidney", "right_kidney"),
        ("_x_", "\\_x\\_"),
        ("- x", "\\- x"),
        ("---", "\\---"),
        ("1. x", "1\\. x"),
        ("0.5", "0.5"),
        ("a|b<c>", "a\\|b\\<c\\>"),
        ("# a", "\\# a"),
        ("-0.5", "-0.5"),
        ("a\n\n# b", "a \\# b"),
        (12, "12"),
    ],
)
def test_escaped_texts(text, expected):
    assert escaped(text) == expected
