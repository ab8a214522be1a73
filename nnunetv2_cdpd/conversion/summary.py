"""What came of a conversion, in words."""

from nnunetv2_cdpd.conversion.run import Conversion
from nnunetv2_cdpd.errors import amount, by_reason, first_of, listed

_MOST_NAMES = 100  # that a declaration does not map


def summary(outcome: Conversion) -> str:
    """Counts, then the cases that were left out with their reasons, then the notes, grouped."""
    counts = [f"{len(outcome.done)} converted"]
    counts += [f"{len(outcome.before)} done before"] if outcome.before else []
    counts += [f"{len(outcome.skipped)} skipped", f"{len(outcome.failed)} failed"]
    lines = [f"{outcome.folder}", ", ".join(counts)]
    lines += [f"  skipped: {listed(cases)}: {reason}" for reason, cases in by_reason(outcome.skipped.items())]
    pairs = [(case, note) for case, notes in outcome.notes.items() for note in notes]
    lines += [f"  note: {listed(cases)}: {note}" for note, cases in by_reason(pairs)]
    if outcome.unmapped:
        names = [f"{name} ({amount(count, 'case')})" for name, count in outcome.unmapped.items()]
        lines += [
            "  not named in `values`, so passed over (`'REGULAR EXPRESSION': STRUCTURE` maps a name, `null` says it is known):"
        ]
        lines += [f"    {line}" for line in first_of(names, _MOST_NAMES)]
    if outcome.failed:
        lines.append(
            "dataset.json is not written yet: mend the failed cases or name them with argument leave_out, and call again"
        )
    elif outcome.is_part:
        left = f"{amount(outcome.remaining, 'case')} left for the other parts" if outcome.remaining else "all cases are there"
        lines.append(f"dataset.json is not written by a part ({left}): after the last one, call without argument num_parts")
    return "\n".join(lines)
