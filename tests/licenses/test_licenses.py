"""The table of licenses, and which texts are names in it."""

import pytest

from nnunetv2_cdpd.conversion.registry import public_datasets
from nnunetv2_cdpd.conversion.source_terms import public_source, source_terms, stated_terms
from nnunetv2_cdpd.licenses import LICENSES, Terms, bound_by, read_terms


def test_every_identifier_without_a_prefix_is_one_of_spdx():
    spdx = pytest.importorskip("cyclonedx.spdx")
    assert [row.identifier for row in LICENSES if row.is_spdx and not spdx.is_supported_id(row.identifier)] == []
    assert all(read_terms(row.identifier).alternatives == ((row,),) for row in LICENSES)
    assert len({row.identifier for row in LICENSES}) == len(LICENSES)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("CC-BY-SA 4.0", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/licenses/by/4.0/deed.de?ref=chooser-v1", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/4.0", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)", "CC-BY-NC-SA-4.0"),
        ("The MIT License", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("GPL v3", "GPL-3.0-only"),
        ("CC BY-NC", "LicenseRef-CC-BY-NC"),
        ("for research only", "LicenseRef-research-only"),
        ("own data", "LicenseRef-own"),
    ],
)
def test_spellings_of_a_name(text, identifier):
    assert read_terms(text).identifiers == (identifier,)


@pytest.mark.parametrize(
    "text",
    [
        "CC BY 4.0?",
        "CC BY 4.0 (registration required)",
        "CC BY 4.0; images on request",
        "not MIT",
        "no MIT license",
        "MIT or ask us",
        "MIT OR ask us",
        "CC BY 4.0\nbut not for products",
        "see website",
        "unknown",
        "CC BY 5.5",
        "<b>MIT</b>",
        "MIT\u202e",
        "MIT 禁止商用",
        "CC BY 非商用 4.0",
        "https://creativecommons.org/licenses/by/4.0,not-for-products",
        "MIT " * 3000,
        "noncommercial " * 700 + "4",
    ],
)
def test_words_around_a_name_make_it_unknown_which_allows_nothing(text):
    terms = read_terms(text)
    assert terms.alternatives == ()
    assert [terms.allows(use) for use in ("commercial", "research", "redistribution")] == [None] * 3
    assert terms.why_not("research") == "its license is none that the table knows"


@pytest.mark.parametrize(
    ("text", "commercial", "research"),
    [
        ("CC BY 3.0", True, True),
        ("CC BY-SA 4.0", True, True),
        ("CC BY-NC 4.0", False, True),
        ("CC BY-NC-ND 4.0", False, True),  # section 2(a)(1)(B): adapted material may be made, not shared
        ("CC BY-ND 4.0", False, True),
        ("CC BY-ND 3.0", False, None),  # which does not let it be made
        ("GPL-3.0-only AND LicenseRef-research-only", False, True),
        ("CC-BY-NC-4.0 OR MIT", True, True),  # whoever uses it may choose
        ("CC-BY-NC-4.0 OR CC-BY-ND-3.0", False, True),
        ("own", True, True),
    ],
)
def test_what_a_license_allows(text, commercial, research):
    terms = read_terms(text)
    assert (terms.allows("commercial"), terms.allows("research")) == (commercial, research)


def test_why_a_use_is_not_allowed():
    assert read_terms(None).why_not("commercial") == "no license is stated"
    assert read_terms("CC BY-NC 4.0").why_not("commercial") == "CC-BY-NC-4.0 allows no commercial use"
    assert read_terms("CC BY-ND 4.0").why_not("commercial") == "CC-BY-ND-4.0 lets nothing adapted be passed on"
    assert read_terms("CC BY-ND 3.0").why_not("research") == "CC-BY-ND-3.0: whether it allows research use is not settled"


def test_of_several_that_bind_all_have_to_allow():
    both = bound_by([read_terms("CC BY-NC-ND 4.0"), read_terms("CC BY-SA 4.0")], "sources differ")
    assert (both.allows("commercial"), both.allows("research"), both.share_alike) == (False, True, ("CC-BY-SA-4.0",))
    assert both.spdx is None and both.text == "sources differ"
    assert bound_by([read_terms("MIT"), read_terms("ask")], "x").allows("research") is None
    assert bound_by([], "x").alternatives == ()


def test_no_public_dataset_that_forbids_products_allows_them():
    """Against the words of its declaration: what names NC, ND or research, or settles nothing, allows no commercial use."""
    datasets = public_datasets()
    for dataset in datasets.values():
        words = dataset.license
        told = any(sign in words for sign in ("NC", "ND", "research", "unsettled", "see ", "not checked", "agreement", "differ"))
        assert (dataset.terms.allows("commercial") is True) != told, dataset.name
        assert stated_terms(words) == dataset.terms  # as dataset.json states it
    free = [name for name, dataset in datasets.items() if dataset.terms.allows("commercial")]
    assert {"TotalSegmentator", "BTCV", "CTORG", "MSD_Liver", "VerSe", "PancreasCT"} <= set(free)
    unknown = {name for name, dataset in datasets.items() if not dataset.terms.alternatives}
    assert unknown == {"BTCV_Cervix", "BTCV_MultiOrgan", "CTPelvic1K", "PancreasCT_MultiOrgan", "SAROS"}


def test_a_source_is_known_by_its_name_also_with_merged_labels():
    assert public_source("kits-23").name == public_source("KITS23_merged_kidney").name == "KITS23"
    assert public_source("MyKITS") is None
    terms, note = source_terms("KITS23", ["Apache-2.0"])
    assert terms.allows("commercial") is False and "'Apache-2.0', the public dataset KITS23 has 'CC BY-NC-SA 4.0'" in note
    assert source_terms("KITS23", ["cc-by-nc-sa-4.0"])[1] is None
    assert source_terms("mine", []) == (Terms(None), None)
