"""Tables: results as Markdown, and their places in the pages, between two marks that name the table."""

import re
from pathlib import Path

import numpy as np
from cleaning import cleaning_tables
from contours import contours_table
from decoding import decoding_table
from demo_tables import demo_runs, demo_table
from differences import mean_over_seeds, told_difference
from extension import extension_before_table, extension_table, one_side_table, unfrozen_table
from figures import figure_tables
from filters import filters_table
from openkbp_tables import openkbp_table
from partial_labels import PARTIAL_LABELS
from patients import ORGANS
from place_tables import place_tables
from prompt_tables import prompt_tables
from quality_tables import quality_table, short_quality_table
from results import mean_of_known, results_of
from scanners import scanner_table
from students import students_table
from tumor_tables import tumors_table
from vision import vision_tables

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def tables() -> dict[str, str]:
    """Name -> Markdown, of all that has results."""
    made = {name: study_table(name) for name in PARTIAL_LABELS} | vision_tables()
    made |= {"extension": extension_table(), "extension_before": extension_before_table(), "scanners": scanner_table()}
    made |= {"unfrozen": unfrozen_table(), "one_side": one_side_table(), "decoding": decoding_table(), **prompt_tables()}
    made |= {"quality": quality_table(), "quality_short": short_quality_table(), **place_tables(), **cleaning_tables()}
    made |= {
        "demo": demo_table(demo_runs()),
        "openkbp": openkbp_table(),
        "filters": filters_table(),
        "students": students_table(),
        "contours": contours_table(),
        "tumors": tumors_table(),
        **figure_tables(),
    }
    return {name: table for name, table in made.items() if table}


def study_table(name: str) -> str:
    """Dice of each organ and arm, and the paired difference to the control, over the runs that both have; '' without results.

    Where patients of both kinds were scored, the difference on each kind stands beside: they are of other hospitals.
    """
    study = PARTIAL_LABELS[name]
    results = {arm: list(results_of(name, arm)) for arm in study.arms}
    everyone = {patient: its for of_arm in results.values() for result in of_arm for patient, its in result.scores.items()}
    if not everyone:
        return ""
    complete = {patient for patient, its in everyone.items() if its.keys() >= ORGANS.keys()}
    kinds = {"complete": complete, "partial": everyone.keys() - complete} if 0 < len(complete) < len(everyone) else {}
    rows = []
    for arm, facts in study.arms.items():
        if not results[arm]:
            continue
        patients = sorted({patient for result in results[arm] for patient in result.scores})
        dice = mean_over_seeds(results[arm], "Dice", patients)
        distances = mean_over_seeds(results[arm], "HD95_mm", patients)
        missed = int(np.isinf(distances).sum())
        distances[np.isinf(distances)] = np.nan
        cells = [f"{value:.3f}" for value in mean_of_known(dice, 0)]
        cells.append(f"**{mean_of_known(mean_of_known(dice, 0)):.3f}**")
        own, its = results[arm], results[study.control]
        cells += ["" if arm == study.control else told_difference(own, its, of) for of in (None, *kinds.values())]
        cells.append(f"{mean_of_known(mean_of_known(distances, 0)):.0f}" + (f" ({missed} not found)" if missed else ""))
        runs = len({(result.split, result.seed) for result in results[arm]})
        minutes = mean_of_known([result.cpu_seconds or np.nan for result in results[arm]]) / 60
        rows.append(f"| {facts.words} | {' | '.join(cells)} | {len(patients)} | {runs} | {minutes:.0f} |")
    columns = [*ORGANS, "mean", f"against *{study.arms[study.control].words}*", *(f"on {kind} patients" for kind in kinds)]
    columns += ["HD95 mm", "patients", "runs", "CPU min"]
    return "\n".join([f"| arm | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}", *rows])


def marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end of table {name} -->)", re.DOTALL)


def with_tables(text: str, made: dict[str, str]) -> str:
    """A text with the tables that its marks name.

    Raises:
        ValueError: A mark names no table, or has no end.
    """
    for name in re.findall(r"<!-- table (\w+) -->", text):
        if name not in made:
            raise ValueError(f"no results for table {name}")
        text, found = marked(name).subn(lambda match, name=name: f"{match[1]}{made[name]}\n{match[2]}", text)
        if found != 1:
            raise ValueError(f"table {name} has no end, or stands there twice")
    return text
