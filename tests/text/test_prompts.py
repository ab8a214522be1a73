"""Prompts: correct English by default, the paper's word for word."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_cdpd.classes import CLASS_TABLE
from nnunetv2_cdpd.released.prompts import PAPER_CLASS_PROMPTS, PAPER_TASK_PROMPTS
from nnunetv2_cdpd.text.prompts import class_prompt, readable, task_prompt, universal_task_prompt


@pytest.mark.parametrize(
    "name, words",
    [
        ("liver", "a liver"),
        ("right_kidney", "a right kidney"),
        ("RightKidney", "a right kidney"),
        ("LeftParotid", "a left parotid"),
        ("right kidney", "a right kidney"),
        ("aorta", "an aorta"),
        ("Esophagus", "an esophagus"),
        ("urinary_bladder", "a urinary bladder"),
        ("uterus", "a uterus"),
        ("left_ureter", "a left ureter"),
        ("ulna", "an ulna"),
        ("pancreas", "a pancreas"),  # ends in s and is one
        ("lungs", "lungs"),
        ("hepatic_vessels", "hepatic vessels"),
        ("lung nodules", "lung nodules"),
        ("vertebra_L1", "a vertebra l1"),
    ],
)
def test_class_prompt_is_english(name, words):
    assert class_prompt(name) == f"A computerized tomography of {words}"


@given(st.text(min_size=1))
def test_any_class_name_gives_a_prompt(name):
    assert class_prompt(name).startswith("A computerized tomography of ")
    assert readable(name)


def test_known_structures_have_different_prompts():
    prompts = [class_prompt(structure.name) for structure in CLASS_TABLE]
    assert len(set(prompts)) == len(prompts)


def test_task_prompts_list_names_in_their_order():
    assert task_prompt(["left_kidney", "liver"]) == "A task of segmenting left kidney, liver in computerized tomography"
    assert universal_task_prompt(["left_kidney", "liver"]).endswith("left kidney, liver")
    assert task_prompt(["liver", "liver_tumor"]) == "A task of segmenting liver, liver tumor in computerized tomography"
    assert "all structures" in universal_task_prompt(["liver"]) and "all structures" not in task_prompt(["liver"])


def test_paper_prompts_are_kept_word_for_word():
    """The checksums notice a well-meant correction."""
    assert len(PAPER_CLASS_PROMPTS) == 32 and len(PAPER_TASK_PROMPTS) == 11
    digest = [
        hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:16] for prompts in (PAPER_CLASS_PROMPTS, PAPER_TASK_PROMPTS)
    ]
    assert digest == ["1a6d8890d38e5560", "3b18d61a04b57e6c"]


def test_paper_prompts_carry_the_released_misspellings():
    assert PAPER_CLASS_PROMPTS[7] == "A computerized tomography of a Arota"
    assert PAPER_CLASS_PROMPTS[24].endswith("Celiac Truck")
    assert all("Arota" not in prompt for prompt in PAPER_TASK_PROMPTS)
    assert [index for index, prompt in enumerate(PAPER_TASK_PROMPTS) if "Celiac Truck" in prompt] == [9]
    assert "Left Kidney" not in PAPER_TASK_PROMPTS[9]


def test_paper_classes_are_those_of_the_class_table_in_order():
    """But for spelling: each released name shares a word with the structure at its place."""
    for prompt, structure in zip(PAPER_CLASS_PROMPTS, CLASS_TABLE, strict=True):
        words = prompt.removeprefix("A computerized tomography of a ").lower().split()
        assert set(words) & set(structure.name.split("_")) or words in (["gall", "bladder"], ["arota"])
