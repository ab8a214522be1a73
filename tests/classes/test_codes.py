"""Codes of classes: each one is in the standard's own dictionary with its meaning, and none is of another structure."""

import pytest
from pydicom.sr._concepts_dict import concepts

from nnunetv2_cdpd.classes import CLASS_TABLE, OTHER_STRUCTURES, OWN_SCHEME, class_key, coded_class
from nnunetv2_cdpd.classes.codes import ABNORMAL, ABNORMALITIES, ANATOMY, SIDES, STRUCTURE_CODES
from nnunetv2_cdpd.classes.synonyms import SIDE, SYNONYMS, TUMOR_WORDS

STANDARD: dict[str, set[str]] = {}
for by_code in concepts["SCT"].values():
    for value, (meaning, _) in by_code.items():
        STANDARD.setdefault(value, set()).add(meaning.casefold())
NAMES = [
    *(entry.name for entry in (*CLASS_TABLE, *OTHER_STRUCTURES)),
    *(name.replace(SIDE, side) for name in SYNONYMS for side in ("left", "right")),
]


def test_every_code_is_one_of_the_standard_with_its_meaning():
    for code in (*STRUCTURE_CODES.values(), *ABNORMALITIES.values(), *SIDES.values(), ANATOMY, ABNORMAL):
        assert code.scheme == "SCT" and code.meaning.casefold() in STANDARD.get(code.value, ()), code
    assert set(ABNORMALITIES) == TUMOR_WORDS


def test_every_class_of_the_table_has_a_code_of_the_standard():
    without = [entry.name for entry in CLASS_TABLE if coded_class(entry.name).kind.scheme != "SCT"]
    assert without == []


def test_rows_name_classes_that_the_tables_know():
    known = {class_key(name)[:1] for name in NAMES}
    assert [name for name in STRUCTURE_CODES if class_key(name)[:1] not in known] == []


def test_only_names_of_one_structure_share_a_code():
    """A vessel of the liver is no vessel of anywhere; ribs, which the standard does not number, are ribs."""
    named: dict[tuple, set[str]] = {}
    for name in NAMES:
        coded = coded_class(name)
        named.setdefault((coded.kind, coded.side, coded.region, coded.region_side), set()).add(class_key(name)[:2])
    shared = {kind.meaning: keys for (kind, *_), keys in named.items() if len(keys) > 1}
    assert set(shared) == {"Rib", "Vein", "Neoplasm"}
    assert {base for base, _ in shared["Vein"]} == {class_key(name).base for name in ("veins", "portal_vein_and_splenic_vein")}
    assert {base for base, _ in shared["Neoplasm"]} == {class_key(name).base for name in ("liver_tumor", "hepatic_vessel_tumor")}


@pytest.mark.parametrize(
    ("name", "kind", "side", "region", "region_side"),
    [
        ("LKidney", "Kidney", "Left", None, None),
        ("Kidney_R", "Kidney", "Right", None, None),
        ("hepatic_vessel", "Blood Vessel", None, "Liver", None),
        ("kidney_tumor", "Neoplasm", None, "Kidney", None),
        ("left renal cyst", "Cyst", None, "Kidney", "Left"),
        ("hepatic_vessel_tumor", "Neoplasm", None, "Liver", None),
        ("brain metastases", "Neoplasm, Secondary", None, "Brain", None),
        ("lesion", "Lesion", None, None, None),
        ("atrial_appendage_left", "Left auricular appendage", None, None, None),
        ("vertebrae_L3", "L3 vertebra", None, None, None),
        ("liver@KITS", "Liver", None, None, None),
    ],
)
def test_a_class_is_what_its_name_says(name, kind, side, region, region_side):
    coded = coded_class(name)
    assert [part and part.meaning for part in coded[1:]] == [kind, side, region, region_side]
    assert coded.category == (ABNORMAL if kind in {code.meaning for code in ABNORMALITIES.values()} else ANATOMY)


@pytest.mark.parametrize(
    "name", ["hip_left", "thing", "vertebrae_L6", "mystery_tumor", "heart_myocardium", "a" * 80, "Leber\\x", "肝"]
)
def test_what_the_standard_has_no_code_for_is_named_by_a_code_of_our_own(name):
    coded = coded_class(name)
    assert coded.kind.scheme == OWN_SCHEME and coded.kind.meaning == name and coded.side is coded.region is None
    assert 0 < len(coded.kind.value) <= 16 and coded.kind.value.isascii() and "\\" not in coded.kind.value
    assert coded.kind.value != coded_class(name + "x").kind.value
