"""Extension: what an organ that was added to a trained network reaches, beside a network that learned all at once."""

import numpy as np
from patients import ORGANS
from results import Result, mean_of_known, results_of
from studies import ADDED_CASES

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean

STUDY = "extension"


def extension_table() -> str:
    """Dice of each organ in the joint network and added to the others, and what became of the others; '' without results."""
    joint = _by_run("joint")
    rows: list[str] = []
    reached: dict[int, list[tuple[float, float]]] = {cases: [] for cases in ADDED_CASES}  # Dice of an organ, and in `joint`
    for organ in ORGANS:
        before = _by_run(f"without_{organ}")
        cells = []
        for cases in ADDED_CASES:
            added = _by_run(f"added_{organ}_{cases}")
            runs = sorted(added.keys() & joint.keys() & before.keys())
            if not runs:
                cells += [""] * 3
                continue
            own, full = (mean_of_known([_dice(of[run], organ) for run in runs]) for of in (added, joint))
            reached[cases].append((own, full))
            minutes = [seconds / 60 for run in runs if (seconds := added[run].cpu_seconds) is not None]
            change = max(_largest_change(added[run], before[run], organ) for run in runs)
            cells += [f"{own:.3f} ({own / full:.0%})", f"{np.mean(minutes):.1f}" if minutes else "", f"{change:.3f}"]
        if any(cells):
            full = mean_of_known([_dice(of, organ) for of in joint.values()])
            rows.append(f"| {organ} | {full:.3f} | {' | '.join(cells)} |")
    if not rows:
        return ""
    means = []
    for pairs in reached.values():
        if not pairs:
            means += [""] * 3
            continue
        own, full = np.array(pairs).T
        low, high = interval_of_mean((own / full)[:, None])
        means += [f"**{own.mean():.3f}** ({np.mean(own / full):.0%}, {low:.0%} to {high:.0%})", "", ""]
    full = np.mean([full for _, full in max(reached.values(), key=len)])
    rows.append(f"| **mean** | **{full:.3f}** | {' | '.join(means)} |")
    columns = ["organ", "all at once"]
    for cases in ADDED_CASES:
        columns += [f"added, {cases} cases", "CPU min", "largest change of others"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def _by_run(arm: str) -> dict[tuple[int, int], Result]:
    return {(result.split, result.seed): result for result in results_of(STUDY, arm)}


def _dice(result: Result, organ: str) -> np.ndarray:
    """Of an organ, in the patients that have it annotated."""
    return result.metric("Dice", sorted(result.scores))[:, list(ORGANS).index(organ)]


def _largest_change(after: Result, before: Result, organ: str) -> float:
    """Of any patient's Dice of any other organ."""
    patients = sorted(after.scores)
    change = np.abs(after.metric("Dice", patients) - before.metric("Dice", patients))
    return float(np.nanmax(np.delete(change, list(ORGANS).index(organ), axis=1)))
