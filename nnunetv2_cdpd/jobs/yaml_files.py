"""YAML files of the user, read safely, and their values, checked one by one; content as YAML.

`where` of the checks is the file and the key, like "my.yaml: nested"; the messages begin with it.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from nnunetv2_cdpd.errors import UserError, has_control, is_blank
from nnunetv2_cdpd.jobs.shapes import shown

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "timestamp": "a date"}  # YAML's tags
_MERGE, _INTEGER, _TEXT = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "int", "str"))  # merge: of `<<`
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")


def load_yaml(path: str | Path, example: str) -> Mapping[Any, Any]:
    """Content of a YAML file of `key: value` lines, read safely; empty if there is none.

    Args:
        example: Page of the documentation that shows such a file.

    Raises:
        UserError: It cannot be read, is not YAML, gives a key twice, has a value that is none (a date of month 13), or holds
            something else than such lines.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML, {' '.join(str(error).split())}; mend it there") from error
    except RecursionError as error:
        raise UserError(f"{path}: lists or mappings in each other, too many to read; mend it there") from error
    if content is not None and not isinstance(content, Mapping):
        raise UserError(f"{path}: expected `key: value` lines, got {shown(content)}; {example} has an example")
    return content or {}


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
        raise UserError(f"{where}: expected `key: value` lines, got {shown(value)}")
    keys = [text(key, where) for key in value]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):  # 1 and "1"
        raise UserError(f"{where}: {', '.join(twice)} given twice; give each key once")
    return dict(zip(keys, value.values(), strict=True))


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
    if isinstance(value, str) and is_blank(value):
        raise UserError(f"{where}: is empty; write the text, or leave the key out")
    if isinstance(value, str) and has_control(value):
        raise UserError(f"{where}: holds a control character, {shown(value)}; write the text without it")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UserError(f"{where}: expected text, got {shown(value)}; put it in quotes")
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
        raise UserError(f"{where}: expected true or false, got {shown(value)}")
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error instead of silently the last one, and that a value which
    is none of its kind (a date of month 13, a number of thousands of digits) is told with its line, as YAML's other errors are.
    What nobody writes for a number stays text: YAML takes a dataset 010 for 8, a case 0012 for 10, 10_5 for 105 and 1:30 for 90.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        return _TEXT if tag == _INTEGER and not _DECIMAL.fullmatch(value) else tag

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int):
                str(made)  # a hexadecimal number can be too long to be named in a message
            return made
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            tag = node.tag.rpartition(":")[2]
            told = f"{shown(node.value)} cannot be read as {_KINDS.get(tag, tag)}; put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()  # YAML's own check of that follows
        keys = [key for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
        values = [key.value if key.tag == _MERGE else self.construct_object(key) for key in keys]
        twice = sorted({key.value for key, value in zip(keys, values, strict=True) if values.count(value) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} given twice", node.start_mark)
        return super().construct_mapping(node, deep)
