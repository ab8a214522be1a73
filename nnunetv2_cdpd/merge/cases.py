"""One case of a merge: image and label checked against each other, the label map rewritten with merged values.

Runs in spawned processes, so it imports little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.grid import same_place
from nnunetv2_cdpd.volumes.headers import grid_of_file

# Origin (mm) and direction cosines: headers store them in single precision, and tools round them differently. Shape and
# spacing are compared as closely as nnU-Net does, because it refuses to go on otherwise.
POSITION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class MergeJob:
    """What to do for one case.

    values: Stored value -> merged value, for every declared value.
    """

    identifier: str
    images: tuple[str, ...]
    label: str
    output: str
    values: Mapping[int, int]
    reader: type[BaseReaderWriter]
    num_channels: int
    made_from: str = ""

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (Path(self.output),)


@dataclass(frozen=True)
class MergedLabelMap:
    """values: Merged values in the rewritten label map."""

    values: tuple[int, ...]


def rewrite_case(job: MergeJob) -> MergedLabelMap:
    """Check a case and write its label map; the output appears at once and complete, or not at all.

    Raises:
        UserError: What is wrong with the files.
    """
    label_map, properties = job.reader().read_seg(job.label)
    stored = distinct(label_map)
    problems = [*_geometry_problems(job), *_value_problems(job, len(label_map), stored)]
    if problems:
        raise UserError("; ".join(problems))
    table = np.zeros(max(job.values) + 1, np.uint16)
    table[list(job.values)] = list(job.values.values())
    merged = table[label_map[0].astype(np.int32)]
    with written_beside(Path(job.output)) as beside:
        job.reader().write_seg(merged, str(beside), properties)
    return MergedLabelMap(tuple(sorted({int(table[int(value)]) for value in stored})))


def _value_problems(job: MergeJob, channels: int, stored: np.ndarray) -> list[str]:
    if channels != 1:
        return [f"label {job.label} has {channels} channels, not one; split it"]
    broken = stored[~(np.isfinite(stored) & (stored == np.rint(stored)))]
    if broken.size:
        examples = ", ".join(f"{value:g}" for value in broken[:3])
        return [f"label {job.label} holds values that are no integers ({examples}); was it resampled as an image?"]
    unknown = [int(value) for value in stored if int(value) not in job.values]
    if unknown:
        return [
            f"label {job.label} holds {', '.join(map(str, unknown[:5]))}{' ...' if len(unknown) > 5 else ''}, which `labels` "
            "of its dataset.json does not declare; declare it or mend the label"
        ]
    return []


def _geometry_problems(job: MergeJob) -> list[str]:
    label = grid_of_file(job.label, job.reader)
    problems = []
    for path in job.images:
        image = grid_of_file(path, job.reader)
        if what := same_place(image, label, spacing_mm=1e-8, position_mm=POSITION_TOLERANCE, relative=1e-5):
            values = (_short(getattr(grid, what)) for grid in (image, label))
            problems.append(
                f"{what} of image {path} ({next(values)}) and label ({next(values)}) differ; the label has to lie on the grid "
                "of the image"
            )
    if len(job.images) != job.num_channels and not problems:
        channels = len(job.reader().read_images(job.images)[0])  # one file may hold several channels
        if channels != job.num_channels:
            problems.append(f"{channels} image channel(s) ({', '.join(job.images)}), `channel_names` lists {job.num_channels}")
    return problems


def _short(value: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{number:.6g}" for number in np.ravel(value))
