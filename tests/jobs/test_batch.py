"""run: done cases are left alone, bad ones told in a line, and a second call does the rest."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnunetv2_cdpd.errors import UserError, listed, one_line
from nnunetv2_cdpd.jobs import FileRecord, Outcome, in_processes, run


@dataclass(frozen=True)
class CopyJob:
    text: str
    output: Path
    made_from: str

    @property
    def outputs(self):
        return (self.output,)


def copy(job):
    if job.text == "bad":
        raise UserError(f"{job.output}: is bad;\n  mend it")
    if job.text == "memory":
        raise MemoryError
    job.output.write_text(job.text)
    return len(job.text)


def jobs_in(folder, **texts):
    return {name: CopyJob(text, folder / name, text) for name, text in texts.items()}


def run_in(folder, jobs, record=True):
    kept = FileRecord(folder / "record.jsonl", ["here"], "copy", lambda length: {"length": length}) if record else None
    if kept is not None and kept.recorded_inputs is None:
        kept.rewrite(())
    return run(jobs, in_processes(copy, 1), title="copy", record=kept, progress=False)


def test_bad_cases_are_a_line_each_and_stop_no_other(tmp_path):
    outcome = run_in(tmp_path, jobs_in(tmp_path, a="bad", b="one", c="memory", d="three"))
    assert outcome.done == {"b": 3, "d": 5} and outcome.before == []
    assert outcome.failed == {"a": f"{tmp_path / 'a'}: is bad; mend it", "c": "needs more memory than there is"}


def test_a_second_call_does_what_is_missing_changed_or_damaged(tmp_path):
    first = {"a": "one", "b": "bad", "c": "three", "d": "four"}
    assert list(run_in(tmp_path, jobs_in(tmp_path, **first)).done) == ["a", "c", "d"]
    (tmp_path / "c").write_text("damaged")
    second = run_in(tmp_path, jobs_in(tmp_path, **{**first, "b": "two", "d": "changed"}))
    assert second.before == ["a"] and list(second.done) == ["b", "c", "d"]
    assert (tmp_path / "c").read_text() == "three"


def test_without_a_record_everything_is_done_anew(tmp_path):
    jobs = jobs_in(tmp_path, a="one")
    assert run_in(tmp_path, jobs).done and run_in(tmp_path, jobs).before == ["a"]
    assert run_in(tmp_path, jobs, record=False).done == {"a": 3}


def test_the_order_is_that_of_the_jobs_whichever_finishes_first(tmp_path):
    def backwards(jobs):
        for job in reversed(jobs):
            yield job, (ValueError("odd") if len(job.text) == 3 else len(job.text))

    outcome = run(jobs_in(tmp_path, a="one", b="three", c="two", d="four"), backwards, title="t", progress=False)
    assert list(outcome.done.items()) == [("b", 5), ("d", 4)]
    assert list(outcome.failed.items()) == [("a", "ValueError: odd"), ("c", "ValueError: odd")]


def test_a_batch_without_any_result_names_its_first_case():
    with pytest.raises(UserError, match="none of 2 cases could be copied; case 'a': odd"):
        Outcome(failed={"a": "odd", "b": "even"}).check_any("copied")
    for fine in (Outcome(), Outcome(done={"c": 1}, failed={"a": "odd"}), Outcome(before=["c"], failed={"a": "odd"})):
        fine.check_any("copied")


def test_a_record_keeps_facts_and_survives_a_torn_line(tmp_path):
    run_in(tmp_path, jobs_in(tmp_path, a="one", b="three"))
    path = tmp_path / "record.jsonl"
    path.write_text(path.read_text()[:-20])
    record = FileRecord(path, ["here"], "copy")
    assert {name: entry.facts for name, entry in record.cases.items()} == {"a": {"length": 3}}


def test_a_record_of_another_command_is_refused_by_name(tmp_path):
    FileRecord(tmp_path / "record.jsonl", [], "copy").rewrite(())
    with pytest.raises(UserError, match="record.jsonl: .*`paste`; remove the folder"):
        FileRecord(tmp_path / "record.jsonl", [], "paste")


def test_a_case_whose_name_is_no_text_is_not_run_and_stops_no_other(tmp_path):
    ran = []

    def runner(jobs):
        for job in jobs:
            ran.append(job.text)
            yield job, len(job.text)

    name = os.fsdecode(b"scan\xff")
    outcome = run({name: CopyJob("bad", tmp_path / "a", ""), "b": CopyJob("one", tmp_path / "b", "")}, runner, title="t")
    assert ran == ["one"] and outcome.done == {"b": 3} and outcome.before == []
    assert outcome.failed == {name: "its name holds bytes that are no UTF-8; rename its files"}


GOOD = {"case": "b", "made_from": "three", "outputs": [[5, 7]], "facts": {"length": 5}}
DAMAGED = {
    "null": b"null",
    "a list": b"[1, 2]",
    "a number": b"5",
    "not JSON": b'{"case": "b", "made_fr',
    "garbage": b"\0\x01{]\xff\xfe\x1c",
    "nested": b"[" * 100_000,
    "no case": json.dumps({key: GOOD[key] for key in GOOD if key != "case"}).encode(),
    "no outputs": json.dumps({key: GOOD[key] for key in GOOD if key != "outputs"}).encode(),
    "no facts": json.dumps({key: GOOD[key] for key in GOOD if key != "facts"}).encode(),
    "case 5": json.dumps({**GOOD, "case": 5}).encode(),
    "case []": json.dumps({**GOOD, "case": []}).encode(),
    "outputs null": json.dumps({**GOOD, "outputs": None}).encode(),
    "an output null": json.dumps({**GOOD, "outputs": [None]}).encode(),
    "an output of one": json.dumps({**GOOD, "outputs": [[5]]}).encode(),
    "an output of texts": json.dumps({**GOOD, "outputs": [["5", "7"]]}).encode(),
    "made_from null": json.dumps({**GOOD, "made_from": None}).encode(),
    "facts a list": json.dumps({**GOOD, "facts": [1]}).encode(),
    "facts of others": json.dumps({**GOOD, "facts": {"width": 5}}).encode(),
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_of_a_record_is_told_and_its_case_done_again(line, tmp_path):
    jobs = jobs_in(tmp_path, a="one", b="three", c="seven")
    run_in(tmp_path, jobs)
    path = tmp_path / "record.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, lines[3]]) + b"\n")
    record = FileRecord(path, ["here"], "copy", lambda length: {"length": length}, lambda facts: "length" in facts)
    assert list(record.cases) == ["a", "c"] and record.recorded_inputs == ["here"]
    assert record.damage == f"{path}: 1 damaged line; the cases that are told there are done again"
    record.rewrite(record.cases)
    again = run(jobs, in_processes(copy, 1), title="copy", record=record, progress=False)
    assert again.before == ["a", "c"] and again.done == {"b": 5}
    whole = FileRecord(path, ["here"], "copy")
    assert whole.damage is None and sorted(whole.cases) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "header",
    [b"", b"null", b"[1]", b'{"version": 2, "com', b'{"version": 2, "command": "copy"}', b"\xff\0",
     b'{"version": 2, "command": "copy", "inputs": 5}', b'{"version": null, "command": "copy", "inputs": null}',
     b'{"case": "b", "made_from": "x", "outputs": [[1, 2]], "facts": {}}'],
)  # fmt: skip
def test_a_damaged_header_of_a_record_blocks_nothing(header, tmp_path):
    run_in(tmp_path, jobs_in(tmp_path, a="one"))
    path = tmp_path / "record.jsonl"
    path.write_bytes(header + b"\n" + path.read_bytes().splitlines()[1] + b"\n")
    record = FileRecord(path, ["here"], "copy")
    assert list(record.cases) == ["a"] and record.recorded_inputs == ["here"] and "1 damaged line" in record.damage


@pytest.mark.parametrize("content", [b"\0\1{]", b"[1, 2]\n", b"null", b"text\nmore\n"])
def test_a_file_that_holds_no_line_of_a_record_is_nobodys_and_stays(tmp_path, content):
    path = tmp_path / "record.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="record.jsonl: no line of it is one of a record, .* nothing was changed"):
        FileRecord(path, ["here"], "cdpd test")
    assert path.read_bytes() == content


def test_an_empty_file_is_as_no_record(tmp_path):
    (tmp_path / "record.jsonl").touch()
    record = FileRecord(tmp_path / "record.jsonl", ["here"], "copy")
    assert record.recorded_inputs is None and record.cases == {} and record.damage is None


@pytest.mark.parametrize("header", [{}, {"version": 1, "command": "copy", "inputs": []}, {"version": 3}, {"command": "paste"}])
def test_a_record_of_another_release_is_kept(header, tmp_path):
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(header))
    with pytest.raises(UserError, match="not a record of this release's `copy`; remove the folder or use another one, not"):
        FileRecord(path, ["here"], "copy")
    assert path.read_text() == json.dumps(header)


@pytest.mark.parametrize(
    "error, line",
    [
        (UserError("a: b;\n  c"), "a: b; c"),
        (UserError(), "UserError"),
        (MemoryError(), "needs more memory than there is"),
        (MemoryError("Unable to allocate 67.5 TiB"), "needs more memory than there is (Unable to allocate 67.5 TiB)"),
        (OSError(28, "No space left on device", "x"), "x: No space left on device"),
        (OSError(28, "No space left on device", "x", None, "y"), "y: No space left on device"),
        (OSError("torn"), "OSError: torn"),
        (OSError("in a tag: torn Traceback (most recent call last):\n  File x"), "OSError: in a tag: torn"),
        (KeyError("k"), "KeyError: 'k'"),
        (RuntimeError("page\n" * 100), "RuntimeError:" + " page" * 40),
        (UserError("page\n" * 100), " ".join(["page"] * 100)),
    ],
)
def test_any_error_is_one_line_with_a_reason(error, line):
    assert one_line(error) == line


def test_of_many_names_the_first_are_listed_and_the_others_counted():
    assert listed(["a", "b"]) == "a, b" and listed([]) == ""
    assert listed([*"abcdefghijklm"]) == "a, b, c, d, e, f, g, h, i, j and 3 more"
