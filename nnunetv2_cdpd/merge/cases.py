"""One case of a merge: image and label checked against each other, the label map rewritten with merged values.

Runs in spawned processes, so it imports little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.label_maps import checked_label_map, distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.collect import MergedCase
from nnunetv2_cdpd.volumes.grid import Grid, same_for_nnunet
from nnunetv2_cdpd.volumes.reading import CheckedReader, header_notes


@dataclass(frozen=True)
class MergeJob:
    """What to do for one case.

    annotation: Of its input dataset.
    values: Stored value -> merged value, for every declared value.
    """

    case: MergedCase
    output: Path
    annotation: Annotation
    values: Mapping[int, int]
    reader: CheckedReader
    num_channels: int
    made_from: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (self.output,)


def check_case(job: MergeJob) -> tuple[int, ...]:
    """What `rewrite_case` does, without writing."""
    return tuple(distinct(_merged(job)[0]).tolist())


def rewrite_case(job: MergeJob) -> tuple[int, ...]:
    """Check a case and write its label map.

    Returns:
        Merged values in the rewritten label map.

    Raises:
        UserError: What is wrong with the files.
    """
    merged, properties = _merged(job)
    job.reader.write_seg(merged, job.output, properties)
    return tuple(distinct(merged).tolist())


def _merged(job: MergeJob) -> tuple[np.ndarray, dict]:
    """The label map of a case with merged values, checked, and what its reader needs to write it."""
    read, properties = job.reader.read_seg(job.case.label)
    problems = _image_problems(job, Grid.of_array(read.shape[1:], properties))
    try:
        label_map = checked_label_map(read, job.annotation, f"label {job.case.label}")
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    table = np.zeros(max(job.values) + 1, np.uint16)
    table[list(job.values)] = list(job.values.values())
    return table[label_map], properties


def _image_problems(job: MergeJob, label: Grid) -> list[str]:
    """What is wrong with the images; they are read whole, because nnU-Net takes what is missing of a file for zeros."""
    problems = []
    channels = 0
    for path in job.case.images:
        try:
            array, properties = job.reader.read_images((path,))
        except UserError as error:
            problems.append(str(error))
            continue
        channels += len(array)  # one file may hold several
        image = Grid.of_array(array.shape[1:], properties)
        what = same_for_nnunet(image, label)
        # Also where nnU-Net reads the image alike: it may be why the label lies elsewhere.
        notes = header_notes(path) if what else job.reader.misread(path, array, properties)
        problems += [f"{path}: {note}; nnU-Net reads the file itself, `cdpd convert` writes it anew" for note in notes]
        if what:
            problems.append(
                f"{what} of image {path} ({_short(getattr(image, what))}) and label ({_short(getattr(label, what))}) differ; the "
                "label has to lie on the grid of the image"
            )
    if channels != job.num_channels and not problems:
        listed = ", ".join(map(str, job.case.images))
        problems.append(f"{channels} image channel(s) ({listed}), `channel_names` lists {job.num_channels}")
    return problems


def _short(value: Sequence[int] | np.ndarray) -> str:
    return " ".join(f"{number:.6g}" for number in np.ravel(value))
