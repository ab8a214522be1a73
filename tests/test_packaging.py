"""What the wheel holds, what it declares, and that importing it is cheap and silent."""

import ast
import configparser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from builders.project import CLONE, build_wheel

import nnunetv2_cdpd

PACKAGE_FOLDERS = ("nnunetv2_cdpd", "trainers", "planners", "dataset_conversion")
SOURCES = sorted(path.relative_to(CLONE) for folder in PACKAGE_FOLDERS for path in (CLONE / folder).rglob("*.py"))
DISTRIBUTION_OF_IMPORT = {  # where the two names differ by more than "-" and "_"
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "cyclonedx": "cyclonedx-python-lib",
    "open_clip": "open_clip_torch",
    "packageurl": "packageurl-python",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@pytest.mark.skipif("CDPD_EXPECT_INSTALLED" not in os.environ, reason="only where the package has been installed")
def test_the_installed_package_is_tested_and_not_the_clone():
    assert CLONE not in Path(nnunetv2_cdpd.__file__).resolve().parents


def test_wheel_holds_every_module(project_wheel):
    with zipfile.ZipFile(project_wheel) as archive:
        installed = {name for name in archive.namelist() if name.endswith(".py")}
    expected = {str(path if path.parts[0] == "nnunetv2_cdpd" else Path("nnunetv2_cdpd", path)) for path in SOURCES}
    assert expected - installed == set(), "folders to add to `packages` in setup.cfg"
    assert installed == expected


def test_every_folder_with_modules_is_listed_once():
    """Without the folders that symbolic links in the package lead to: they are listed under the name that setup.cfg maps."""
    config = configparser.ConfigParser()
    config.read(CLONE / "setup.cfg")
    folders = {path.parent if path.parts[0] == "nnunetv2_cdpd" else Path("nnunetv2_cdpd", path.parent) for path in SOURCES}
    assert sorted(config["options"]["packages"].split()) == sorted(".".join(folder.parts) for folder in folders)


def test_wheel_declares_command_version_and_license(project_wheel):
    with zipfile.ZipFile(project_wheel) as archive:
        entry_points = archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    assert "cdpd = nnunetv2_cdpd.cli.main:main" in entry_points
    assert f"\nVersion: {nnunetv2_cdpd.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert re.search(r"\nRequires-Dist: nnunetv2\s*\(?<3,>=2.8", metadata)


def test_wheel_made_from_the_source_archive_is_the_same(project_copy, project_wheel, tmp_path):
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, tmp_path], cwd=project_copy, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "source", **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    (source,) = (tmp_path / "source").iterdir()
    again = build_wheel(source, tmp_path / "wheel")
    with zipfile.ZipFile(again) as left, zipfile.ZipFile(project_wheel) as right:
        assert sorted(left.namelist()) == sorted(right.namelist())


def test_every_imported_package_is_declared():
    config = configparser.ConfigParser()
    config.read(CLONE / "setup.cfg")
    extras = config["options.extras_require"]
    lines = [config["options"]["install_requires"], *(extras[name] for name in extras if name not in ("test", "dev", "docs"))]
    requirements = [requirement for text in lines for requirement in text.split("\n") if requirement]
    declared = {_normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}
    for path in SOURCES:
        for name in _imported(path) - set(sys.stdlib_module_names) - {"nnunetv2_cdpd"}:
            assert _normal(DISTRIBUTION_OF_IMPORT.get(name, name)) in declared, f"{path} imports {name}"


def _imported(path):
    names = set()
    for node in ast.walk(ast.parse((CLONE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("package", ["nnunetv2_cdpd", "nnunetv2_cdpd.trainers", "nnunetv2_cdpd.planners"])
def test_import_is_silent_and_needs_no_encoder(package):
    script = f"import sys, {package}; print({{'timm', 'open_clip', 'torch', 'nnunetv2'}} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("set()\n", "")


def test_every_module_imports_silently():
    """nnU-Net imports modules one by one when it looks for a class; none may print, warn or pull in the encoders."""
    modules = [".".join(("nnunetv2_cdpd", *path.with_suffix("").parts[path.parts[0] == "nnunetv2_cdpd" :])) for path in SOURCES]
    modules = [name.removesuffix(".__init__") for name in modules]
    script = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "print({'timm', 'open_clip'} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CLONE.anchor)
    assert (process.stdout, process.stderr) == ("set()\n", "")
