"""Fixtures that all tests share, and a process that no setting of the machine reaches."""

import os

# Before numpy and torch are imported: the tests are small, and threads that wait for each other on busy cores cost most.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
for _variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
    os.environ.pop(_variable, None)
for _variable in ("CDPD_VISION_ENCODER", "CDPD_VISION_WEIGHTS", "CDPD_TEXT_WEIGHTS", "CDPD_DEBUG"):
    os.environ.pop(_variable, None)

import locale
import shutil
from types import SimpleNamespace

import pytest
from builders.project import CLONE, build_wheel

LOCALE = locale.setlocale(locale.LC_ALL)
LONGEST = (
    "test_end_to_end.py",
    "test_link_installed.py",
    "test_compile.py",
    "test_trainer.py",
    "test_trainer_weights.py",
    "test_trainer_heads.py",
)


def pytest_collection_modifyitems(items):
    """Start with the files that take longest: a worker that begins one of them last would be the only one at work."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def kept_locale():
    """Writing DICOM with SimpleITK sets the locale of the process to C, in which the text of later tests would be ASCII."""
    yield
    locale.setlocale(locale.LC_ALL, LOCALE)


@pytest.fixture(autouse=True)
def nothing_linked(monkeypatch):
    """No test's command writes link files into the nnunetv2 of this environment; those of linking use a copy of their own."""
    monkeypatch.setattr("nnunetv2_cdpd.cli.main.ensure_linked", lambda: None)


@pytest.fixture
def nnunet_folders(tmp_path, monkeypatch):
    """Empty nnUNet_raw, nnUNet_preprocessed and nnUNet_results, as .raw, .preprocessed and .results."""
    folders = {name: tmp_path / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    return SimpleNamespace(**folders)


@pytest.fixture
def raw(nnunet_folders):
    """An empty nnUNet_raw."""
    return nnunet_folders.raw


@pytest.fixture(scope="session")
def project_copy(tmp_path_factory):
    """Copy of what the wheel is built from, so that building leaves nothing in the clone."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("nnunetv2_cdpd", "trainers", "planners", "dataset_conversion"):
        shutil.copytree(CLONE / name, folder / name, ignore=ignored, symlinks=True)
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in"):
        if (CLONE / name).exists():
            shutil.copy(CLONE / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def project_wheel(project_copy, tmp_path_factory):
    """Our wheel, built from the clone as `pip install .` builds it."""
    return build_wheel(project_copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def one_thread():
    """Tiny networks are faster on one thread, above all where other processes want the cores too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_dynamo():
    """Nothing that torch.compile remembers of other tests."""
    import torch

    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
