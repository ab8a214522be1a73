"""Wording of the prompts: pure functions from class names to sentences.

Source: CDPDNet, arXiv 2505.18958, which writes "A computerized tomography of a NAME" and "A task of segmenting LIST in
computerized tomography"; here with the right article and readable names.
"""

from typing import Sequence

from nnunetv2_cdpd.classes import words

_PLURALS = {"lungs", "kidneys", "adrenals", "femurs", "vessels", "ribs"}


def readable(name: str) -> str:
    """A class name as words: "right_kidney", "RightKidney" -> "right kidney"."""
    return " ".join(words(name)) or name


def class_prompt(name: str) -> str:
    """Sentence for one class."""
    text = readable(name)
    if text.split()[-1] in _PLURALS:
        return f"A computerized tomography of {text}"
    return f"A computerized tomography of {'an' if text[0] in 'aeiou' else 'a'} {text}"


def task_prompt(names: Sequence[str]) -> str:
    """Sentence for what a source annotates."""
    return f"A task of segmenting {', '.join(readable(name) for name in names)} in computerized tomography"


def universal_task_prompt(names: Sequence[str]) -> str:
    """Sentence for the universal task: all classes at once."""
    return f"A task of segmenting all structures in computerized tomography: {', '.join(readable(name) for name in names)}"
