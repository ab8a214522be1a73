"""One mechanism for one thing: what the sources may do in one place only, and that no name means two things."""

import ast
import configparser
import re
from collections import defaultdict
from pathlib import Path

import pytest
from builders.project import CLONE

PACKAGE = CLONE / "nnunetv2_cdpd"
FOLDERS = (PACKAGE, *(CLONE / name for name in ("trainers", "planners", "dataset_conversion")))
# The package reaches the folders at the top by links, which are no second copy
SOURCES = {
    path.relative_to(CLONE).as_posix().removeprefix("nnunetv2_cdpd/"): path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in sorted(folder.rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents)
}
# A module of each of these folders has the names by which they are found: no two things of one name
PROTOCOLS = {"cli": {"DESCRIPTION", "EXAMPLES", "add_arguments", "run"}, "dataset_conversion": {"DATASET", "find"}}


@pytest.mark.parametrize(
    ("what", "pattern", "places"),
    [
        (
            "the one writer",
            r"\bos\.(replace|rename)\b|shutil\.move|NamedTemporaryFile|mkstemp",
            {"jobs/files.py"},
        ),
        ("the one pool of processes", r"ProcessPoolExecutor|multiprocessing\.Pool", {"jobs/processes.py"}),
        ("the one batch", r"\bin_processes\(.*\)\(", set()),
        (
            "the one line of an error; and that of the other Python which the doctor asks",
            r"type\(error\)\.__name__|traceback\.format",
            {"errors.py", "doctor.py"},
        ),
        ("the one reader of dataset.json", r"json\.loads?\(.*dataset\.json", set()),
        (
            "the one place of nnU-Net's folders",
            r"os\.fspath\(variable\)|nnUNet_\w+\.require|environ(\.get)?[(\[].?nnUNet_(raw|pre|res)",
            {"datasets/output.py"},
        ),
        ("the one place of the key of readers", r"[\"']overwrite_image_reader_writer", {"datasets/dataset_json.py"}),
        (
            "the readers of volumes; and the runner's, without nibabel",
            r"sitk\.ReadImage|\b(nibabel|nib)\.load\b",
            {"volumes/nifti.py", "volumes/reading.py", "portable/images.py"},
        ),
        ("the one reader of YAML", r"^import yaml|^from yaml", {"jobs/yaml_files.py"}),
        ("the one writer of tables", r"csv\.(Dict)?[Ww]riter", {"jobs/tables.py"}),
        (
            "the one place that exchanges names of the host; and argparse's way to store",
            r"\bsetattr\(|mock\.patch",
            {"host.py", "cli/options.py"},
        ),
        ("the one template engine", r"^import jinja2|^from jinja2|html\.escape", {"pages/template.py"}),
    ],
)
def test_one_mechanism_for_one_thing(what, pattern, places):
    found = {name for name, text in SOURCES.items() if re.search(pattern, text, re.MULTILINE)}
    assert found <= places, f"{what} is in {', '.join(sorted(places))}: {sorted(found - places)} has another"
    assert found == places, f"{what}: nothing in {sorted(places - found)} matches; mend the pattern"


def test_only_the_command_line_parses_arguments():
    """And the runner, which is a command where there is no other one of ours."""
    assert {name.split("/")[0] for name, text in SOURCES.items() if "argparse" in text} == {"cli", "portable"}


def test_no_public_name_is_given_twice():
    modules = defaultdict(set)
    for module, text in SOURCES.items():
        own = PROTOCOLS.get(module.split("/")[0], set())
        for statement in ast.parse(text).body:
            for name in defined(statement):
                if not name.startswith("_") and name not in own:
                    modules[name].add(module)
    assert {name: sorted(places) for name, places in modules.items() if len(places) > 1} == {}


def defined(statement):
    """Names that a statement at the top of a module defines; imported ones are others'."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_no_test_module_imports_another():
    """What several need is in builders/ or a fixture: a test can then be run, moved or removed alone."""
    tests = {path.stem for path in (CLONE / "tests").rglob("test_*.py")}
    importing = {
        path.name: sorted(imported)
        for path in (CLONE / "tests").rglob("*.py")
        if (imported := {part for name in imports_of(path) for part in name.split(".")} & tests)
    }
    assert importing == {}


def imports_of(path):
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom):
            yield statement.module or ""
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.name for alias in statement.names)


def test_every_room_has_its_place_among_the_layers_and_its_page():
    config = configparser.ConfigParser()
    config.read(CLONE / "setup.cfg")
    layers = {room.strip() for line in config["importlinter:contract:layers"]["layers"].split("\n") for room in line.split(":")}
    rooms = {Path(name).parts[0].removesuffix(".py") for name in SOURCES} - {"__init__", "ext_trainer"}
    assert layers - {""} == rooms
    assert {page.stem for page in (CLONE / "docs/api").glob("*.md")} - {"index"} == rooms
