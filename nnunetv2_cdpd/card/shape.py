"""The form of a card's JSON, which is checked wherever one is read; docs/card.md tells what its entries mean."""

from nnunetv2_cdpd.jobs.shapes import ANYTHING, FLAG, NUMBER, TEXT, Shape, list_of, map_of, none_or, record, whole_number

CARD_VERSION = 1
_TEXTS = list_of(TEXT)
_TEXT = none_or(TEXT)
_SHA256 = Shape("a SHA-256", lambda value: isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"))
_ALLOWS = record(dict.fromkeys(("commercial", "research", "redistribution"), none_or(FLAG)))
_SCORE = {"dice": none_or(NUMBER), "interval": none_or(list_of(NUMBER, 2, 2))}
_COUNT = none_or(whole_number())
_PACKAGES = list_of(record({"name": TEXT, "version": TEXT, "license": _TEXT}))
_SOURCE = {
    "name": TEXT,
    "cases": _COUNT,
    "classes": _TEXTS,
    "merged_labels": map_of(_TEXTS, "an object of merged labels"),
    "license": _TEXT,
    "license_names": _TEXTS,
    "license_note": _TEXT,
    "allows": _ALLOWS,
    "reference": _TEXT,
    "link": _TEXT,
}
_WEIGHTS = {
    "part": TEXT,
    "name": TEXT,
    "origin": TEXT,
    "needs_license": FLAG,
    "sha256": _TEXTS,
    "license": _TEXT,
    "note": _TEXT,
}
_FOLD = {"name": TEXT, "checkpoint": _TEXT, "sha256": none_or(_SHA256), "epochs": _COUNT, "finished": FLAG}
_MODEL = {
    "name": TEXT,
    "dataset": TEXT,
    "description": _TEXT,
    "trainer": _TEXT,
    "plans": _TEXT,
    "configuration": _TEXT,
    "network": _TEXT,
    "channels": _TEXTS,
    "imported": FLAG,
    "folds": list_of(record(_FOLD)),
}
_SCORES = {
    "protocol": TEXT,
    "folds": _TEXTS,
    "files": list_of(record({"name": TEXT, "sha256": _SHA256})),
    "cases": whole_number(),
    "classes": list_of(
        record({"name": TEXT, "cases": whole_number(), "present": whole_number(), "missed": whole_number(), **_SCORE})
    ),
    "sources": list_of(record({"name": TEXT, "cases": whole_number(), **_SCORE})),
    **_SCORE,
}
CARD = record(
    {
        "card_version": whole_number(CARD_VERSION, CARD_VERSION),
        "made_by": TEXT,
        "date": TEXT,
        "model": record(_MODEL),
        "words": map_of(_TEXTS, "an object of lists of texts"),
        "classes": list_of(record({"name": TEXT, "value": whole_number(), "lies_in": _TEXTS, "annotated_by": _TEXTS}), 1),
        "sources": list_of(record(_SOURCE), 1),
        "left_out": none_or(record({"use": TEXT, "sources": list_of(record({"source": TEXT, "license": _TEXT, "why": TEXT}))})),
        "allows": _ALLOWS,
        "why_not": map_of(_TEXTS, "an object of lists of texts"),
        "share_alike": _TEXTS,
        "training": map_of(ANYTHING, "an object of settings"),
        "weights": list_of(record(_WEIGHTS)),
        "made_with": record({"python": _TEXT, "packages": _PACKAGES, "other_versions": _PACKAGES}),
        "scores": none_or(record(_SCORES)),
        "ensembles": list_of(record({"models": _TEXTS, "dice": none_or(NUMBER)})),
        "intended_use": _TEXTS,
        "limits": _TEXTS,
        "not_measured": _TEXTS,
        "not_known": _TEXTS,
    }
)
