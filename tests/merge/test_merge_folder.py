"""The folder of a merged dataset: whose it is, calling again, several processes, and `cdpd merge`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from builders.merge import contents, merge, read, spoil_values, states, write_volume

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import output_folder, written_beside
from nnunetv2_cdpd.merge import merge_datasets, run
from nnunetv2_cdpd.merge.output import MERGE_RECORD_FILE

# ---- the output folder -----------------------------------------------------------------------------------------------


def test_less_than_one_process_is_refused(two, raw):
    with pytest.raises(UserError, match="argument num_processes -1: give 1 or more"):
        merge_datasets([301, 302], 400, "M", num_processes=-1, progress=False, report=lambda text: None)
    assert not (raw / "Dataset400_M").exists()


def test_ids_and_names_that_nnunet_cannot_take(two):
    def options(dataset_id, name):
        return merge_datasets([301], dataset_id, name, num_processes=1, progress=False, report=lambda text: None)

    with pytest.raises(UserError, match="argument dataset_id 1000: .* three digits"):
        options(1000, "M")
    for name in ("a/b", "", "a b", ".."):
        with pytest.raises(UserError, match="argument name"):
            options(400, name)
    with pytest.raises(UserError, match="argument dataset_id 302: taken by Dataset302_ORGANS"):
        options(302, "M")
    with pytest.raises(UserError, match="both an input and the output"):
        options(301, "LITS")
    with pytest.raises(UserError, match="Dataset301_LITS: given twice"):
        merge(301, "Dataset301_LITS")
    with pytest.raises(UserError, match="nothing to merge"):
        merge()


def test_folder_that_is_not_ours_stays_untouched(two):
    folder = two / "Dataset400_M"
    (folder / "labelsTr").mkdir(parents=True)
    (folder / "labelsTr/mine.nii.gz").write_text("precious")
    with pytest.raises(UserError, match="Dataset400_M: exists and is not from `cdpd merge`; nothing was changed"):
        merge(301)
    assert (folder / "labelsTr/mine.nii.gz").read_text() == "precious"
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(UserError, match="is no folder"):
        merge(301)


def test_the_output_is_no_input_by_a_link_either(two):
    folder, _ = merge(301)
    before = states(folder)
    (two / "Dataset777_LINK").symlink_to(folder)
    with pytest.raises(UserError, match="both an input and the output"):
        merge(777, update=True)
    assert states(folder) == before


def test_other_inputs_need_update(two):
    folder, _ = merge(301)
    before = states(folder)
    with pytest.raises(UserError, match="was merged from Dataset301_LITS; nothing was changed, .*argument update"):
        merge(301, 302)
    assert states(folder) == before
    merge(301, 302, update=True)
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 5
    merge(302, update=True)
    assert sorted(os.listdir(folder / "labelsTr")) == ["b1.nii.gz", "b2.nii.gz"]


def test_another_order_of_the_inputs_needs_update_where_it_moves_classes(two):
    """What was preprocessed and trained knows the stored values."""
    folder, _ = merge(301, 302)
    before, labels = states(folder), json.loads((folder / "dataset.json").read_text())["labels"]
    with pytest.raises(UserError, match="was merged from Dataset301_LITS, Dataset302_ORGANS, in this order, .*former order"):
        merge(302, 301)
    assert states(folder) == before
    _, said = merge(302, 301, update=True)
    assert json.loads((folder / "dataset.json").read_text())["labels"] != labels
    assert any("classes get other heads or stored values: " in line for line in said)
    _, said = merge(302, 301)
    assert not any("other heads" in line for line in said)


def test_record_of_another_kind_is_named(two):
    folder, _ = merge(301)
    (folder / MERGE_RECORD_FILE).write_text("{}\n")
    with pytest.raises(UserError, match="not a record of this release"):
        merge(301)


@pytest.mark.parametrize("line", ["null", "[1]", '{"case": "a1"}', "facts {}", "facts of texts"])
def test_a_record_with_damaged_lines_blocks_nothing(two, line):
    folder, _ = merge(301, 302)
    reference, path = contents(folder), folder / MERGE_RECORD_FILE
    header, first, *others = path.read_text().splitlines()
    facts = {"facts {}": {}, "facts of texts": {"values": ["1"]}}
    damaged = json.dumps({**json.loads(first), "facts": facts[line]}) if line in facts else line
    path.write_text("\n".join([header, damaged, *others]) + "\n")
    _, messages = merge(301, 302)
    assert f"note: {path}: 1 damaged line; the cases that are told there are done again" in messages
    assert "Dataset400_M: 4 of 5 cases are up to date" in messages and contents(folder) == reference
    assert "all 5 cases are up to date" in " ".join(merge(301, 302)[1])


def test_a_merge_waits_for_no_other_and_says_which_one_is_there(two):
    folder, _ = merge(301, 302)
    before = states(folder)
    with (
        output_folder(folder),
        pytest.raises(UserError, match=f"Dataset400_M: process {os.getpid()} on .* is writing there"),
    ):
        merge(301, 302)
    assert states(folder) == before


def test_second_call_does_nothing(two):
    folder, _ = merge(301, 302)
    before = states(folder)
    _, messages = merge(301, 302)
    assert states(folder) == before
    assert "Dataset400_M: all 5 cases are up to date, nothing to do" in messages


def test_killed_run_resumes_to_what_an_uninterrupted_one_gives(two, monkeypatch):
    reference = contents(merge(301, 302)[0])
    shutil.rmtree(two / "Dataset400_M")
    original, calls = run.rewrite_case, []

    class Killed(BaseException):
        """Like a kill, nothing of ours may catch it."""

    def dies_at_third(job):
        calls.append(job)
        if len(calls) == 3:
            with written_beside(Path(job.output)) as beside:
                beside.write_bytes(b"half")
                raise Killed
        return original(job)

    monkeypatch.setattr(run, "rewrite_case", dies_at_third)
    with pytest.raises(Killed):
        merge(301, 302)
    folder = two / "Dataset400_M"
    assert not (folder / "dataset.json").exists() and len(os.listdir(folder / "labelsTr")) == 2
    with (folder / MERGE_RECORD_FILE).open("a") as record:
        record.write('{"case": "a3", "made_fr')  # the line that a kill tore
    monkeypatch.setattr(run, "rewrite_case", original)
    done = states(folder / "labelsTr")
    _, messages = merge(301, 302)
    assert "Dataset400_M: 2 of 5 cases are up to date" in messages
    assert contents(folder) == reference
    assert done.items() <= states(folder / "labelsTr").items()


def test_run_killed_before_its_record_leaves_a_folder_to_go_on_in(two, monkeypatch):
    class Killed(BaseException):
        """Like a kill, nothing of ours may catch it."""

    def dies(record, keep):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(run.FileRecord, "rewrite", dies)
        with pytest.raises(Killed):
            merge(301)
    folder, _ = merge(301)
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 3


def test_what_a_killed_run_of_an_older_release_left_is_removed(two):
    folder = two / "Dataset400_M"
    (folder / ".partial/a1").mkdir(parents=True)
    (folder / ".partial/a1/a1.nii.gz").write_bytes(b"half")
    (folder / "dataset.json.1234.tmp").write_text("{")
    merge(301)
    assert not (folder / ".partial").exists() and not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("changed", ["labelsTr/a2.nii.gz", "imagesTr/a2_0000.nii.gz"])
def test_changed_input_is_noticed(two, changed):
    folder, _ = merge(301, 302)
    before = states(folder)
    path = two / "Dataset301_LITS" / changed
    write_volume(path, np.flip(read(path), 0))
    _, messages = merge(301, 302)
    after = states(folder)
    assert {name for name in before if before[name] != after[name]} == {"labelsTr/a2.nii.gz", "dataset.json", MERGE_RECORD_FILE}
    assert any("changed since the last merge" in message for message in messages)
    np.testing.assert_array_equal(read(folder / "labelsTr/a2.nii.gz"), read(two / "Dataset301_LITS/labelsTr/a2.nii.gz"))


def test_changed_output_is_noticed(two):
    folder, _ = merge(301, 302)
    reference = contents(folder)
    (folder / "labelsTr/a1.nii.gz").unlink()
    (folder / "labelsTr/b1.nii.gz").write_bytes(b"half")
    merge(301, 302)
    assert contents(folder) == reference


def test_changed_yaml_rewrites_only_what_it_concerns(two):
    folder, _ = merge(301, 302)
    before = states(folder)
    merge(301, 302, spec={"datasets": {"302": {"labels": {"spleen": None}}}})
    after = states(folder)
    assert {name for name in before if before[name] != after[name]} == {
        "labelsTr/b1.nii.gz", "labelsTr/b2.nii.gz", "dataset.json", MERGE_RECORD_FILE,
    }  # fmt: skip
    merge(301, 302, spec={"datasets": {"302": {"labels": {"spleen": None}, "task_prompt": "Organs"}}})
    assert states(folder)["labelsTr/b1.nii.gz"] == after["labelsTr/b1.nii.gz"]
    assert json.loads((folder / "dataset.json").read_text())["cdpd"]["sources"]["ORGANS"]["task_prompt"] == "Organs"


def test_removed_case_leaves(two):
    folder, _ = merge(301, 302)
    for path in (two / "Dataset301_LITS").rglob("a3*"):
        path.unlink()
    merge(301, 302)
    assert not (folder / "labelsTr/a3.nii.gz").exists()
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 4


# ---- processes and command -------------------------------------------------------------------------------------------


def test_several_processes_give_the_same(two):
    reference = contents(merge(301, 302)[0])
    shutil.rmtree(two / "Dataset400_M")
    spoil_values(two / "Dataset301_LITS/labelsTr/a2.nii.gz")
    with pytest.raises(UserError, match="case 'a2'"):
        merge(301, 302, num_processes=2)
    folder = two / "Dataset400_M"
    assert all(reference[f"labelsTr/{case}.nii.gz"] == (folder / f"labelsTr/{case}.nii.gz").read_bytes() for case in ("a1", "b2"))


def command(*arguments):
    assert main(["merge", *arguments]) == 0


def test_command_prints_the_table_and_what_to_type_next(two, tmp_path, capsys):
    spec = tmp_path / "merge.yaml"
    spec.write_text("datasets:\n  302: {labels: {spleen: My Spleen}}\n")
    command("-d", "301", str(two / "Dataset302_ORGANS"), "--id", "400", "--name", "M", "-np", "1", "--spec", str(spec))
    out = capsys.readouterr().out
    assert "LITS    3      liver, liver_tumor" in out and "ORGANS  2      liver, My Spleen" in out
    assert "nnUNetv2_plan_and_preprocess -d 400 -pl nnUNetPlannerCDPD --verify_dataset_integrity" in out
    assert "nnUNetv2_train 400 3d_fullres 0 -tr nnUNetTrainerCDPD -p nnUNetCDPDPlans" in out
    assert "note: liver_tumor lies in liver" in out
