"""What came of a conversion, in words."""

from collections.abc import Iterable

from nnunetv2_cdpd.conversion.run import Conversion
from nnunetv2_cdpd.errors import listed


def summary(outcome: Conversion) -> str:
    """Counts, then the cases that were left out or failed with their reasons, then the notes, grouped."""
    counts = [f"{len(outcome.done)} converted"]
    counts += [f"{len(outcome.before)} done before"] if outcome.before else []
    counts += [f"{len(outcome.skipped)} skipped", f"{len(outcome.failed)} failed"]
    lines = [f"{outcome.folder}", ", ".join(counts)]
    for title, reasons in (("skipped", outcome.skipped), ("failed", outcome.failed)):
        lines += [f"  {title}: {listed(cases)}: {reason}" for reason, cases in _grouped(reasons.items())]
    pairs = [(case, note) for case, notes in outcome.notes.items() for note in notes]
    lines += [f"  note: {listed(cases)}: {note}" for note, cases in _grouped(pairs)]
    if outcome.failed:
        lines.append(
            "dataset.json is not written yet: mend the failed cases or name them with argument leave_out, and call again"
        )
    elif outcome.remaining:
        lines.append(f"dataset.json is not written yet: {outcome.remaining} cases are left for the other parts")
    return "\n".join(lines)


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for case, text in pairs:
        groups.setdefault(text, []).append(case)
    return list(groups.items())
