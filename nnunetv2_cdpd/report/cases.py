"""Cases: read the files of a case, draw its pictures and its volume, maybe in spawned processes; their legend."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunetv2_cdpd.classes import ClassKey, class_key
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.jobs.tables import number
from nnunetv2_cdpd.pages.body import Volume, read_label_map, read_volume
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.mistakes import Mistakes
from nnunetv2_cdpd.pages.pictures import PlanePicture, case_pictures
from nnunetv2_cdpd.pages.viewer import viewer_volume


class ReportCase(NamedTuple):
    """Files of a case to show; the label maps lie on the grid of the image. Without an image, they are drawn on black."""

    case: str
    image_file: str | Path | None
    reference_file: str | Path
    prediction_file: str | Path

    @classmethod
    def of(cls, case: str, reference: Path, prediction: Path, images: str | Path | None) -> "ReportCase":
        """A case by its label maps; images: Folder of the images, named as nnU-Net names them."""
        image = None if images is None else Path(images) / f"{case}_0000{reference.name.removeprefix(case)}"
        return cls(case, image, reference, prediction)


def images_of_dataset(place: str | Path | None) -> dict[str, Path]:
    """The first channel of each case of a raw dataset, wherever it lies; empty if the place is none.

    Raises:
        UserError: Its dataset.json is damaged.
    """
    if place is None or not (Path(place) / FILE_NAME).is_file():
        return {}
    dataset = read_dataset(place)
    return {case.identifier: dataset.path(case.images[0]) for case in dataset.cases if case.images}


@dataclass(frozen=True)
class DrawJob:
    """What to draw of a case: pictures, and a volume to scroll through.

    mistakes: By its scores; None: it has none.
    volume_bytes: That its volume may take in the page; 0: none is shown.
    """

    case: ReportCase
    layers: Layers
    window: tuple[float, float] | None
    mistakes: Mistakes | None = None
    volume_bytes: int = 0


@dataclass(frozen=True)
class DrawnCase:
    """volume: What viewer.js reads; None: no volume. seen: Name keys of the classes that occur."""

    planes: Sequence[PlanePicture]
    volume: Mapping[str, Any] | None
    seen: frozenset[ClassKey]

    @property
    def picture_bytes(self) -> int:
        """Of its pictures in the page, about."""
        its = (
            path
            for plane in self.planes
            for part in (plane.reference, plane.prediction, plane.mistakes)
            for path in part.values()
        )
        return sum(map(len, its)) + sum(len(plane.image) for plane in self.planes)


def draw_case(job: DrawJob) -> DrawnCase:
    """Read and draw one case.

    Raises:
        UserError: A file cannot be read, or the files do not lie on one grid. The page shows the message: it names no path.
    """
    image, reference, prediction = _read(job.case)
    layers = job.layers
    planes = case_pictures(image, reference, prediction, layers.reference, layers.prediction, job.window, job.mistakes)
    volume = None
    if job.volume_bytes:
        reference_indices, prediction_indices = (
            {value: layers.palette.index(name) for value, name in names.items()}
            for names in (layers.reference_names, layers.prediction_names)
        )
        made = viewer_volume(
            image, reference, prediction, reference_indices, prediction_indices, job.window, job.mistakes, job.volume_bytes
        )
        volume = {"case": job.case.case, **vars(made)}
    return DrawnCase(planes, volume, layers.seen(reference.array, prediction))


def viewer_classes(layers: Layers) -> list[dict[str, Any]]:
    """What viewer.js knows of each class that a volume may show."""
    palette = layers.palette
    names = {palette.index(name): name for name in (*layers.prediction_names.values(), *layers.reference_names.values())}
    return [{"index": index, "name": name, "colour": palette.colour(name)} for index, name in sorted(names.items())]


def legend(results: Results, scores: CaseScores | None, seen: frozenset[ClassKey], layers: Layers) -> list[tuple[str, str]]:
    """Classes that are drawn or scored in a case, with their Dice; seen: As in DrawnCase."""
    metrics = scores.metrics if scores else {}
    entries = {}
    for name in (*results.class_names, *layers.reference, *layers.prediction):
        dice = metrics[name]["Dice"] if name in metrics else np.nan
        if class_key(name) not in entries and (class_key(name) in seen or np.isfinite(dice)):
            entries[class_key(name)] = name, number(dice, 3) if name in metrics else "not annotated"
    return list(entries.values())


def _read(case: ReportCase) -> tuple[np.ndarray | None, Volume, np.ndarray]:
    def volume(what: str, file: str | Path, read: Callable[[str | Path], Volume]) -> Volume:
        if not Path(file).exists():
            raise UserError(f"its {what} is not where it is looked for; give `cdpd report` the folder of the {what}s")
        try:
            return read(file)
        except Exception as error:  # of whatever kind: its words may hold paths
            raise UserError(f"its {what} cannot be read; is the file damaged?") from error

    image = None if case.image_file is None else volume("image", case.image_file, read_volume).array
    reference = volume("reference", case.reference_file, read_label_map)
    return image, reference, volume("prediction", case.prediction_file, read_label_map).array
