"""What commands and processes import before they work: heavy modules are imported where they are used."""

import subprocess
import sys

import pytest

from nnunetv2_cdpd.cli.commands import COMMANDS

# Each takes 0.1 s or more, or 50 MB; `numpy` and `SimpleITK` are what reading a volume takes.
HEAVY = {"torch", "sklearn", "pandas", "scipy.stats", "scipy.ndimage", "scipy.cluster", "skimage", "monai", "matplotlib", "timm"}
HEAVY |= {"open_clip", "nnunetv2.imageio.reader_writer_registry", "nibabel", "SimpleITK", "numpy", "nnunetv2"}
READING = {"numpy", "SimpleITK", "nibabel", "nnunetv2"}


def imported_by(script: str) -> set[str]:
    code = f"{script}\nimport sys\nprint('imported', *sorted({HEAVY!r} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.splitlines()[-1].split()[1:])


def test_no_help_imports_anything_heavy():
    """All in one process: what any of them imports is found."""
    script = (
        "from argparse import ArgumentParser\n"
        "from nnunetv2_cdpd.cli.commands import module_of\n"
        f"for name in {list(COMMANDS)}: module_of(name).add_arguments(ArgumentParser())"
    )
    assert imported_by(script) == set()


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("nnunetv2_cdpd.merge.cases", READING),
        ("nnunetv2_cdpd.conversion.case", {*READING, "scipy.ndimage"}),
        ("nnunetv2_cdpd.evaluation.case", {*READING, "scipy.ndimage"}),
        ("nnunetv2_cdpd.jobs.processes", {"numpy"}),
    ],
)
def test_processes_of_cases_import_little(module, allowed):
    assert imported_by(f"import {module}") <= allowed


def test_labels_and_sources_import_what_they_show(tmp_path):
    assert imported_by("import nnunetv2_cdpd.datasets.dataset_json") <= {"numpy", "nnunetv2"}
    assert imported_by("from nnunetv2_cdpd.cli.main import main\nmain(['sources', '--json'])") <= READING
