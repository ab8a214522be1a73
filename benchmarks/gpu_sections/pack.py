"""Pack: what must travel to a machine without the internet, as one folder.

The sources, and nnU-Net with its small packages at the versions that are installed here: copied from this environment, which
needs no registry and no building. Compiled packages do not travel (`stand_ins`).
"""

import shutil
from importlib import metadata
from pathlib import Path

CLONE = Path(__file__).parents[2]
SOURCES = ("nnunetv2_cdpd", "trainers", "planners", "dataset_conversion", "benchmarks", "tests/builders", "setup.cfg")
PACKAGES = "packages"  # in the folder
CARRIED = ("nnunetv2", "dynamic_network_architectures", "batchgenerators", "batchgeneratorsv2", "acvl_utils")
MOST_BYTES = 64 * 2**20
_IGNORED = shutil.ignore_patterns("__pycache__", "*.py[cod]")


def pack(folder: Path) -> str:
    """Make the folder, which must not exist; returns a line about it.

    Raises:
        SystemExit: There is something, a package is not installed as files, or the whole is too large.
    """
    if folder.exists():
        raise SystemExit(f"{folder}: exists already; name a new folder")
    for name in SOURCES:
        source, target = CLONE / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=_IGNORED)
        else:
            shutil.copy(source, target)
    for name in CARRIED:
        copy_installed(name, folder / PACKAGES)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if size > MOST_BYTES:
        raise SystemExit(f"{folder}: {size / 2**20:.0f} MiB, more than {MOST_BYTES >> 20}")
    return f"{folder}: {size / 2**20:.1f} MiB; there: python benchmarks/gpu.py OUT"


def copy_installed(name: str, folder: Path) -> None:
    """Copy the files of an installed distribution, its metadata included."""
    distribution = metadata.distribution(name)
    files = [file for file in distribution.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    if not any(file.parts[0] == name for file in files):
        raise SystemExit(f"{name}: not installed as files here (an editable installation?); install it from its wheel")
    for file in files:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), target)
