"""Cases: real CTs with their organs, as the networks see them.

abdomen  one CT of 3 mm (TS01 of TotalSegmentator, 12 organs of BTCV), dealt out by planes: four to train on, four to test
neck     OpenKBP, a split of the study `extension`: some of its 24 training patients, and its complete test patients
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import torch
from patients import ORGANS
from prompt_tables import BTCV
from torch import Tensor

if TYPE_CHECKING:
    from nnunetv2_cdpd.inference.predictor import Predictor

_PLANES = 4  # in turn: 12 mm
_SHOWN_HU = (-160.0, 240.0)
_BODY_HU = -500.0
_PATIENTS = 12  # of the neck that heads are trained on: more change little, and each costs seconds for every network
COMPLETE, TEST = "nnUNet_raw/Dataset721_Complete", "test"


@dataclass(frozen=True)
class Case:
    """image: (1, X, Y, Z), normalised. labels: (X, Y, Z), 1 + index of the organ. trained, tested: (X, Y, Z).
    facts: Organ index -> what the best text could tell of it: see `facts_of`.
    """

    image: Tensor
    labels: Tensor
    trained: Tensor
    tested: Tensor
    facts: dict[int, np.ndarray]


def abdomen(data: Path) -> Case:
    folder = data / "totalsegmentator"
    hu, values = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"TS01_{name}.nii.gz"))) for name in ("ct", "btcv13"))
    labels = np.zeros(values.shape, np.uint8)
    for index, value in enumerate(BTCV.values()):
        labels[values == value] = 1 + index
    low, high = _SHOWN_HU
    image = (hu.clip(low, high) - (low + high) / 2) / ((high - low) / 4)
    trained = np.zeros(labels.shape, bool)
    trained[np.arange(len(labels)) // _PLANES % 2 == 0] = True
    facts = facts_of(hu, labels, voxel_ml=0.027)
    return Case(*map(torch.from_numpy, (image[None].astype(np.float32), labels, trained, ~trained)), facts)


def neck(split: Path, predictor: "Predictor") -> Iterator[Case]:
    """Patients as a model preprocesses them, with all organs whatever the model knows; those to test on last."""
    complete, test = split / COMPLETE, split / TEST
    trained = sorted(path.name for path in (complete / "labelsTr").glob("*.nii.gz"))[:_PATIENTS]
    tested = [path.name for path in sorted((test / "labelsTr").glob("*.nii.gz")) if _is_complete(path)]
    for folder, names, is_trained in ((complete, trained, True), (test, tested, False)):
        for name in names:
            file = folder / "imagesTr" / name.replace(".nii.gz", "_0000.nii.gz")
            yield _neck_case(predictor, file, folder / "labelsTr" / name, is_trained)


def _neck_case(predictor: "Predictor", image: Path, label_map: Path, is_trained: bool) -> Case:
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, labels, _ = preprocessor.run_case(
        [str(image)], str(label_map), predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    )
    chosen = np.full(labels.shape[1:], is_trained)
    hu, values = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (image, label_map))
    facts = facts_of(hu, values, float(np.prod(sitk.ReadImage(str(image)).GetSpacing())) / 1000)
    labels = labels[0].clip(0).astype(np.uint8)
    return Case(*map(torch.from_numpy, (data.astype(np.float32), labels, chosen, ~chosen)), facts)


def _is_complete(label_map: Path) -> bool:
    return len(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(label_map))))) == 1 + len(ORGANS)


def facts_of(hu: np.ndarray, labels: np.ndarray, voxel_ml: float) -> dict[int, np.ndarray]:
    """Organ index -> place in the box of the body (three shares), logarithm of its ml, mean HU."""
    body = np.argwhere(hu > _BODY_HU)
    first, last = body.min(0), body.max(0)
    found = {}
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        place = (np.argwhere(inside).mean(0) - first) / (last - first)
        found[int(value) - 1] = np.array([*place, np.log(inside.sum() * voxel_ml), hu[inside].mean()])
    return found
