"""Anatomy: how large each class is in the training cases and where it lies among the others, to see what is unlike them.

Places are told among the classes of a case, not in its image, whose field of view differs from hospital to hospital: a case
is moved by the median of how far its other classes lie from where they lie on average.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_PRIOR_CASES = 4  # for which the spread of all classes together stands, where a class has few cases
_PRIOR_LOG_VOLUME = 0.4  # standard deviation of log volume, that of an organ among adults
_PRIOR_INTENSITY = 0.3  # the same of mean intensities, in those of the training images
_LEAST_MM = 3.0  # of the spread of places: borders are drawn no better
_ROUNDS = 10


@dataclass(frozen=True)
class ClassAnatomy:
    """One class in the training cases that annotate it and hold it.

    cases: How many.
    log_volume, log_volume_sd: Mean and standard deviation of ln of the volume in ml.
    place_mm: Mean place, axes as in the arrays; None: no case has another class beside it.
    place_sd_mm: Of its distance from there, per axis.
    intensity, intensity_sd: Mean and standard deviation of the mean intensity in it, as the network sees it.
    """

    cases: int
    log_volume: float
    log_volume_sd: float
    place_mm: tuple[float, ...] | None
    place_sd_mm: float
    intensity: float
    intensity_sd: float


def anatomy_of(references: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, ClassAnatomy]:
    """Class -> what the references say of it.

    Args:
        references: Of each case, as `facts.reference_places` gives it.
    """
    references = list(references)
    volumes: dict[str, list[float]] = {}
    centroids = []
    for reference in references:
        present = {name: its for name, its in reference.items() if its["centroid_mm"] is not None}
        for name, its in present.items():
            volumes.setdefault(name, []).append(np.log(its["volume_ml"]))
        centroids.append({name: np.array(its["centroid_mm"]) for name, its in present.items()})
    places = _places(centroids)
    residuals: dict[str, list[np.ndarray]] = {}
    for its_centroids in centroids:
        for name in its_centroids:
            if (residual := _residual(name, its_centroids, places)) is not None:
                residuals.setdefault(name, []).append(residual)
    spread = [r for found in residuals.values() for r in found]
    pooled = float(np.sqrt(np.mean(np.square(spread)))) if spread else 0.0
    return {
        name: ClassAnatomy(
            len(logs),
            float(np.mean(logs)),
            _shrunk(np.subtract(logs, np.mean(logs)), _PRIOR_LOG_VOLUME),
            tuple(places[name]) if name in residuals else None,
            max(_LEAST_MM, _shrunk(np.ravel(residuals.get(name, [])), pooled, _PRIOR_CASES * 3)),
            *_intensity([its[name]["intensity"] for its in references if name in its]),
        )
        for name, logs in volumes.items()
    }


def distance_from_place(name: str, centroids: Mapping[str, np.ndarray], anatomy: Mapping[str, ClassAnatomy]) -> float | None:
    """How far a class lies from where it lies in training cases, in standard deviations per axis; None: nothing tells.

    Args:
        centroids: Of all classes that are there, in mm.
    """
    known = {other: np.array(its.place_mm) for other, its in anatomy.items() if its.place_mm is not None}
    residual = _residual(name, centroids, known)
    return None if residual is None else float(np.sqrt(np.mean(np.square(residual)))) / anatomy[name].place_sd_mm


def _places(centroids: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Class -> mean place, of cases that were moved onto each other."""
    names = {name for its in centroids for name in its}
    moved = centroids
    places: dict[str, np.ndarray] = {}
    for _ in range(_ROUNDS):
        places = {name: np.mean([its[name] for its in moved if name in its], 0) for name in names}
        moved = [
            {name: at - np.median([its[n] - places[n] for n in its], 0) for name, at in its.items()} if its else its
            for its in centroids
        ]
    return places


def _residual(name: str, centroids: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray]) -> np.ndarray | None:
    others = [at - places[other] for other, at in centroids.items() if other != name and other in places]
    if not others or name not in places:
        return None
    return centroids[name] - places[name] - np.median(others, 0)


def _intensity(means: list[float | None]) -> tuple[float, float]:
    """Mean and standard deviation over the cases whose grid has a voxel of the class."""
    known = [mean for mean in means if mean is not None]
    middle = float(np.mean(known)) if known else 0.0
    return middle, _shrunk(np.subtract(known, middle), _PRIOR_INTENSITY)


def _shrunk(deviations: np.ndarray, prior: float, prior_cases: int = _PRIOR_CASES) -> float:
    """Standard deviation, as if the prior had been seen in some cases."""
    deviations = np.asarray(deviations, float)
    return float(np.sqrt((np.square(deviations).sum() + prior_cases * prior**2) / (len(deviations) + prior_cases)))
