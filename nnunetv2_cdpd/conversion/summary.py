"""What came of a conversion, in words."""

from nnunetv2_cdpd.conversion.run import Conversion
from nnunetv2_cdpd.errors import amount, by_reason, listed


def summary(outcome: Conversion) -> str:
    """Counts, then the cases that were left out with their reasons, then the notes, grouped."""
    counts = [f"{len(outcome.done)} converted"]
    counts += [f"{len(outcome.before)} done before"] if outcome.before else []
    counts += [f"{len(outcome.skipped)} skipped", f"{len(outcome.failed)} failed"]
    lines = [f"{outcome.folder}", ", ".join(counts)]
    lines += [f"  skipped: {listed(cases)}: {reason}" for reason, cases in by_reason(outcome.skipped.items())]
    pairs = [(case, note) for case, notes in outcome.notes.items() for note in notes]
    lines += [f"  note: {listed(cases)}: {note}" for note, cases in by_reason(pairs)]
    if outcome.failed:
        lines.append(
            "dataset.json is not written yet: mend the failed cases or name them with argument leave_out, and call again"
        )
    elif outcome.is_part:
        left = f"{amount(outcome.remaining, 'case')} left for the other parts" if outcome.remaining else "all cases are there"
        lines.append(f"dataset.json is not written by a part ({left}): after the last one, call without argument num_parts")
    return "\n".join(lines)
