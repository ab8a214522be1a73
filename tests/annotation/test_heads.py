"""What heads stand for by a dataset.json, and what another dataset.json has otherwise."""

from nnunetv2_cdpd.annotation import differing_heads, moved_classes

LABELS = {"background": 0, "liver": [1, 2], "liver_tumor": 2, "spleen": 3, "ignore": 4}


def of(labels, *sources):
    return {"labels": labels, **({"cdpd": {"sources": {name: {} for name in sources}}} if sources else {})}


def swapped(first, second):
    names = list(LABELS)
    one, other = names.index(first), names.index(second)
    names[one], names[other] = names[other], names[one]
    return {name: LABELS[name] for name in names}


def test_the_same_is_no_difference():
    same = {"background": [0], "liver": (2, 1), "liver_tumor": [2, 2], "spleen": [3], "ignore": 5}
    assert differing_heads(of(LABELS, "A", "B"), of(same, "A", "B")) == moved_classes(of(LABELS), of(same)) == []


def test_the_order_of_a_softmax_is_that_of_its_values():
    plain = {"background": 0, "liver": 1, "spleen": 2}
    assert moved_classes(of(plain), of(dict(reversed(plain.items())))) == []
    assert moved_classes(of(plain), of({"background": 0, "liver": 2, "spleen": 1})) == ["spleen", "liver"]
    assert differing_heads(of(plain) | {"cdpd": None}, of(plain)) == []


def test_another_order_and_other_values_are_told():
    order = swapped("liver_tumor", "spleen")
    assert differing_heads(of(LABELS), of(order)) == ["liver_tumor, now spleen", "spleen, now liver_tumor"]
    assert moved_classes(of(LABELS), of(order)) == ["spleen", "liver_tumor"]
    values = LABELS | {"liver": 1}
    assert differing_heads(of(LABELS), of(values)) == ["liver (other stored values)"]
    assert moved_classes(of(LABELS), of(values)) == ["liver"]


def test_a_class_more_or_less_is_told_and_moves_no_other():
    more = {**LABELS, "kidney": 5}
    assert differing_heads(of(LABELS), of(more)) == ["none, now kidney"] and moved_classes(of(LABELS), of(more)) == []
    assert differing_heads(of(more), of(LABELS)) == ["kidney, now none"]


def test_another_spelling_is_none_and_another_class_is_one():
    spelled = {"background": 0, "Liver": [1, 2], "hepatic tumour": 2, "Spleen": 3}
    assert differing_heads(of(LABELS), of(spelled)) == []
    other = {**LABELS, "spleen": 3} | {"stomach": 3}
    del other["spleen"]
    assert differing_heads(of(LABELS), of(other)) == ["spleen, now stomach"]
    assert moved_classes(of(LABELS), of(other)) == []  # a user's own name


def test_sources_count_in_their_order():
    assert differing_heads(of(LABELS, "A", "B"), of(LABELS, "B", "A")) == ["source A, now B", "source B, now A"]
    assert differing_heads(of(LABELS, "A"), of(LABELS, "A", "B")) == ["source none, now B"]
