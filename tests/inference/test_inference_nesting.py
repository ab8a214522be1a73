"""ClassTree: who wins a voxel, which classes that takes, and what is written of some classes only."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.nesting import ClassTree


def make_annotation(regions, possible_parents=None, values=None):
    """Classes a, b, ... of these stored values; the value of a class is its first one."""
    classes = tuple("abcdefghij"[: len(regions)])
    values = values or tuple(region[0] for region in regions)
    return Annotation(
        classes, values, tuple(map(tuple, regions)), (Source("s", classes),), possible_parents=possible_parents or {}
    )


# a liver, b its tumor, c and d kidneys, e their tumor, f spleen, g a vessel of the liver, h a clot in that vessel
ABDOMEN = make_annotation([(1, 2, 7, 8), (2,), (3,), (4,), (5,), (6,), (7, 8), (8,)], {"e": ("c", "d")})
TREE = ClassTree.of(ABDOMEN)


def winner(tree=TREE, **logits):
    """Name of the winner of a voxel; classes that are not named are at -5."""
    names = tree.annotation.classes
    values = torch.tensor([[logits.get(name, -5.0)] for name in names])
    (found,) = tree.winners(values, range(len(names))).tolist()
    return names[found - 1] if found else None


@pytest.mark.parametrize(
    "logits, expected",
    [
        ({}, None),
        ({"a": -0.1, "f": -0.2}, None),  # the most probable class is below 0.5
        ({"a": 1.0, "f": 2.0}, "f"),
        ({"a": 2.0, "f": 1.0}, "a"),  # nnU-Net would write f, the later one
        ({"a": 1.0, "b": 0.5}, "b"),  # a tumor in its organ, though less probable than the organ
        ({"a": 1.0, "b": 3.0, "f": 2.0}, "f"),  # the organ lost, so its tumor cannot win
        ({"b": 3.0}, None),  # a liver tumor outside of the liver
        ({"a": 1.0, "b": 0.5, "g": 0.7}, "g"),
        ({"a": 1.0, "b": 0.5, "g": 0.7, "h": 0.1}, "h"),  # a clot in the vessel that won in the liver
        ({"a": 1.0, "b": 0.9, "g": 0.7, "h": 5.0}, "b"),
        ({"c": 1.0, "e": 0.5}, "e"),
        ({"d": 1.0, "e": 0.5}, "e"),
        ({"e": 0.5}, "e"),  # nobody teaches either kidney to cover a kidney tumor
        ({"e": 0.5, "c": -0.1, "f": 0.4}, "e"),
        ({"e": 0.5, "c": 0.3, "f": 0.6}, "f"),
        ({"c": 0.5, "d": 0.6}, "d"),
        ({"a": 0.5, "f": 0.5}, "a"),  # equal: the first in the dataset.json
    ],
)
def test_the_most_probable_class_wins_and_nested_ones_inside_of_their_parent(logits, expected):
    assert winner(**logits) == expected


def slow_winner(tree, logits):
    """The rules of the module's text, one voxel, by recursion."""
    annotation = tree.annotation
    children = {}
    for k, name in enumerate(annotation.classes):
        holding = [j for j in range(len(annotation.classes)) if set(annotation.regions[k]) < set(annotation.regions[j])]
        parents = [annotation.classes.index(p) for p in annotation.possible_parents.get(name, ())]
        if len(parents) > 1:
            for parent in [*parents, None]:
                children.setdefault(parent, []).append(k)
        else:
            inner = min(holding, key=lambda j: len(annotation.regions[j]), default=None)
            children.setdefault(inner, []).append(k)

    def best_in(parent):
        above = [k for k in children.get(parent, ()) if logits[k] > 0]
        if not above:
            return 0 if parent is None else parent + 1
        return best_in(max(above, key=lambda k: (logits[k], -k)))

    return best_in(None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_winners_of_many_voxels_follow_the_rules_one_by_one(seed):
    logits = np.random.default_rng(seed).normal(size=(8, 3, 4, 5)).astype(np.float32)
    found = TREE.winners(torch.from_numpy(logits), range(8))
    for voxel in np.ndindex(3, 4, 5):
        assert found[voxel] == slow_winner(TREE, logits[(slice(None), *voxel)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 7), min_size=1))
def test_some_classes_lie_where_a_run_of_all_classes_has_them(seed, wanted):
    logits = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    full = TREE.stored_values(range(8))[TREE.winners(logits, range(8))]
    needed = TREE.needed_for(wanted)
    some = TREE.stored_values(wanted)[TREE.winners(logits[list(needed)], needed)]
    values = {ABDOMEN.values[k] for k in wanted}
    assert set(np.unique(some)) <= values | {0}
    for k in wanted:
        assert np.array_equal(np.isin(full, ABDOMEN.regions[k]), np.isin(some, ABDOMEN.regions[k]))


@pytest.mark.parametrize(
    "wanted, needed",
    [("f", "acdef"), ("b", "abcdefg"), ("a", "acdef"), ("c", "acdef"), ("h", "abcdefgh")],
)
def test_only_the_classes_that_decide_are_needed(wanted, needed):
    found = TREE.needed_for(TREE.indices([wanted]))
    assert "".join(ABDOMEN.classes[k] for k in found) == needed


def test_without_a_positive_parent_a_nested_class_cannot_win():
    index = ABDOMEN.classes.index
    assert TREE.possible_winners([index("b"), index("h"), index("e")]) == (index("e"),)
    assert TREE.possible_winners([index("a"), index("h"), index("g")]) == (index("a"), index("g"), index("h"))


def test_of_some_classes_only_a_nested_one_has_no_parent():
    tree = ClassTree.of(ABDOMEN, {"b", "e", "f"})
    assert winner(tree, b=1.0) == "b" and winner(tree, b=1.0, f=2.0) == "f" and winner(tree, e=1.0) == "e"
    assert tree.classes == (1, 4, 5)


def test_one_possible_parent_is_a_parent():
    tree = ClassTree.of(make_annotation([(1,), (2,), (3,)], {"b": ("a",)}))
    assert winner(tree, b=1.0) is None and winner(tree, a=0.1, b=1.0) == "b"


def test_possible_parents_within_one_organ_compete_there():
    """a holds b and c; d lies in b or c."""
    tree = ClassTree.of(make_annotation([(1, 2, 3, 4), (2,), (3,), (4,)], {"d": ("b", "c")}))
    assert tree.rivals[None] == (0,)
    # a certainly holds d and is not one of its possible parents, so the choice between b and c stays
    assert winner(tree, a=1.0, d=0.5) == "d" and winner(tree, d=0.5) is None
    assert winner(tree, a=1.0, b=0.3, d=0.2) == "d"


def test_two_classes_may_share_a_stored_value_where_one_holds_the_other():
    tree = ClassTree.of(make_annotation([(1, 2), (1,), (2,)], values=(1, 1, 2)))
    assert winner(tree, a=1.0) == "a" and winner(tree, a=1.0, b=0.5) == "b"
    assert tree.stored_values([0, 1, 2]).tolist() == [0, 1, 1, 2]


def test_overlap_without_nesting_is_refused():
    with pytest.raises(UserError, match="'a' and 'b' overlap and neither holds the other"):
        ClassTree.of(make_annotation([(1, 2), (2, 3)], values=(1, 3)))


def test_unknown_class_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no class heart; this model predicts a, b"):
        ClassTree.of(make_annotation([(1,), (2,)])).indices(["a", "heart"])
