"""A real `cdpd serve` in a process of its own, on a free port of this machine, and what is sent to it."""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from builders import model as tiny_model
from builders.prediction import SPACING
from builders.replica_files import write_dicom

_START_SECONDS = 120


class RunningServer:
    """The process, and its address as `url`; `with` ends it."""

    def __init__(self, *arguments, environment=None):
        command = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", "serve", *map(str, arguments), "-device", "cpu"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
        self.process = subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("serving"):
                self.url = line.split(" on ")[1].split()[0]
                self.port = int(self.url.rpartition(":")[2])
                return
        raise RuntimeError("".join(self.lines) + self.process.communicate(timeout=_START_SECONDS)[1])

    def end(self):
        self.process.terminate()
        self.process.communicate(timeout=30)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()


def write_volume(path: Path, shape=(14, 21, 18), seed=0) -> Path:
    """An image as the tiny model's, in its patient's coordinates."""
    picture = sitk.GetImageFromArray(tiny_model.make_image(shape, seed=seed))
    picture.SetSpacing(SPACING)
    picture.SetOrigin((12.5, -30.0, 7.0))
    picture.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(picture, str(path))
    return path


def write_long_volume(path: Path) -> Path:
    """An image that takes a tiny model many seconds."""
    return write_volume(path, (60, 120, 120))


def write_series(folder: Path, **more) -> list[Path]:
    """A CT series of one study; array as `write_volume`'s.

    Args:
        more: Of `write_dicom`.
    """
    return write_dicom(
        folder,
        np.transpose(tiny_model.make_image((14, 21, 18)), (2, 1, 0)),
        StudyInstanceUID="1.2.3.4",
        FrameOfReferenceUID="1.2.3.5",
        **more,
    )


def zipped(path: Path, entries) -> Path:
    """A zip of (name, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def wait_for(client, job_id, states=("done", "failed", "cancelled", "lost"), seconds=60):
    """The state of a job, once it is one of these."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = client.get(f"/jobs/{job_id}").json()
        if state["state"] in states:
            return state
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} is still {state['state']}")


def processes_of(pid: int) -> dict[int, list[str]]:
    """A process and those that it started -> what /proc says of each."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it is gone
                continue
            if pid in (int(folder.name), int(fields[1])):
                found[int(folder.name)] = fields
    return found


def cpu_seconds(pid: int) -> float:
    """That a process and those that it started have used until now."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in processes_of(pid).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def workers_of(pid: int) -> list[int]:
    """Processes that a server started and that hold models."""
    return [its for its in processes_of(pid) if its != pid and b"spawn_main" in Path(f"/proc/{its}/cmdline").read_bytes()]
