"""Record: which cases of a merged dataset are done and what they were made from, so that a second call does the rest.

A text file, one JSON object a line: a header, then one line per finished case, appended when its label map is in place. A
killed process leaves at worst a case without its line (done again) or half a line (ignored).
"""

import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Iterable, Sequence

from nnunetv2_cdpd.errors import UserError

RECORD_FILE = "cdpd_merge_record.jsonl"
_VERSION = 1


@dataclass(frozen=True)
class CaseRecord:
    """A finished case.

    made_from: Digest of its files' size and modification time, and of all that decides its merged values.
    output: Size and modification time (ns) of the rewritten label map.
    values: Merged values in it.
    """

    case: str
    made_from: str
    output: tuple[int, int]
    values: tuple[int, ...]


def digest(*facts: Any) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Size and modification time (ns) of a file; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class Record:
    """The record of one merged dataset.

    Args:
        folder: The merged dataset.
        inputs: What it is made from, as text that identifies each input dataset.
    """

    def __init__(self, folder: Path, inputs: Sequence[str]) -> None:
        self.path = folder / RECORD_FILE
        self.inputs = list(inputs)
        self.recorded_inputs: list[str] | None = None  # None: no merge has written here
        self.cases: dict[str, CaseRecord] = {}
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        lines = [_parsed(line) for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines()]
        header = lines[0] if lines and lines[0] else {}
        if header.get("version") != _VERSION:
            raise UserError(f"{self.path}: not a record of this release's `cdpd merge`; remove the folder or take another --id")
        self.recorded_inputs = header["inputs"]
        for entry in filter(None, lines[1:]):
            record = CaseRecord(entry["case"], entry["made_from"], tuple(entry["output"]), tuple(entry["values"]))
            self.cases[record.case] = record

    def rewrite(self, keep: Iterable[str]) -> None:
        """Write the record anew with these cases only, beside and renamed."""
        self.cases = {case: self.cases[case] for case in keep}
        lines = [{"version": _VERSION, "inputs": self.inputs}, *map(asdict, self.cases.values())]
        beside = self.path.with_suffix(".tmp")
        beside.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(beside, self.path)

    def append(self, record: CaseRecord) -> None:
        self.cases[record.case] = record
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
