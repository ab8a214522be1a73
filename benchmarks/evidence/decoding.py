"""Decoding: label maps that begin at half, and where the highest Dice is expected, of the same networks on the same patients.

The networks are those that the runs of a study left in their working folder; each predicts the patients that it was not trained
on, of both kinds: complete patients, and partial ones of another hospital and field of view.
"""

import json

import numpy as np
import SimpleITK as sitk
from differences import change_cells
from patients import ORGANS, Patients
from results import FOLDER, mean_of_known, write_json
from runs import Run
from studies import STUDIES

from nnunetv2_cdpd.evaluation.matching import name_finder

DECODINGS = ("half", "dice")

Scores = dict[str, dict[str, list[float]]]  # patient -> organ -> Dice of each decoding


def measure_decoding(one: Run) -> None:
    """Predict with both decodings and score, with the one network of a run; a run that has a result is passed over.

    Raises:
        SystemExit: The arm has several networks, or none with sigmoid heads.
    """
    from nnunetv2_cdpd.inference.predictor import Predictor

    path = FOLDER / "decoding" / f"{one.study}_{one.arm}_split{one.split}_seed{one.seed}.json"
    if path.exists():
        return
    study, patients = STUDIES[one.study], Patients.read(one.data)
    arm = study.arms[one.arm]
    if len(arm.datasets) > 1 or not arm.ours:
        raise SystemExit(f"{one.arm}: decoding is of one network with sigmoid heads")
    one.set_environment()
    predictor = Predictor.from_folder(one.models(one.arm)[0], ["all"], device=one.device, allow_tqdm=False)
    scores: Scores = {}
    for patient in study.tested(patients, one.split):
        reference = sitk.GetArrayFromImage(sitk.ReadImage(str(one.visible / "labels" / f"{patient}.nii.gz")))
        image = one.visible / "images" / f"{patient}.nii.gz"
        found = [predictor.predict(image, decode=decoding) for decoding in DECODINGS]
        name_of = name_finder(found[0].regions)  # `cdpd merge` may call organs by other names
        scores[patient] = {
            organ: [round(dice(prediction.mask(name_of(organ)), reference == ORGANS[organ]), 4) for prediction in found]
            for organ in patients.annotated[patient]
        }
    write_json(path, {"iterations": one.iterations, "scores": scores})


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Of a reference that is not empty."""
    return float(2 * (mask & reference).sum() / (mask.sum() + reference.sum()))


def decoding_table() -> str:
    """Dice of both decodings by organ and kind of patient, over all networks; '' without results."""
    paths = sorted((FOLDER / "decoding").glob("*.json"))
    networks: list[Scores] = [json.loads(path.read_text())["scores"] for path in paths]
    if not networks:
        return ""
    everyone = {patient: organs.keys() for scores in networks for patient, organs in scores.items()}
    rows = []
    for words, is_complete in (("complete", True), ("partial", False)):
        patients = [patient for patient, organs in everyone.items() if (organs >= ORGANS.keys()) == is_complete]
        found = np.full((len(networks), len(patients), len(ORGANS), len(DECODINGS)), np.nan)
        for network, scores in enumerate(networks):
            for row, patient in enumerate(patients):
                for organ, values in scores.get(patient, {}).items():
                    found[network, row, list(ORGANS).index(organ)] = values
        for column, organ in enumerate(ORGANS):
            if not np.isnan(found[:, :, column]).all():
                rows.append(_row(words, organ, found[:, :, [column]]))
        rows.append(_row(words, "**mean**", found))
    columns = ["patients", "organ", *DECODINGS, "difference in points", "got worse", "got better"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|---|{'---:|' * (len(columns) - 2)}", *rows])


def _row(words: str, organ: str, found: np.ndarray) -> str:
    """found: (networks, patients, organs, decodings); nan where an organ is not annotated, or a patient was not predicted."""
    half, best = found[..., 0], found[..., 1]
    means = [f"{mean_of_known(mean_of_known(mean_of_known(values, 0), 0)):.3f}" for values in (half, best)]
    return f"| {words} | {organ} | {' | '.join([*means, *change_cells(half, best)])} |"
