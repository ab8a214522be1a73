"""Fixtures that all tests share, and a process that no setting of the machine reaches."""

import os

# Before numpy and torch are imported: the tests are small, and threads that wait for each other on busy cores cost most.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
for _variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
    os.environ.pop(_variable, None)
for _variable in ("CDPD_VISION_WEIGHTS", "CDPD_TEXT_WEIGHTS", "CDPD_DEBUG"):
    os.environ.pop(_variable, None)

import locale
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

CLONE = Path(__file__).parents[1]
LOCALE = locale.setlocale(locale.LC_ALL)


@pytest.fixture(autouse=True)
def kept_locale():
    """Writing DICOM with SimpleITK sets the locale of the process to C, in which the text of later tests would be ASCII."""
    yield
    locale.setlocale(locale.LC_ALL, LOCALE)


@pytest.fixture
def nnunet_folders(tmp_path, monkeypatch):
    """Empty nnUNet_raw, nnUNet_preprocessed and nnUNet_results, as .raw, .preprocessed and .results."""
    folders = {name: tmp_path / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    return SimpleNamespace(**folders)


@pytest.fixture(scope="session")
def project_copy(tmp_path_factory):
    """Copy of what the wheel is built from, so that building leaves nothing in the clone."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("nnunetv2_cdpd", "trainers", "planners", "dataset_conversion"):
        shutil.copytree(CLONE / name, folder / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in"):
        if (CLONE / name).exists():
            shutil.copy(CLONE / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def project_wheel(project_copy, tmp_path_factory):
    """Our wheel, built from the clone as `pip install .` builds it."""
    return build_wheel(project_copy, tmp_path_factory.mktemp("wheel"))


def build_wheel(project, folder):
    """Build the wheel of a project with the setuptools of this environment, from no registry."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, project], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


HOST_FOLDERS = ("training/nnUNetTrainer", "experiment_planning/experiment_planners")  # of nnunetv2, which `cdpd link` writes to


def files_of(folder):
    """Every file below a folder, as sorted relative names."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
