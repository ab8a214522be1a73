"""`cdpd complete` with real networks, killed in the middle: what comes of it is what an undisturbed call makes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from builders.completion import CASES, write_dataset, write_teacher
from builders.merge import contents

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.completion.output import COMPLETION_RECORD_FILE
from nnunetv2_cdpd.completion.reference_cases import REFERENCES_FILE

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
RECORDS = (COMPLETION_RECORD_FILE, REFERENCES_FILE)  # their lines stand in the order of the work


def test_a_completion_that_was_killed_gives_the_same_files(nnunet_folders):
    raw = nnunet_folders.raw
    write_dataset(raw)
    model = write_teacher(nnunet_folders.results)
    options = ["--teachers", str(model), "-device", "cpu", "-np", "1", "--name", "M", "--without", "confidence"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunetv2_cdpd.cli.main", "complete", "400", "-o", "410", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    labels = raw / "Dataset410_M" / "labelsTr"
    end = time.monotonic() + 300
    while not labels.is_dir() or len(list(labels.glob("[ab]*.nii.gz"))) < 3:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (raw / "Dataset410_M" / "dataset.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in labels.glob("[ab]*.nii.gz")}
    assert main(["complete", "400", "-o", "410", *options]) == 0
    again = {path.name: path.stat().st_mtime_ns for path in labels.iterdir()}
    assert sorted(again) == [f"{case}.nii.gz" for case in CASES]
    assert sum(again[name] == time for name, time in kept.items()) >= len(kept) - 1
    (raw / "Dataset410_M").rename(raw / "killed")
    assert main(["complete", "400", "-o", "410", *options]) == 0
    killed, whole = (
        {name: c for name, c in contents(folder).items() if name not in RECORDS}
        for folder in (raw / "killed", raw / "Dataset410_M")
    )
    assert killed == whole
