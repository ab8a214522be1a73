"""YAML files of the user, read safely."""

from pathlib import Path
from typing import Any

import yaml

from nnunetv2_cdpd.errors import UserError


def load_yaml(path: str | Path) -> Any:
    """Content of a YAML file, read safely.

    Raises:
        UserError: It cannot be read, is not YAML, or gives a key twice.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML, {' '.join(str(error).split())}; mend it there") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error instead of silently the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} given twice", node.start_mark)
        return super().construct_mapping(node, deep)
