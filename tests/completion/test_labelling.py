"""Real annotation and teachers as one label map: what is annotated stays, what is uncertain is ignored, nothing is unsaid."""

from dataclasses import replace

import numpy as np
import pytest
from builders.partial_labels import ANNOTATION, KITS, LITS, ORGANS, STORED

from nnunetv2_cdpd.completion.filters.opinion import Opinion, nothing_known
from nnunetv2_cdpd.completion.labelling import CaseLabeller
from nnunetv2_cdpd.completion.openness import Openness, excluded_classes

LIVER, RIGHT, LEFT, SPLEEN, LIVER_TUMOR, KIDNEY_TUMOR = range(6)
IGNORE = 9
SHAPE = (2, 3, 4)
WHOLE = tuple(slice(0, length) for length in SHAPE)


def opinion(places, uncertain=(), probability=0.9):
    """Of a class at some voxels of the image; uncertain at others."""
    p, doubt = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    for place in places:
        p[place] = probability
    for place in uncertain:
        doubt[place] = True
    return Opinion(WHOLE, p, doubt)


NOWHERE = opinion(())


def complete(labels, source, annotation=ANNOTATION, **opinions):
    """Opinions by the name of the class; of all others that it is nowhere."""
    named = {annotation.classes.index(name): its for name, its in opinions.items()}
    labeller = CaseLabeller(annotation, IGNORE)
    return labeller.completed(labels, source, dict.fromkeys(range(len(annotation.classes)), NOWHERE) | named)


def background(**values):
    labels = np.zeros(SHAPE, np.int32)
    for value, place in values.items():
        labels[place] = int(value[1:])
    return labels


# ---- openness --------------------------------------------------------------------------------------------------------


def test_what_a_source_leaves_open():
    """LITS annotates liver and tumors; KITS kidneys together, and their tumors; ORGANS all organs, and no tumors."""
    lits, kits, organs = (Openness.of(ANNOTATION, source) for source in (LITS, KITS, ORGANS))
    assert lits.open_classes == (RIGHT, LEFT, SPLEEN, KIDNEY_TUMOR)
    assert lits.open_at([1, 5]) == ()  # a liver and its tumors are no other organ
    assert kits.open_at([0]) == (LIVER, SPLEEN, LIVER_TUMOR)  # a kidney would have been drawn
    assert kits.open_at([7]) == (RIGHT, LEFT)
    assert kits.open_at([6]) == ()
    assert organs.open_at([0]) == ()  # tumors lie in organs, all of which are drawn
    assert organs.open_at([1]) == (LIVER_TUMOR,)
    assert organs.open_at([2]) == organs.open_at([3]) == (KIDNEY_TUMOR,)
    assert organs.open_at([4]) == ()


def test_what_is_real_and_what_is_merged():
    kits = Openness.of(ANNOTATION, KITS)
    assert kits.is_real[[0, 6, 7]].tolist() == [False, True, False]
    assert np.flatnonzero(kits.is_merged).tolist() == [7]
    assert np.flatnonzero(Openness.of(ANNOTATION, LITS).certain[5]).tolist() == [LIVER, LIVER_TUMOR]


def test_which_classes_exclude_each_other():
    excluded = excluded_classes(ANNOTATION)
    assert np.flatnonzero(excluded[LIVER]).tolist() == [RIGHT, LEFT, SPLEEN, KIDNEY_TUMOR]
    assert np.flatnonzero(excluded[LIVER_TUMOR]).tolist() == [RIGHT, LEFT, SPLEEN, KIDNEY_TUMOR]
    assert np.flatnonzero(excluded[LEFT]).tolist() == [LIVER, RIGHT, SPLEEN, LIVER_TUMOR]
    assert np.flatnonzero(excluded[KIDNEY_TUMOR]).tolist() == [LIVER, SPLEEN, LIVER_TUMOR]


# ---- what teachers add -----------------------------------------------------------------------------------------------


def test_a_teacher_completes_background_and_never_an_annotated_voxel():
    labels = background(v1=np.s_[0, 0], v5=np.s_[0, 1, 0])
    made = complete(labels, LITS, spleen=opinion([np.s_[0]]))  # said of all of the first slice
    expected = np.where(labels > 0, labels, 4)
    expected[1] = 0
    assert (made.labels == expected).all()
    assert made.added[SPLEEN] == 7 and made.kept == {0: 12, 1: 4, 5: 1} and made.voxels == {0: 12, 1: 4, 4: 7, 5: 1}


def test_the_most_probable_class_wins_and_nested_ones_within_their_parent():
    made = complete(
        background(),
        KITS,
        liver=opinion([np.s_[0]], probability=0.95),
        liver_tumor=opinion([np.s_[:, 0]]),  # also where no liver is
        spleen=opinion([np.s_[1, 2]]),
    )
    expected = np.zeros(SHAPE, int)
    expected[0], expected[0, 0], expected[1, 2] = 1, 5, 4
    assert (made.labels == expected).all()


def test_a_nested_class_is_added_within_a_real_parent_which_stays_annotated():
    made = complete(background(v1=np.s_[0]), ORGANS, liver_tumor=opinion([np.s_[:, 1]]))
    expected = background(v1=np.s_[0], v5=np.s_[0, 1])
    assert (made.labels == expected).all()  # the value of the tumor is in the region of the liver; none in background
    assert made.ignored.total() == 0


def test_merged_labels_are_resolved_where_a_teacher_is_sure_and_ignored_elsewhere():
    labels = background(v7=np.s_[0])
    made = complete(labels, KITS, left_kidney=opinion([np.s_[:, 0]]), right_kidney=opinion([np.s_[0, 1]], [np.s_[0, 1, 3]]))
    expected = np.zeros(SHAPE, int)
    expected[0, 0], expected[0, 1], expected[0, 1, 3], expected[0, 2] = 3, 2, IGNORE, IGNORE
    assert (made.labels == expected).all()  # outside of what KITS draws nothing is a kidney


# ---- what is ignored -------------------------------------------------------------------------------------------------


def test_uncertain_voxels_are_ignored_unless_a_real_annotation_stands_there():
    labels = background(v1=np.s_[0, 0, :2])
    made = complete(labels, LITS, spleen=opinion([np.s_[0, 1]], [np.s_[0]]))
    expected = np.full(SHAPE, IGNORE)
    expected[0, 0, :2], expected[1] = 1, 0
    assert (made.labels == expected).all()
    assert made.ignored[SPLEEN] == 10


def test_what_is_certain_excludes_what_is_uncertain():
    made = complete(background(), LITS, spleen=opinion([np.s_[0]]), left_kidney=opinion((), [np.s_[:]]))
    assert (made.labels[0] == 4).all() and (made.labels[1] == IGNORE).all()


def test_an_unknown_class_is_nowhere_taught_as_background():
    labels = background(v1=np.s_[0, 0])
    made = complete(labels, LITS, spleen=nothing_known("reliability"), left_kidney=opinion([np.s_[0, 1]]))
    expected = np.full(SHAPE, IGNORE)
    expected[0, 0], expected[0, 1] = 1, 3  # annotated, and another structure for certain
    assert (made.labels == expected).all()


def test_an_uncertain_nested_class_leaves_a_real_parent_and_takes_a_completed_one():
    doubt = opinion((), [np.s_[0, 0]])
    real = complete(background(v1=np.s_[0]), ORGANS, liver_tumor=doubt)
    assert (real.labels[0] == 1).all() and real.kept_over[LIVER_TUMOR] == 4
    told = complete(background(), KITS, liver=opinion([np.s_[0]]), liver_tumor=doubt)
    assert (told.labels[0, 0] == IGNORE).all() and (told.labels[0, 1:] == 1).all()


def test_two_classes_that_exclude_each_other_are_both_ignored_where_both_are_said_to_be():
    made = complete(background(), LITS, spleen=opinion([np.s_[0]]), left_kidney=opinion([np.s_[:, 0]], probability=0.8))
    expected = np.zeros(SHAPE, int)
    expected[0], expected[0, 0], expected[1, 0] = 4, IGNORE, 3
    assert (made.labels == expected).all()


def test_what_was_ignored_before_stays_ignored():
    annotation = replace(ANNOTATION, ignore_value=8)
    made = complete(background(v8=np.s_[0, 0]), LITS, annotation, spleen=opinion([np.s_[0]]))
    assert (made.labels[0, 0] == IGNORE).all() and (made.labels[0, 1:] == 4).all()


@pytest.mark.parametrize("source", [LITS, KITS, ORGANS])
def test_no_opinion_unsays_what_is_annotated(source):
    """Whatever teachers say: annotated voxels stay positive for their classes, and no annotated class comes to a voxel."""
    generator = np.random.default_rng(source)
    labels = generator.choice(STORED[source], SHAPE).astype(np.int32)
    annotated = ANNOTATION.annotated_with_merged(ANNOTATION.sources[source])
    for _ in range(20):
        opinions = {
            name: Opinion(WHOLE, generator.random(SHAPE, np.float32), generator.random(SHAPE) < 0.3)
            for name in ANNOTATION.classes
        }
        made = complete(labels, source, **opinions).labels
        for before, after in zip(labels.ravel().tolist(), made.ravel().tolist()):
            is_merged = before == 7
            if after == IGNORE:
                assert before == 0 or is_merged
                continue
            was, its = (ANNOTATION.alternatives(value) or [frozenset()] for value in (before, after))
            assert any(old <= new and not (new - old) & annotated for old in was for new in its), (before, after)


def test_slabs_are_completed_as_the_whole(monkeypatch):
    labels = background(v1=np.s_[0, 0], v5=np.s_[1, 1])
    box = np.s_[1:2, 0:3, 1:4]
    part = Opinion(box, np.full((1, 3, 3), 0.9, np.float32), np.zeros((1, 3, 3), bool))
    whole = complete(labels, LITS, spleen=part, left_kidney=opinion([np.s_[0, 2]], [np.s_[1, 2]]))
    monkeypatch.setattr("nnunetv2_cdpd.completion.labelling._AT_ONCE", 1)
    slabs = complete(labels, LITS, spleen=part, left_kidney=opinion([np.s_[0, 2]], [np.s_[1, 2]]))
    assert whole == replace(slabs, labels=whole.labels) and (whole.labels == slabs.labels).all()
    assert (whole.labels[1, 0] == [0, 4, 4, 4]).all()


def test_every_open_class_needs_an_opinion():
    with pytest.raises(ValueError, match=r"no opinion on \[1, 2, 3, 5\]"):
        CaseLabeller(ANNOTATION, IGNORE).completed(background(), LITS, {})
