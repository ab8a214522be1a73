"""FileRecord: which cases of an output folder are done and what they were made from, so that a second call does the rest.

A text file, one JSON object a line: a header, then one line per finished case, appended when its files are in place. A
killed process leaves at worst a case without its line (done again) or half a line (ignored).
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import write_text

_VERSION = 2


@dataclass(frozen=True)
class CaseRecord:
    """A finished case.

    made_from: Digest of its files' size and modification time, and of all that decides its outcome.
    outputs: Size and modification time (ns) of each file that was written for it.
    facts: What else its maker wants to know of it later; anything that JSON holds.
    """

    case: str
    made_from: str
    outputs: tuple[tuple[int, int], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def digest(*facts: Any) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Size and modification time (ns) of a file; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class RecordedJob(Protocol):
    """A job that a record can hold.

    made_from: Digest of all that decides its outcome, taken before it is run.
    outputs: The files that it leaves.
    """

    @property
    def made_from(self) -> str: ...

    @property
    def outputs(self) -> Sequence[Path]: ...


class FileRecord:
    """The record of one output folder.

    Args:
        path: Of the file.
        inputs: What the folder is made from, as text that identifies each input.
        command: Whose record it is, for messages.
        facts: What to keep of a result, JSON-able; None: nothing.

    Raises:
        UserError: The file is a record of another release or command.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[str],
        command: str,
        facts: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        self.path = path
        self.inputs = list(inputs)
        self.command = command
        self.facts = facts
        self.recorded_inputs: list[str] | None = None  # None: the command has not written here
        self.cases: dict[str, CaseRecord] = {}
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        lines = [_parsed(line) for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines()]
        header = lines[0] if lines and lines[0] else {}
        if header.get("version") != _VERSION or header.get("command") != self.command:
            raise UserError(f"{self.path}: not a record of this release's `{self.command}`; remove the folder or take another id")
        self.recorded_inputs = header["inputs"]
        for entry in filter(None, lines[1:]):
            outputs = tuple((size, time) for size, time in entry["outputs"])
            self.cases[entry["case"]] = CaseRecord(entry["case"], entry["made_from"], outputs, entry["facts"])

    def holds(self, name: str, job: RecordedJob) -> bool:
        """Whether a case is done, from these inputs, and its files are as they were left."""
        entry = self.cases.get(name)
        return entry is not None and entry.made_from == job.made_from and entry.outputs == tuple(map(file_state, job.outputs))

    def enter(self, name: str, job: RecordedJob, result: Any) -> None:
        """Add a case whose files are in place."""
        facts = {} if self.facts is None else self.facts(result)
        states = tuple(state for state in map(file_state, job.outputs) if state is not None)
        self.cases[name] = CaseRecord(name, job.made_from, states, facts)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self.cases[name])) + "\n")

    def rewrite(self, keep: Iterable[str]) -> None:
        """Write the record anew with these cases only."""
        self.cases = {case: self.cases[case] for case in keep}
        lines = [{"version": _VERSION, "command": self.command, "inputs": self.inputs}, *map(asdict, self.cases.values())]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
