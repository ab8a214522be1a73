"""Slices: those of each CT that show a body, cut as the slice encoder sees them, kept compressed where each is read alone.

    image ── along the axis of its largest spacing ── nearly all air: passed over ── evenly spread ── int16 HU, one chunk each

nnU-Net's planner puts the axis of the largest spacing first, and the slice encoder cuts along the first; here each image has its
own. An image is read once; a second run, or one that is continued, finds the file by what it was made from.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.inference.inputs import opened
from nnunetv2_cdpd.jobs import Outcome, digest, file_state, in_processes, number_of_processes, run, written_beside
from nnunetv2_cdpd.pretraining.images import CtImage

_BODY_HU = -500.0  # the lightest tissue is above, air below
_LEAST_BODY = 0.05  # share of a slice above it; with less it is nearly all air
_ROUNDED = 1e-3  # by which headers round spacings, in proportion
_VERSION = 1  # of how slices are cut
_IMAGES_PER_PROCESS = 4
_AHEAD = 4  # iterations whose slices are read already


@dataclass(frozen=True)
class SliceFile:
    """What is cut from one image; a job of a batch.

    clip_hu: No view shows a difference beyond.
    """

    image: CtImage
    folder: Path
    clip_hu: tuple[float, float]
    at_most: int

    @cached_property
    def made_from(self) -> str:
        """Digest of the files of the image and of how it is cut; holds no name."""
        states = [file_state(file) for file in self.image.case.files]
        return digest(_VERSION, states, self.image.channel, self.image.reader.name, self.clip_hu, self.at_most)

    @property
    def output(self) -> Path:
        return self.folder / f"{self.made_from}.b2nd"


class _ByTheFile:
    """Record of a batch whose files say by their names what they were made from."""

    def holds(self, name: str, job: SliceFile) -> bool:
        return job.output.is_file()

    def enter(self, name: str, job: SliceFile, result: None) -> None:
        pass


def cut_all(files: Mapping[str, SliceFile], num_processes: int | None, progress: bool) -> Outcome[None]:
    """Cut the images whose slices are not there yet.

    Args:
        files: Under the names that the outcome tells.
    """
    processes = number_of_processes(num_processes, len(files), _IMAGES_PER_PROCESS)
    return run(files, in_processes(cut, processes), title="reading", record=_ByTheFile(), unit="image", progress=progress)


def cut(job: SliceFile) -> None:
    """Read an image and keep its slices.

    Raises:
        UserError: It cannot be read, or shows nothing but air.
    """
    import blosc2

    with opened(job.image.case, job.image.reader, lambda line: None) as files:
        images, properties = job.image.reader.read_images(files)
    if job.image.channel >= len(images):
        raise UserError(f"{job.image.case.files[0]}: holds {len(images)} channels, and CT is number {job.image.channel}")
    slices = with_a_body(np.moveaxis(images[job.image.channel], slice_axis(properties["spacing"]), 0), job.at_most)
    if not len(slices):
        raise UserError(f"{job.image.case.files[0]}: all slices are nearly all air; is it a CT in HU? Take it out")
    array = np.ascontiguousarray(slices.clip(*job.clip_hu).round().astype(np.int16))
    with written_beside(job.output) as beside:
        blosc2.asarray(array, urlpath=str(beside), mode="w", chunks=(1, *array.shape[1:]))


def slice_axis(spacing: Sequence[float]) -> int:
    """Axis of the largest spacing; the first of those that differ by rounding only."""
    return next(axis for axis, each in enumerate(spacing) if each >= max(spacing) * (1 - _ROUNDED))


def with_a_body(slices: np.ndarray, at_most: int) -> np.ndarray:
    """Those of (S, H, W), in HU, that are not nearly all air; of many, as many as wanted, evenly spread."""
    there = np.flatnonzero((slices > _BODY_HU).mean((1, 2)) >= _LEAST_BODY)
    if len(there) > at_most:
        there = there[np.arange(at_most) * len(there) // at_most]
    return slices[there]


class Slices:
    """All slices of all images, by their number.

    Raises:
        UserError: A file that is there cannot be read.
    """

    def __init__(self, files: Sequence[SliceFile]) -> None:
        self.files = list(files)
        counts = [len(_open(file.output)) for file in files]
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=int)])  # of each image, and where the last ends

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def made_from(self) -> str:
        """What tells whether a run that is continued sees the same slices in the same order."""
        return digest([file.made_from for file in self.files])

    def read(self, numbers: Sequence[int]) -> list[Tensor]:
        """Slices (H, W), int16 in HU, each of its own size."""
        return [self._read(number) for number in numbers]

    def _read(self, number: int) -> Tensor:
        image = int(np.searchsorted(self.first, number, side="right")) - 1
        return torch.from_numpy(_open(self.files[image].output)[number - int(self.first[image])])

    def images_of(self) -> dict[str, tuple[int, int]]:
        """Dataset, or folder -> number of its images and of their slices."""
        found: dict[str, tuple[int, int]] = {}
        for file, count in zip(self.files, np.diff(self.first).tolist()):
            images, slices = found.get(file.image.data, (0, 0))
            found[file.image.data] = images + 1, slices + count
        return found


def read_ahead(slices: Slices, iterations: range, wanted: Callable[[int], Sequence[int]]) -> Iterator[list[Tensor]]:
    """The slices of one iteration after the other; those of the next are read in threads meanwhile.

    Args:
        wanted: Numbers of the slices of an iteration.
    """
    with ThreadPoolExecutor(_AHEAD) as threads:
        coming = deque(threads.submit(slices.read, wanted(iteration)) for iteration in iterations[:_AHEAD])
        for iteration in iterations:
            batch = coming.popleft().result()
            if iteration + _AHEAD < iterations.stop:
                coming.append(threads.submit(slices.read, wanted(iteration + _AHEAD)))
            yield batch


def _open(path: Path) -> Any:
    import blosc2

    try:
        return blosc2.open(urlpath=str(path), mode="r")
    except Exception as error:  # whatever blosc2 raises for what is no array of it
        raise UserError(f"{path}: slices that cannot be read ({reason(error)}); remove it, and call again") from error
