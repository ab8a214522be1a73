"""The demo's page: how it was made, scores per class and per scanner look, pictures of unseen volumes."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.report.cases import ReportCase
from nnunetv2_cdpd.report.page import write_report


def write_demo_page(
    path: Path,
    *,
    predictions: Path,
    test_set: Path,
    commands: Sequence[str],
    notes: Sequence[str],
    seconds: Mapping[str, float],
    device: str,
) -> Path:
    """Write `report.html`.

    Args:
        predictions: Folder of nnUNetv2_predict's output, with the summary.json of `cdpd evaluate`.
        test_set: Folder of `write_test_set`.
        commands: That were run, in order.
        notes: Which weights were used, and what else is to be known of the result, in a sentence each.
        seconds: Of each step and of all.
    """
    results = read_results(predictions / "summary.json")
    labels = [f"Source {s.name}: annotates {', '.join(name.replace('_', ' ') for name in s.labels)}" for s in DEMO_SOURCES]
    times = ", ".join(f"{step.lower()} {value / 60:.1f} min" for step, value in seconds.items())
    intro = [
        "One network, trained on three made-up sources that each label other structures, segments all of them in volumes that it "
        "has never seen. These volumes are labelled completely and come in the look of every source, so each class is also "
        "scored where its look was never annotated with it (the tables by source below).",
        *labels,
        *notes,
        f"Time: {times}",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, device {device}; Python {platform.python_version()}, "
        f"nnunetv2-cdpd {__version__}",
        *(f"Command {number}: {command}" for number, command in enumerate(commands, start=1)),
    ]
    cases = [
        ReportCase.of(its.case, Path(its.reference_file), Path(its.prediction_file), test_set / "images")
        for its in results.cases[: len(DEMO_SOURCES)]
    ]
    return write_report(path, title="CDPDNet demo", intro_lines=intro, results=results, cases=cases)
