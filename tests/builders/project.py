"""The project itself: the clone that the tests lie in, its wheel, and files below a folder."""

import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).parents[2]


def build_wheel(project, folder):
    """Build the wheel of a project with the setuptools of this environment, from no registry."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, project], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


# Folders of nnunetv2 that `cdpd link` writes to.
HOST_FOLDERS = ("training/nnUNetTrainer", "experiment_planning/experiment_planners", "preprocessing/resampling")


def files_of(folder):
    """Every file below a folder, as sorted relative names."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
