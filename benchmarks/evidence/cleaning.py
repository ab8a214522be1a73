"""Cleaning: what `cdpd clean --rules place` makes of predictions that the runs of a study left in their working folder.

Where organs can lie is learned by `cdpd place` from the patients that the network was trained on, with their annotation alone.
"""

import json

import numpy as np
from commands import run
from differences import change_cells
from patients import ORGANS, Patients
from raw_data import IDS, dataset_folder
from results import FOLDER, mean_of_known, write_json
from runs import METRICS, Run, read_scores
from studies import STUDIES

RULE = "place"
Scores = dict[str, dict[str, dict[str, float | None]]]  # patient -> organ -> metric


def measure_cleaning(one: Run) -> None:
    """Clean and score the predictions of a run of one network, and write the result; others are passed over, which is told."""
    dataset, *others = STUDIES[one.study].arms[one.arm].datasets
    path = FOLDER / "cleaning" / f"{one.study}_{one.arm}_split{one.split}_seed{one.seed}.json"
    predictions = one.folder / dataset
    if path.exists():
        return
    if others or not predictions.is_dir():
        why = "joined from several networks" if others else f"no predictions in {predictions}"
        print(f"passed over: {one.arm}, split {one.split}, seed {one.seed}: {why}")
        return
    one.set_environment()
    run(["cdpd", "place", str(IDS[dataset]), "-np", "1"])
    cleaned, learned = one.folder / "cleaned", dataset_folder(one.work, dataset, "nnUNet_preprocessed")
    place = ["--place", str(learned), "--images", str(one.tested / "imagesTr")]
    run(["cdpd", "clean", "-i", str(predictions), "-o", str(cleaned), "--rules", RULE, *place, "-np", "1"])
    scores = {}
    for when, folder in (("before", predictions), ("after", cleaned)):
        scored = one.folder / f"scores_{when}"
        run(["cdpd", "evaluate", str(folder), str(one.tested / "labelsTr"), "-o", str(scored)])
        scores[when] = read_scores(scored / "metrics.csv", Patients.read(one.data))
    write_json(path, {"iterations": one.iterations, **scores})


def cleaning_tables() -> dict[str, str]:
    """Name -> Markdown: of each study, each organ before and after over all its networks, and the mean alone; none without
    results."""
    made = {}
    for study in STUDIES:
        paths = sorted((FOLDER / "cleaning").glob(f"{study}_*.json"))
        if paths:
            rows, mean = _rows([json.loads(path.read_text()) for path in paths])
            columns = ["organ", "HD95 mm", "cleaned", "Dice", "cleaned", "difference in points", "got worse", "got better"]
            head = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
            made |= {f"cleaning_{study}": "\n".join([*head, *rows, mean]), f"cleaning_{study}_short": "\n".join([*head, mean])}
    return made


def _rows(found: list[dict[str, Scores]]) -> tuple[list[str], str]:
    """A row for each organ, and that of their mean; found: scores of each network, before and after."""
    patients = sorted({patient for each in found for patient in each["before"]})
    before, after = (np.stack([_values(each[when], patients) for each in found]) for when in ("before", "after"))
    there = [(column, organ) for column, organ in enumerate(ORGANS) if not np.isnan(before[:, :, column]).all()]
    rows = [_row(organ, before[:, :, [column]], after[:, :, [column]]) for column, organ in there]
    return rows, _row("**mean**", before, after)


def _values(scores: Scores, patients: list[str]) -> np.ndarray:
    """(patients, organs, metrics); nan where an organ is not annotated, not trained, or not found."""
    values = np.full((len(patients), len(ORGANS), len(METRICS)), np.nan)
    for row, patient in enumerate(patients):
        for organ, its in scores.get(patient, {}).items():
            values[row, list(ORGANS).index(organ)] = [np.nan if its[name] is None else its[name] for name in METRICS]
    return values


def _row(organ: str, before: np.ndarray, after: np.ndarray) -> str:
    """before, after: (runs, patients, organs, metrics). A patient's value is the mean of the runs; patients are drawn again.

    A metric counts where it is known before and after: an organ that is taken away as a whole has no distance any more.
    """
    known = ~np.isnan(before) & ~np.isnan(after)
    before, after = (np.where(known, values, np.nan) for values in (before, after))
    (dice, distance), (clean_dice, clean_distance) = (
        [mean_of_known(mean_of_known(mean_of_known(values[..., metric], 0), 0)) for metric in range(len(METRICS))]
        for values in (before, after)
    )
    cells = [f"{distance:.0f}", f"{clean_distance:.0f}", f"{dice:.3f}", f"{clean_dice:.3f}"]
    cells += change_cells(before[..., 0], after[..., 0])
    return f"| {organ} | {' | '.join(cells)} |"
