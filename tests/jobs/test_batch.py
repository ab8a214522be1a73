"""run: done cases are left alone, bad ones told in a line, and a second call does the rest."""

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
    assert outcome.failed == {"a": f"{tmp_path / 'a'}: is bad; mend it", "c": "MemoryError"}


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


@pytest.mark.parametrize(
    "error, line",
    [
        (UserError("a: b;\n  c"), "a: b; c"),
        (UserError(), "UserError"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device", "x"), "OSError: [Errno 28] No space left on device: 'x'"),
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
