"""Small commands to submit, in place of nnU-Net's, which take seconds to start."""

import stat
from pathlib import Path

PROBE = "nnUNetv2_probe"  # writes what it was given, and ends as it is told
_PROBE = """#!/bin/bash
# WHAT NAME [SECONDS or CODE]: a line in the file NAME for each start
echo "$$ ${{SLURM_RESTART_COUNT:-0}} ${{SLURM_ARRAY_TASK_ID:-}} $nnUNet_raw $*" >> "$2"
case "$1" in
fail) echo "said why it fails" >&2; exit "$3" ;;
wait) if [ "${{SLURM_RESTART_COUNT:-0}}" -eq 0 ]; then exec sleep "$3"; fi ;;
esac
"""


def write_probe(folder: Path) -> str:
    """The program in a folder that is then to be in PATH; returns its name."""
    path = folder / PROBE
    path.write_text(_PROBE.format())
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return PROBE


def starts(path: Path) -> list[list[str]]:
    """Of each start: the process, how often it was started before, its number in the array, nnUNet_raw and the arguments."""
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []
