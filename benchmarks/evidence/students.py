"""Students: networks of stock nnU-Net that were trained on what others completed, beside those that taught them."""

from differences import told_difference
from partial_labels import EQUAL_CONTOURS, PARTIAL_LABELS
from results import results_of


def students_table() -> str:
    """Each student that has results, against its teachers and the control; '' without results."""
    study = PARTIAL_LABELS[EQUAL_CONTOURS]
    rows = []
    for arm, facts in study.arms.items():
        own = list(results_of(EQUAL_CONTOURS, arm))
        if facts.teachers is None or not own:
            continue
        taught_by = study.arms[facts.teachers]
        told = [told_difference(own, list(results_of(EQUAL_CONTOURS, other))) for other in (facts.teachers, study.control)]
        way = f"`{' '.join(facts.completion)}`" if facts.completion else ""
        runs = len({(result.split, result.seed) for result in own})
        rows.append(f"| {taught_by.words} | {len(taught_by.datasets)} | {way} | {' | '.join(told)} | {runs} |")
    columns = [
        "teachers",
        "networks",
        "`cdpd complete`",
        "against its teachers",
        f"against *{study.arms[study.control].words}*",
        "runs",
    ]
    return "\n".join([f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|", *rows]) if rows else ""
