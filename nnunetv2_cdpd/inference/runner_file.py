"""The runner as one file: `portable` and what it takes of other rooms, as a zip that Python runs (`python runner.pyz`)."""

import zipfile
from pathlib import Path

import nnunetv2_cdpd
from nnunetv2_cdpd.jobs import written_beside

# Of our package, in its own places: the modules that `portable` imports, which need numpy, SimpleITK and filelock at most.
OTHER_ROOMS = (
    "__init__.py",
    "errors.py",
    *(f"jobs/{name}.py" for name in ("__init__", "batch", "files", "folder", "processes", "record", "scratch", "sealed")),
    *(f"volumes/{name}.py" for name in ("__init__", "axes", "grid", "splines", "text_headers", "value_types", "whole")),
)
_START = "import sys\n\nfrom nnunetv2_cdpd.portable.main import runner_main\n\nsys.exit(runner_main())\n"
_TIME = (1980, 1, 1, 0, 0, 0)  # the same sources give the same file


def write_runner(path: Path) -> None:
    """Write the runner; its messages and its results are those of `python -m nnunetv2_cdpd.portable`."""
    package = Path(nnunetv2_cdpd.__file__).parent
    names = [*OTHER_ROOMS, *sorted(f"portable/{file.name}" for file in (package / "portable").glob("*.py"))]
    contents = {f"nnunetv2_cdpd/{name}": (package / name).read_bytes() for name in names}
    with written_beside(path) as beside, beside.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {"__main__.py": _START.encode(), **contents}.items():
                archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
