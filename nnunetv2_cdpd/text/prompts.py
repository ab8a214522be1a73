"""Wording of the prompts: pure functions from class names to sentences; a class may have several in a user's own words.

Source: CDPDNet, arXiv 2505.18958, which writes "A computerized tomography of a NAME" and "A task of segmenting LIST in
computerized tomography"; here with the right article and readable names. Theirs word for word: released/prompts.py.
"""

from collections.abc import Sequence

from nnunetv2_cdpd.classes import name_words

Wording = str | Sequence[str]  # of a class: a sentence, or several whose embeddings are averaged

_PLURALS = frozenset(
    "adrenals arteries bones clavicles femora femurs glands hips humeri kidneys lesions lobes lungs metastases muscles nodes "
    "nodules ovaries parotids ribs scapulae structures tumors veins vertebrae vessels".split()
)
_SPOKEN_WITH_Y = ("uni", "ure", "uri", "ute")  # "a ureter", though it begins with a vowel letter


def readable(name: str) -> str:
    """A class name as words: "right_kidney", "RightKidney" -> "right kidney"; as it is where it has none of our letters."""
    return " ".join(name_words(name)) or name


def class_prompt(name: str) -> str:
    """Sentence for one class."""
    text = readable(name)
    if text.rsplit(" ", 1)[-1] in _PLURALS:
        return f"A computerized tomography of {text}"
    vowel = text.startswith(tuple("aeiou")) and not text.startswith(_SPOKEN_WITH_Y)
    return f"A computerized tomography of {'an' if vowel else 'a'} {text}"


def sentences(wording: Wording) -> tuple[str, ...]:
    """Those of a class."""
    return (wording,) if isinstance(wording, str) else tuple(wording)


def wording_text(names: Sequence[str], wordings: Sequence[Wording], tasks: Sequence[str]) -> str:
    """A table of all sentences: of each class under its number and name, then of the tasks."""
    width = max(map(len, (*names, f"task {len(tasks)}")))
    rows = []
    for number, (name, wording) in enumerate(zip(names, wordings), start=1):
        first, *others = sentences(wording)
        mean = f"   (mean of {1 + len(others)})" if others else ""
        rows += [f"{number:3d}  {name:{width}}  {first}{mean}", *(f"{'':{width + 7}}{sentence}" for sentence in others)]
    rows += [f"{'':5}{f'task {number}':{width}}  {sentence}" for number, sentence in enumerate(tasks, start=1)]
    return "\n".join(rows)


def task_prompt(names: Sequence[str]) -> str:
    """Sentence for what a source annotates."""
    return f"A task of segmenting {', '.join(readable(name) for name in names)} in computerized tomography"


def universal_task_prompt(names: Sequence[str]) -> str:
    """Sentence for the universal task: all classes at once."""
    return f"A task of segmenting all structures in computerized tomography: {', '.join(readable(name) for name in names)}"
