"""Demo: CPU time and Dice of `cdpd demo` on unseen volumes, measured by benchmarks/demo.py; and what README.md says of it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from results import FOLDER, versions, write_json

WITHOUT_SEED = "before the demo had a seed"


@dataclass(frozen=True)
class DemoRun:
    """One run of the demo.

    seed: Of its training; None: of a version that had none.
    cores_shared: Other jobs ran on its cores, which makes its CPU time too long.
    volumes: Unseen ones that it is scored on.
    dice: Class -> mean over these volumes.
    as_printed: Rounded to three digits.
    """

    run: int
    seed: int | None
    quick: bool
    cpu_minutes: float
    cores_shared: bool
    volumes: int
    dice: dict[str, float]
    versions: dict[str, str] = field(default_factory=versions)
    as_printed: bool = False

    @property
    def mean_dice(self) -> float:
        return float(np.mean(list(self.dice.values())))


def path_of(run: DemoRun) -> Path:
    seed = "without_seed" if run.seed is None else f"seed{run.seed}"
    return FOLDER / "demo" / f"{'quick' if run.quick else 'full'}_{seed}_run{run.run}.json"


def write_run(run: DemoRun) -> None:
    write_json(path_of(run), asdict(run))


def demo_runs() -> list[DemoRun]:
    return [DemoRun(**json.loads(path.read_text())) for path in sorted((FOLDER / "demo").glob("*.json"))]


def demo_table(found: list[DemoRun]) -> str:
    """A row for each run; '' without any."""
    if not found:
        return ""
    classes = list(dict.fromkeys(name for run in found for name in run.dice))
    lines = [f"| run | CPU min | {' | '.join(classes)} | mean |", f"|---|{'---:|' * (len(classes) + 2)}"]
    for run in found:
        seed = WITHOUT_SEED if run.seed is None else f"seed {run.seed}"
        dice = [f"{run.dice[name]:.3f}" if name in run.dice else "" for name in classes]
        words = f"{run.run}, {seed}{', --quick' * run.quick}"
        shared = " *" * run.cores_shared
        lines.append(f"| {words} | {run.cpu_minutes:.1f}{shared} | {' | '.join(dice)} | {run.mean_dice:.3f} |")
    return "\n".join(lines)


def demo_values() -> dict[str, str]:
    """What sentences say of the full runs: with a seed, `demo_seeded_...`, and from before there was one, `demo_unseeded_...`;
    and of quick ones.
    """
    values, runs = {}, demo_runs()
    for kind in ("unseeded", "seeded"):
        found = [run for run in runs if not run.quick and (run.seed is None) == (kind == "unseeded")]
        if found:
            means = sorted(f"{run.mean_dice:.3f}" for run in found)
            said = {
                "runs": str(len(found)),
                "volumes": str(found[0].volumes),
                "classes": str(len(found[0].dice)),
                "mean_dice": " and ".join(means) if len(means) < 3 else f"{means[0]} to {means[-1]}",
                "lowest_dice": f"{min(value for run in found for value in run.dice.values()):.3f}",
            }
            said["cpu_minutes"] = _minutes(found)
            values |= {f"demo_{kind}_{name}": text for name, text in said.items()}
    if quick := [run for run in runs if run.quick]:
        values["demo_quick_cpu_minutes"] = _minutes(quick)
    return values


def _minutes(found: list[DemoRun]) -> str:
    """Mean CPU time of the runs that had their cores alone, if any had."""
    alone = [run.cpu_minutes for run in found if not run.cores_shared]
    return f"{np.mean(alone or [run.cpu_minutes for run in found]):.0f}"
