"""Study of extension: what an organ that was added to a trained network reaches, beside a network that learned all at once."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from patients import GLANDS, ORGANS, Patients, Source
from results import Result, mean_of_known, results_of
from study import COMPLETE, OURS, Arm, Study, kept_back_of_both_kinds

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean

STUDY = "extension"
BEFORE = "extension_before"  # results of when extensions were trained with the Dice of each patch, and nnU-Net's patches
ADDED_CASES = (5, 20)
JOINT, JOINT_BATCH = "joint", "joint_batch_dice"
ADDED, UNFROZEN, MIRRORED = "added", "unfrozen", "mirrored"


def without(organ: str) -> Source:
    return Source(f"Without{organ}", tuple(name for name in ORGANS if name != organ))


def only(organ: str, cases: int) -> Source:
    return Source(f"Only{organ}{cases}", (organ,))


def _dealt(patients: Patients, split: int) -> dict[Source, list[str]]:
    complete = patients.trained(split, patients.complete)
    dealt = {COMPLETE: complete}
    for organ in ORGANS:
        dealt[without(organ)] = complete
        dealt |= {only(organ, cases): complete[:cases] for cases in ADDED_CASES}
    return dealt


DATASETS = tuple(source.name for organ in ORGANS for source in (without(organ), *(only(organ, cases) for cases in ADDED_CASES)))
EXTENSION = {
    STUDY: Study(
        "24 patients; a network of six organs, to which the seventh is added.",
        {
            JOINT: Arm("nnUNetTrainerCDPD, all seven organs at once", OURS, (COMPLETE.name,)),
            JOINT_BATCH: Arm("the same with the Dice of the batch, as extensions have it", f"{OURS}_batchDice", (COMPLETE.name,)),
        }
        | {f"without_{organ}": Arm(f"the same without {organ}", OURS, (without(organ).name,)) for organ in ORGANS}
        | {
            f"{MIRRORED}_{organ}": Arm(f"that with mirrored patches, without {organ}", f"{OURS}_mirrored", (without(organ).name,))
            for organ in GLANDS.organs
        }
        | {
            f"{how}_{organ}_{cases}": Arm(
                f"{organ} {how} from {cases} cases",
                OURS,
                (only(organ, cases).name,),
                extends=f"without_{organ}",
                unfreeze=how == UNFROZEN,
            )
            for how in (ADDED, UNFROZEN)
            for organ in ORGANS
            for cases in ADDED_CASES
        },
        _dealt,
        kept_back_of_both_kinds,
        control=JOINT,
        iterations=600,
    )
}


def extension_table() -> str:
    """Dice of each organ in the joint network and added to the others, and what became of the others; '' without results."""
    joint: dict[int, list[Result]] = {}  # by split: a network of another seed is a fair reference too
    for (split, _), result in _by_run(JOINT).items():
        joint.setdefault(split, []).append(result)
    with_batch = list(_by_run(JOINT_BATCH).values())
    of_batch: list[float] = []
    rows: list[str] = []
    reached: dict[int, list[tuple[float, float]]] = {cases: [] for cases in ADDED_CASES}  # Dice of an organ, and in `joint`
    for organ in ORGANS:
        before = _by_run(f"without_{organ}")
        cells = []
        for cases in ADDED_CASES:
            added = _by_run(f"{ADDED}_{organ}_{cases}")
            runs = [run for run in sorted(added.keys() & before.keys()) if run[0] in joint]
            if not runs:
                cells += [""] * 3
                continue
            own = mean_of_known([_dice(added[run], organ) for run in runs])
            full = mean_of_known([_dice(result, organ) for split, _ in runs for result in joint[split]])
            reached[cases].append((own, full))
            minutes = [seconds / 60 for run in runs if (seconds := added[run].cpu_seconds) is not None]
            change = max(_largest_change(added[run], before[run], organ) for run in runs)
            cells += [f"{own:.3f} ({own / full:.0%})", f"{np.mean(minutes):.1f}" if minutes else "", f"{change:.3f}"]
        if any(cells):
            full = mean_of_known([_dice(result, organ) for its in joint.values() for result in its])
            if with_batch:
                of_batch.append(float(mean_of_known([_dice(result, organ) for result in with_batch])))
            rows.append(f"| {organ} | {full:.3f} | {_cell(of_batch[-1:])} | {' | '.join(cells)} |")
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
    rows.append(f"| **mean** | **{full:.3f}** | {_cell(of_batch)} | {' | '.join(means)} |")
    columns = ["organ", "all at once", "with Dice of the batch"]
    for cases in ADDED_CASES:
        columns += [f"added, {cases} cases", "CPU min", "largest change of others"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def _cell(values: list[float]) -> str:
    """Their mean; '' of none."""
    return f"{np.mean(values):.3f}" if values else ""


def extension_before_table() -> str:
    """Dice and HD95 of each organ, added with the Dice of each patch and with that of the batch; '' without the former."""
    rows = []
    for cases in ADDED_CASES:
        found: list[list[float]] = []  # of an organ: Dice and HD95 before, Dice and HD95 now
        for organ in ORGANS:
            arm = f"{ADDED}_{organ}_{cases}"
            runs = [list(_by_run(arm, study).values()) for study in (BEFORE, STUDY)]
            if not runs[0]:
                continue
            values = [_mean(results, metric, organ) for results in runs if results for metric in ("Dice", "HD95_mm")]
            rows.append(f"| {cases} | {organ} | {_told_of_two(values)} |{'' if runs[1] else '  |  |'}")
            if runs[1]:
                found.append(values)
        if found:
            rows.append(f"| {cases} | **mean of both** | {_told_of_two(np.mean(found, 0))} |")
    if not rows:
        return ""
    columns = ["cases", "organ", "Dice, of each patch", "HD95 mm", "Dice, of the batch", "HD95 mm"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---:|---|{'---:|' * (len(columns) - 2)}", *rows])


def _mean(results: list[Result], metric: str, organ: str) -> float:
    """Over patients and runs; an organ that was not found has no distance."""
    values = np.concatenate([_of(result, metric, [organ])[:, 0] for result in results])
    return float(mean_of_known(values[~np.isinf(values)]))


def _told_of_two(values: Sequence[float] | np.ndarray) -> str:
    return " | ".join(f"{value:.3f}" if index % 2 == 0 else f"{value:.0f}" for index, value in enumerate(values))


def unfrozen_table() -> str:
    """What an organ reaches where everything is trained further, and what the others lose; '' without results."""
    rows = []
    for study, organ, cases in product((STUDY, BEFORE), ORGANS, ADDED_CASES):
        unfrozen, frozen = (_by_run(f"{how}_{organ}_{cases}", study) for how in (UNFROZEN, ADDED))
        before = _by_run(f"without_{organ}")
        runs = sorted(unfrozen.keys() & frozen.keys() & before.keys())
        if not runs:
            continue
        new, beside = (mean_of_known([_dice(of[run], organ) for run in runs]) for of in (unfrozen, frozen))
        others = [name for name in ORGANS if name != organ]
        was, became = (np.stack([_dice_of(of[run], others) for run in runs]) for of in (before, unfrozen))
        loss = mean_of_known(became - was, 0)
        low, high = interval_of_mean(loss)
        told = f"{100 * mean_of_known(mean_of_known(loss, 0)):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        means = " | ".join(f"{mean_of_known(mean_of_known(mean_of_known(of, 0), 0)):.3f}" for of in (was, became))
        seconds = [took for run in runs if (took := unfrozen[run].cpu_seconds) is not None]
        minutes = f"{np.mean(seconds) / 60:.1f}" if seconds else ""
        of = "of the batch" if study == STUDY else "of each patch"
        rows.append(f"| {organ} | {cases} | {of} | {beside:.3f} | {new:.3f} | {means} | {told} | {minutes} |")
    if not rows:
        return ""
    columns = ["organ", "cases", "Dice in training", "beside", "unfrozen"]
    columns += ["others before", "others after", "difference in points", "CPU min"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def one_side_table() -> str:
    """What mirrored patches make of one parotid without the other; '' without results."""
    rows = []
    for absent, organ in (GLANDS.organs, GLANDS.organs[::-1]):
        plain, mirrored = (_by_run(arm) for arm in (f"without_{absent}", f"{MIRRORED}_{absent}"))
        runs = sorted(plain.keys() & mirrored.keys())
        if not runs:
            continue
        others = [name for name in ORGANS if name not in GLANDS.organs]
        cells = []
        for names in ([organ], others):
            for of in (plain, mirrored):
                dice = mean_of_known(np.stack([_dice_of(of[run], names) for run in runs]), (0, 1))
                cells.append(f"{mean_of_known(dice):.3f}")
        rows.append(f"| {organ} | {' | '.join(cells)} |")
    if not rows:
        return ""
    columns = ["one side", "its Dice", "with mirrored patches", "five other organs", "with mirrored patches"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def _by_run(arm: str, study: str = STUDY) -> dict[tuple[int, int], Result]:
    return {(result.split, result.seed): result for result in results_of(study, arm)}


def _dice(result: Result, organ: str) -> np.ndarray:
    """Of an organ, in the patients that have it annotated."""
    return _dice_of(result, [organ])[:, 0]


def _dice_of(result: Result, organs: list[str]) -> np.ndarray:
    """(patients, organs)"""
    return _of(result, "Dice", organs)


def _of(result: Result, metric: str, organs: list[str]) -> np.ndarray:
    """(patients, organs)"""
    return result.metric(metric, sorted(result.scores))[:, [list(ORGANS).index(organ) for organ in organs]]


def _largest_change(after: Result, before: Result, organ: str) -> float:
    """Of any patient's Dice of any other organ."""
    others = [name for name in ORGANS if name != organ]
    return float(np.nanmax(np.abs(_dice_of(after, others) - _dice_of(before, others))))
