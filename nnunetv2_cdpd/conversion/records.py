"""PartRecords: which cases are converted, where several calls share one output folder and each keeps a record of its own."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.conversion.job import ConversionJob
from nnunetv2_cdpd.datasets.output import check_own_folder, is_empty
from nnunetv2_cdpd.jobs import CaseRecord, FileRecord

RECORD_FILE = "cdpd_convert_record.jsonl"
_COMMAND = "cdpd convert"


class PartRecords:
    """The record of this call, which is written to, and those of all other calls that have written in the folder.

    Args:
        name: Of the collection.
        part_id: Of this call, 0 ... num_parts - 1.
        num_parts: How many calls share the cases.
        way_out: What to do if the folder is not ours.

    Raises:
        UserError: The folder holds something else.
    """

    def __init__(self, output: Path, name: str, part_id: int, num_parts: int, way_out: str) -> None:
        is_new = is_empty(output)  # looked at first: a part that begins at the same time writes its record before all else
        part = f".{part_id}of{num_parts}" if num_parts > 1 else ""
        own = output / RECORD_FILE.replace(".jsonl", f"{part}.jsonl")
        others = sorted(path for path in output.glob(RECORD_FILE.replace(".jsonl", "*.jsonl")) if path != own)
        self.own, *self.others = (FileRecord(path, [name], _COMMAND, asdict, _are_facts) for path in (own, *others))
        is_ours = is_new or own.is_file() or bool(others)
        check_own_folder(output, made_here=is_ours, command=_COMMAND, way_out=way_out)

    @property
    def known(self) -> set[str]:
        """Cases that any call has converted, whatever has become of them."""
        return {name for record in (self.own, *self.others) for name in record.cases}

    @property
    def damage(self) -> list[str]:
        """What could not be read, a line for each record that holds such."""
        return [record.damage for record in (self.own, *self.others) if record.damage is not None]

    def valid(self, jobs: Mapping[str, ConversionJob]) -> dict[str, CaseRecord]:
        """What is done, with what its maker noted; a case that is out of date in one record may be done in another."""
        records = (*self.others, self.own)  # the own one counts where several do
        return {name: record.cases[name] for name, job in jobs.items() for record in records if _is_done(record, name, job)}

    def take_over(self, done: Mapping[str, CaseRecord], ours: Collection[str], alone: bool) -> None:
        """Note what is done of this call's cases, and forget what is not.

        Args:
            alone: No other call is at work here, so their records end in this one.
        """
        kept = [name for name in done if name in ours or name in self.own.cases]
        self.own.cases |= {name: done[name] for name in kept}
        self.own.rewrite(kept)
        if alone:
            for record in self.others:
                record.path.unlink()
            self.others = []


def _is_done(record: FileRecord, name: str, job: ConversionJob) -> bool:
    """Whether a record holds a case, or that the case was looked at and left out, which leaves no files."""
    entry = record.cases.get(name)
    is_left_out = entry is not None and entry.facts.get("left_out") is not None and entry.made_from == job.made_from
    return is_left_out or record.holds(name, job)


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether these are facts of a ConvertedCase; what later releases added may be missing."""
    merged, notes, held, unmapped = (facts.get(name, ()) for name in ("merged", "notes", "held", "unmapped"))
    left_out, lost = facts.get("left_out"), facts.get("lost", {})
    return (
        {"merged", "notes"} <= facts.keys()
        and all(isinstance(value, (list, tuple)) for value in (merged, notes, held, unmapped))
        and all(isinstance(text, str) for text in (*merged, *notes, *unmapped))
        and all(type(value) is int for value in held)
        and isinstance(lost, dict)
        and all(isinstance(text, str) for text in (*lost, *lost.values()))
        and (left_out is None or isinstance(left_out, str))
    )
