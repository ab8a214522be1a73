"""convert, called again: only what changed is done anew, also after a kill, and parts together make the dataset."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import pytest
from builders.conversion import declare, run

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.conversion.layout import pair_files
from nnunetv2_cdpd.conversion.records import RECORD_FILE
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.conversion.summary import summary
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import remove


def names(*numbers):
    return [f"MINE_c{number}" for number in numbers]


def files(outcome):
    return sorted(path.name for kind in ("imagesTr", "labelsTr") for path in (outcome.folder / kind).iterdir())


def test_second_call_does_nothing(folder):
    first = run(folder)
    states = [path.stat().st_mtime_ns for path in sorted(first.folder.rglob("*.nii.gz"))]
    second = run(folder)
    assert (list(first.done), list(second.done), second.before) == (names(1, 2, 3, 4, 5), [], names(1, 2, 3, 4, 5))
    assert second.complete and second.folder == first.folder
    assert states == [path.stat().st_mtime_ns for path in sorted(first.folder.rglob("*.nii.gz"))]


@pytest.mark.parametrize("change", ["image", "label", "values", "output"])
def test_only_what_changed_is_done_again(change, folder):
    outcome = run(folder)
    if change in ("image", "label"):
        os.utime(folder / ("img" if change == "image" else "lab") / "c3.nii", ns=(1, 1))
    if change == "output":
        (outcome.folder / "labelsTr/MINE_c3.nii.gz").unlink()
    dataset = declare(values={1: "spleen", 2: "liver"}) if change == "values" else None
    again = run(folder, dataset)
    # the same stored values under swapped names: only dataset.json changes
    assert list(again.done) == ([] if change == "values" else names(3))
    labels = json.loads((outcome.folder / "dataset.json").read_text())["labels"]
    assert labels == (
        {"background": 0, "spleen": 1, "liver": 2} if change == "values" else {"background": 0, "liver": 1, "spleen": 2}
    )


def test_case_that_is_gone_is_removed(folder):
    run(folder)
    for kind in ("img", "lab"):
        (folder / kind / "c2.nii").unlink()
    outcome = run(folder)
    assert outcome.complete and len(files(outcome)) == 8 and not any("c2" in name for name in files(outcome))
    assert json.loads((outcome.folder / "dataset.json").read_text())["numTraining"] == 4


def test_source_of_a_finished_case_is_that_of_the_present_listing(folder):
    def declared(men, **source_of):
        def find(download):
            return [replace(case, source=source_of.get(case.case, men)) for case in pair_files(download)]

        return declare(sources={men: ("liver", "spleen"), "OTHERS": ("liver",)}, find=find)

    run(folder, declared("MEN"))
    for men in ("MEN", "RENAMED"):
        outcome = run(folder, declared(men, c2="OTHERS"))
        assert outcome.complete and list(outcome.done) == []
        annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
        assert annotation.case_source == {**dict.fromkeys(names(1, 3, 4, 5), men), "MINE_c2": "OTHERS"}


def test_failed_case_stops_no_other_and_is_done_after_it_was_mended(folder):
    run(folder)
    path = folder / "lab/c4.nii"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    outcome = run(folder)
    assert list(outcome.failed) == names(4) and len(outcome.before) == 4 and not outcome.complete
    assert not (outcome.folder / "dataset.json").exists() and not any("c4" in name for name in files(outcome))
    assert "1 failed" in summary(outcome) and "argument leave_out" in summary(outcome)
    without = run(folder, leave_out=("c4",))
    assert without.complete and without.skipped == {"MINE_c4": "left out with argument leave_out"}
    path.write_bytes(whole)
    assert list(run(folder).done) == names(4)


def test_unexpected_error_in_a_case_is_named_with_its_type(folder, monkeypatch):
    def broken(job):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("nnunetv2_cdpd.conversion.run.convert_case", broken)
    assert run(folder, limit=1).failed == {"MINE_c1": "ZeroDivisionError: by zero"}


def test_moved_source_folder_changes_nothing(folder):
    run(folder)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert list(run(moved).done) == []


@pytest.mark.parametrize("facts", [None, {}, {"merged": 5, "notes": []}, {"merged": [], "notes": [], "held": None}])
def test_damaged_line_of_the_record_is_told_and_its_case_done_again(folder, facts):
    outcome = run(folder)
    path = outcome.folder / RECORD_FILE
    header, first, *others = path.read_text().splitlines()
    damaged = {**json.loads(first), "facts": facts}
    path.write_text("\n".join([header, json.dumps(damaged), *others]) + "\n")
    told = []
    again = convert(declare(), folder, num_processes=1, progress=False, report=told.append)
    assert list(again.done) == [damaged["case"]] and len(again.before) == len(others) and again.complete
    assert told[0] == f"note: {path}: 1 damaged line; the cases that are told there are done again"


def test_torn_last_line_of_the_record_is_ignored(folder):
    outcome = run(folder, limit=3)
    with (outcome.folder / RECORD_FILE).open("a") as record:
        record.write('{"case": "MINE_c4", "made_')
    again = run(folder)
    assert list(again.done) == names(4, 5)
    assert list(run(folder).done) == []


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from builders.conversion import declare
from nnunetv2_cdpd.conversion import case, run
whole = case.write_nifti
def slow(path, *args, **kwargs):
    whole(path, *args, **kwargs)
    time.sleep(0.15)
case.write_nifti = slow
run.convert(declare(), sys.argv[1], num_processes=1, progress=False)
"""


def test_after_kill_9_nothing_is_half_written_and_nothing_done_twice(folder):
    process = subprocess.Popen([sys.executable, "-c", KILLED, folder, Path(__file__).parents[1]], stdout=subprocess.DEVNULL)
    record = folder.parent / f"nnUNet_raw/Dataset300_MINE/{RECORD_FILE}"
    deadline = time.monotonic() + 120
    while not record.is_file() or record.read_text().count("\n") < 3:  # header and two cases
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)  # into the next case
    process.send_signal(signal.SIGKILL)
    process.wait()
    recorded = record.read_text().count("\n") - 1
    assert not (record.parent / "dataset.json").exists()
    for path in record.parent.glob("*Tr/[!.]*"):
        nibabel.load(path).get_fdata()  # raises where half is missing
    outcome = run(folder)
    assert (len(outcome.before), len(outcome.done)) == (recorded, 5 - recorded)
    assert outcome.complete and len(files(outcome)) == 10
    assert not list(outcome.folder.rglob(".*"))


def test_written_but_unrecorded_case_that_is_left_out_since_is_removed(folder):
    outcome = run(folder)
    lines = (outcome.folder / RECORD_FILE).read_text().splitlines(keepends=True)
    (outcome.folder / RECORD_FILE).write_text("".join(lines[:-1]))  # the kill came between file and record
    again = run(folder, leave_out=("MINE_c5",))
    assert again.complete and len(files(again)) == 8


@pytest.mark.parametrize("left", [(), (RECORD_FILE,), (RECORD_FILE, "imagesTr")])
def test_a_call_that_was_killed_before_its_first_case_has_made_the_folder_its_own(folder, left):
    outcome = run(folder, leave_out=names(2, 3, 4, 5))
    for path in outcome.folder.iterdir():
        if path.name not in left:
            remove(path)
    assert run(folder).complete


# ---- parts ---------------------------------------------------------------------------------------------------------------


def test_parts_together_make_the_dataset(folder):
    first = run(folder, part_id=0, num_parts=2)
    assert list(first.done) == names(1, 3, 5) and first.remaining == 2 and not first.complete
    assert "(2 cases left for the other parts)" in summary(first)
    second = run(folder, part_id=1, num_parts=2)
    assert list(second.done) == names(2, 4) and not second.remaining
    assert "(all cases are there): after the last one, call without argument num_parts" in summary(second)
    assert run(folder, part_id=0, num_parts=2).done == {}
    # No part knows that it is the last one: of two that end together, one would take dataset.json for too early, and remove it
    assert not second.complete and not (second.folder / "dataset.json").exists()
    last = run(folder)
    assert last.complete and last.done == {} and last.before == names(1, 2, 3, 4, 5)
    assert json.loads((last.folder / "dataset.json").read_text())["numTraining"] == 5
    assert run(folder, part_id=0, num_parts=2).done == {} and (last.folder / "dataset.json").is_file()
    assert list(run(folder).done) == []  # a call without parts takes over what they did
    assert [path.name for path in second.folder.glob("*.jsonl")] == [RECORD_FILE]


def test_case_that_another_part_did_anew_counts_whatever_the_own_record_says(folder):
    run(folder, part_id=0, num_parts=2)
    os.utime(folder / "img/c1.nii", ns=(1, 1))
    assert "MINE_c1" in run(folder, part_id=0, num_parts=3).done
    again = run(folder, part_id=0, num_parts=2)
    assert again.before == names(1, 3, 4, 5) and again.remaining == 1
    whole = run(folder)
    assert list(whole.done) == names(2) and whole.complete and not run(folder).done


def test_limit_converts_the_first_cases(folder):
    outcome = run(folder, limit=2)
    assert list(outcome.done) == names(1, 2) and outcome.complete
    assert list(run(folder).done) == names(3, 4, 5)
    assert len(run(folder, limit=1).before) == 5


def test_several_processes_convert_the_same_and_an_outcome_is_kept_per_case(folder):
    (folder / "img/c2.nii").write_bytes(b"torn")
    outcome = run(folder, processes=2)
    assert sorted(outcome.done) == names(1, 3, 4, 5) and list(outcome.failed) == names(2)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(part_id=2, num_parts=2), "argument part_id 2 of 2"),
        (dict(limit=0), "argument limit 0"),
        (dict(leave_out=("c9",)), "argument leave_out c9: no such case; cases are named like c1"),
        (dict(leave_out=("c1", "c2", "c3", "c4", "c5")), "every case is left out"),
        (dict(split_sides=True), "no merged label of a left and a right structure"),
    ],
)
def test_impossible_options_are_refused(options, words, folder):
    with pytest.raises(UserError, match=words):
        run(folder, **options)
