"""Features: the facts of a case as numbers that a regression sees, each about 0 for a usual prediction of a good model.

expected_dice  the Dice that the probabilities themselves expect of the label map, as a logit; networks are too sure of
               themselves, so it needs a regression, but it ranks well
sharpness      the Dice of where p > 0.75 with where p > 0.25, as a logit
inside         mean p where the class is labelled, as a logit
outside        probability outside of what is labelled, against the labelled volume, as a logarithm
edge           doubt, 4 p (1 - p), per face between inside and outside: how wide the border is
entropy        mean entropy where it is labelled: what is reported as uncertainty most often
size, size_far ln of the volume against training cases, in their standard deviations; how far it is off on either side
intensity      how far its mean intensity is off
place          how far it lies from its place among the other classes
pieces, largest  the number of pieces, as a logarithm; the share of the largest one
border         share of voxels at the border of the image
others         expected Dice of the other classes of the case, against what is usual for each
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnunetv2_cdpd.quality.anatomy import ClassAnatomy, distance_from_place

FEATURES = (
    "expected_dice",
    "sharpness",
    "inside",
    "outside",
    "edge",
    "entropy",
    "size",
    "size_far",
    "intensity",
    "place",
    "pieces",
    "largest",
    "border",
    "others",
)
_CLOSEST = 0.005  # of a share to 0 and 1, so that its logit is finite
_FARTHEST = 6.0  # standard deviations from the training cases: what is beyond is no worse
_TINY = 1e-3


def expected_dice(facts: Mapping[str, Any]) -> float:
    """The Dice that the probabilities of a class expect of its label map; 0 where it is nowhere."""
    voxels = facts["shape"]["voxels"] if facts["shape"] else 0
    return 2 * facts["probability_inside"] / (voxels + facts["probability"]) if voxels else 0.0


def logit(share: float) -> float:
    share = min(max(share, _CLOSEST), 1 - _CLOSEST)
    return math.log(share / (1 - share))


def features_of(
    facts: Mapping[str, Mapping[str, Any]], anatomy: Mapping[str, ClassAnatomy], usual: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Class that is somewhere -> its features, in the order of `FEATURES`.

    Args:
        facts: Of all classes of a case, as `facts.facts_of` gives them.
        anatomy: Of the training cases.
        usual: Class -> mean `expected_dice` feature of its validation cases.
    """
    present = {name: its for name, its in facts.items() if its["shape"]}
    centroids = {name: np.array(its["shape"]["centroid_mm"]) for name, its in present.items()}
    beyond = {name: logit(expected_dice(its)) - usual[name] for name, its in present.items() if name in usual}
    found = {}
    for name, its in present.items():
        shape = its["shape"]
        voxels = shape["voxels"]
        size = intensity = 0.0
        if (known := anatomy.get(name)) is not None:
            size = (math.log(shape["volume_ml"]) - known.log_volume) / known.log_volume_sd
            intensity = (its["intensity_inside"] / voxels - known.intensity) / known.intensity_sd
        others = [value for other, value in beyond.items() if other != name]
        above = its["above_0.25"] + its["above_0.75"]
        values = {
            "expected_dice": logit(expected_dice(its)),
            "sharpness": logit(2 * its["above_0.75"] / above if above else 0.0),
            "inside": logit(its["probability_inside"] / voxels),
            "outside": math.log(max(its["probability"] - its["probability_inside"], 0.0) / voxels + _TINY),
            "edge": math.log(its["doubt"] / shape["faces"] + _TINY),
            "entropy": its["entropy_inside"] / voxels,
            "size": float(np.clip(size, -_FARTHEST, _FARTHEST)),
            "size_far": min(abs(size), _FARTHEST),
            "intensity": min(abs(intensity), _FARTHEST),
            "place": min(distance_from_place(name, centroids, anatomy) or 0.0, _FARTHEST),
            "pieces": math.log(shape["pieces"]),
            "largest": shape["largest_share"],
            "border": shape["border_share"],
            "others": float(np.mean(others)) if others else 0.0,
        }
        found[name] = np.array([values[feature] for feature in FEATURES])
    return found
