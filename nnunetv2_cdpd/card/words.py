"""The user's words on a model, from a YAML: what no file of a training tells."""

from collections.abc import Mapping
from pathlib import Path

from nnunetv2_cdpd.card.text import Plain
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import known_mapping, load_yaml, texts

WORDS = ("description", "intended_use", "out_of_scope", "limits", "license", "authors", "contact")
_ONE = ("license",)
_MOST_LETTERS, _MOST_TEXTS = 2000, 50


def read_words(path: Path) -> Mapping[str, list[str]]:
    """What a YAML says, each entry one text or a list of them.

    Raises:
        UserError: It cannot be read, has an unknown key, or two licenses.
    """
    content = known_mapping(load_yaml(path, "docs/card.md"), WORDS, str(path))
    said = {key: list(texts(value, f"{path}: {key}")) for key, value in content.items()}
    for key, its in said.items():
        if len(its) > (1 if key in _ONE else _MOST_TEXTS):
            raise UserError(f"{path}: {key}: {len(its)} texts; give {'one' if key in _ONE else f'at most {_MOST_TEXTS}'}")
    return plain_words(said)


def plain_words(said: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The words as lines that a card can hold."""
    return {key: [Plain()(text, _MOST_LETTERS) for text in said[key]] for key in WORDS if said.get(key)}
