"""YAML files of the user, read safely, and their values, checked one by one; content as YAML.

`where` of the checks is the file and the key, like "my.yaml: nested"; the messages begin with it.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from nnunetv2_cdpd.errors import UserError, reason


def load_yaml(path: str | Path) -> Any:
    """Content of a YAML file, read safely.

    Raises:
        UserError: It cannot be read, is not YAML, gives a key twice, or has a value that is none (a date of month 13).
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML, {' '.join(str(error).split())}; mend it there") from error
    except RecursionError as error:
        raise UserError(f"{path}: lists or mappings in each other, too many to read; mend it there") from error


def yaml_text(content: Any) -> str:
    """Content as the text of a YAML file, keys in their order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def yaml_line(content: Mapping[str, Any]) -> str:
    """Content as a line to put into a YAML file, for a message: "nested: {liver_tumor: liver}"."""
    return yaml.safe_dump(content, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()[1:-1]


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping with its keys as text, empty if there is none; YAML reads ids as numbers.

    Raises:
        UserError: It is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected `key: value` lines, got {value!r}")
    return {text(key, where): entry for key, entry in value.items()}


def known_mapping(value: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """A mapping that has none but known keys.

    Raises:
        UserError: It has others, or is no mapping.
    """
    found = mapping(value, where)
    if unknown := [key for key in found if key not in known]:
        raise UserError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    return found


def text(value: Any, where: str) -> str:
    """A name or text; YAML reads a bare `no`, `on` or date as something else, which quotes prevent.

    Raises:
        UserError: It is empty or something else.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UserError(f"{where}: expected text, got {value!r}; put it in quotes")
    return str(value)


def texts(value: Any, where: str) -> tuple[str, ...]:
    """One text or a list of them, empty if there is none.

    Raises:
        UserError: One is no text.
    """
    if value is None:
        return ()
    return tuple(text(entry, where) for entry in (value if isinstance(value, (list, tuple)) else [value]))


def flag(value: Any, where: str) -> bool:
    """True or false.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, bool):
        raise UserError(f"{where}: expected true or false, got {value!r}")
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error instead of silently the last one, and that a value which
    is none of its kind (a date of month 13, a number of thousands of digits) is told with its line, as YAML's other errors are.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            what = str(getattr(node, "value", ""))[:40]
            told = f"{what!r} is no {node.tag.rpartition(':')[2]} ({reason(error)}); put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} given twice", node.start_mark)
        return super().construct_mapping(node, deep)
