"""FileRecord: which cases of an output folder are done and what they were made from, so that a second call does the rest.

A text file, one JSON object a line: a header, then one line per finished case, appended when its files are in place. A
killed process leaves at worst a case without its line or with half of one, which is done again; so is one whose line is
damaged in any other way.
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
_HEADER = {"version", "command", "inputs"}


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
        are_facts: Whether facts that were read are what `facts` gives; None: any are.

    Attributes:
        damage: What could not be read, in a line for the user; None: nothing. The next `rewrite` leaves it out.

    Raises:
        UserError: The file is a record of another release or command, or of nothing.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[str],
        command: str,
        facts: Callable[[Any], Mapping[str, Any]] | None = None,
        are_facts: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self.path = path
        self.inputs = list(inputs)
        self.command = command
        self.facts = facts
        self.are_facts = are_facts
        self.damage: str | None = None
        self.recorded_inputs: list[str] | None = None  # None: the command has not written here
        self.cases: dict[str, CaseRecord] = {}
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        content = self.path.read_text(encoding="utf-8", errors="replace")
        if not content.strip():  # tells nothing, also not that the folder is ours
            return
        header, *lines = map(_parsed, content.rstrip("\n").split("\n"))
        if isinstance(header, dict) and self._is_of_another(header):
            raise UserError(
                f"{self.path}: not a record of this release's `{self.command}`; remove the folder or use another one, "
                "nothing was changed"
            )
        inputs = header.get("inputs") if isinstance(header, dict) else None
        is_header = isinstance(header, dict) and not _HEADER - header.keys() and _are_texts(inputs)
        entries = [self._entry(line) for line in lines]
        self.cases = {entry.case: entry for entry in entries if entry is not None}
        if not is_header and not self.cases:
            raise UserError(
                f"{self.path}: no line of it is one of a record, so nothing tells that `{self.command}` made this folder; move "
                "the file away or use another folder, nothing was changed"
            )
        self.recorded_inputs = inputs if is_header else self.inputs
        damaged = entries.count(None) + (not is_header)
        if damaged:
            self.damage = (
                f"{self.path}: {damaged} damaged line{'s' * (damaged > 1)}; the cases that are told there are done again"
            )

    def _is_of_another(self, header: dict[str, Any]) -> bool:
        """Whether a header tells of another release or command, or of nothing that we know."""
        version, command = header.get("version"), header.get("command")
        is_nothing = _HEADER.isdisjoint(header) and self._entry(header) is None
        other_version = type(version) is int and version != _VERSION
        return other_version or (isinstance(command, str) and command != self.command) or is_nothing

    def _entry(self, line: Any) -> CaseRecord | None:
        """The case of a line; None: it is damaged."""
        try:
            outputs = tuple((size, time) for size, time in line["outputs"])
            entry = CaseRecord(line["case"], line["made_from"], outputs, line["facts"])
        except (KeyError, TypeError, ValueError):
            return None
        is_whole = isinstance(entry.facts, dict) and _are_texts([entry.case, entry.made_from])
        if not is_whole or not all(type(number) is int for state in outputs for number in state):
            return None
        return entry if self.are_facts is None or self.are_facts(entry.facts) else None

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
        lines: list[dict[str, Any]] = [
            {"version": _VERSION, "command": self.command, "inputs": self.inputs},
            *map(asdict, self.cases.values()),
        ]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
