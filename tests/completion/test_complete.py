"""`complete_dataset` with networks that say the truth but for what is planted: the dataset that comes of it, and its resuming."""

import csv
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders.completion import (
    ANNOTATION,
    CASES,
    DATASET,
    LIVER,
    SPLEEN,
    Says,
    probabilities,
    truth,
    write,
    write_dataset,
    write_teacher,
)
from builders.merge import contents, read
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_cdpd.annotation import UNSUPERVISED
from nnunetv2_cdpd.completion import run as completion_run
from nnunetv2_cdpd.completion.output import COMPLETION_RECORD_FILE, TABLE_FILE
from nnunetv2_cdpd.completion.reference_cases import REFERENCES_FILE
from nnunetv2_cdpd.completion.run import complete_dataset
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")
IGNORE = 3


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """On the merged dataset, of two folds."""
    return write_teacher(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def done(teacher, tmp_path_factory):
    """A completion in which nothing is planted."""
    root = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        dataset, says, told = write_dataset(root / "raw"), Says(patch), []
        return SimpleNamespace(folder=complete(teacher, told=told), dataset=dataset, asked=says.asked, told=told)


@pytest.fixture(scope="module")
def planted(teacher, tmp_path_factory):
    """A completion of four spleens that are wrong, each in its way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_raw", str(tmp_path_factory.mktemp("planted")))
        write_dataset(Path(os.environ["nnUNet_raw"]))
        says = Says(patch)
        shifted = np.roll(truth("a00")["spleen"], (6, -14), (1, 2))  # 42 mm sideways, partly into the liver
        small = np.zeros_like(shifted)
        small[9:11, 10:12, 18:20] = True
        soft = probabilities(truth("a06")["spleen"])
        edge = tuple(np.argwhere(truth("a06")["spleen"])[0])
        soft[edge] = 0.6
        says.plant("a00", "spleen", probabilities(shifted))
        says.plant("a02", "spleen", probabilities(small))
        says.plant("a04", "spleen", probabilities(truth("a04")["spleen"], inside=0.6))
        says.plant("a06", "spleen", soft)
        folder = complete(teacher)
        return SimpleNamespace(folder=folder, rows=table(folder), shifted=shifted, small=small, edge=edge)


@pytest.fixture
def dataset(raw):
    return write_dataset(raw)


@pytest.fixture
def says(monkeypatch):
    return Says(monkeypatch)


def complete(*teachers, told=None, number=410, dataset=400, **options):
    options = {"num_processes": 1, "progress": False, "report": [].append if told is None else told.append} | options
    return complete_dataset(dataset, teachers, number, **options)


def labels(folder, case):
    return read(folder / "labelsTr" / f"{case}.nii.gz")


def completion(folder):
    return json.loads((folder / "dataset.json").read_text())["cdpd"]["completion"]


def table(folder):
    with (folder / TABLE_FILE).open(newline="") as file:
        return {(row["case"], row["class"]): row for row in csv.DictReader(file)}


def expected(case):
    masks = truth(case)
    return masks["liver"] * LIVER + masks["spleen"] * SPLEEN


def files(folder):
    """Without the records, whose lines stand in the order of the work."""
    kept = contents(folder)
    return {name: content for name, content in kept.items() if name not in (COMPLETION_RECORD_FILE, REFERENCES_FILE)}


def test_every_case_gets_what_its_source_does_not_annotate(done):
    assert done.folder.name == "Dataset410_Parts_completed"
    for case in CASES:
        assert (labels(done.folder, case) == expected(case)).all(), case
    assert read(done.dataset / "labelsTr/a00.nii.gz").max() == LIVER  # the dataset itself stays
    lines = done.told[-1].splitlines()
    assert lines[0].split() == ["class", "filters", "real", "completed", "nowhere", "dropped", "unknown", "voxels", "ignored"]
    voxels = sum(truth(case)["liver"].sum() for case in CASES if case[0] == "b")
    assert lines[2].split() == ["liver", "-", "5", "5", "0", "0", "0", str(voxels), "0"]


def test_the_dataset_is_an_ordinary_one_of_nnunet(done):
    content = json.loads((done.folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert "regions_class_order" not in content and content["numTraining"] == len(CASES)
    manager = LabelManager(content["labels"], None)
    assert not manager.has_regions and manager.ignore_label == IGNORE and manager.num_segmentation_heads == 3
    assert content["dataset"]["a00"] == {"images": [f"../{DATASET}/imagesTr/a00_0000.nii.gz"], "label": "labelsTr/a00.nii.gz"}
    completed = read_dataset(done.folder)
    assert completed.path(completed.cases[0].images[0]).is_file() and not completed.problems


def test_all_sources_annotate_all_classes_and_ignore_says_nothing(done):
    annotation = read_dataset(done.folder).annotation
    assert [source.annotated_classes for source in annotation.sources] == [("liver", "spleen")] * 2
    assert annotation.sources[0].license == "CC BY 4.0" and annotation.case_source == ANNOTATION.case_source
    assert (annotation.tables[:, :IGNORE] != UNSUPERVISED).all() and (annotation.tables[:, IGNORE] == UNSUPERVISED).all()


def test_a_case_is_labelled_by_the_fold_that_kept_it_back(done, teacher):
    name = f"{teacher.parent.name}/teacher"
    assert done.asked == [(case, name, (int(case[1:]) // 2 % 2,)) for case in CASES]
    told = completion(done.folder)
    assert told["cases"]["a02"]["completed"]["spleen"]["teachers"] == {name: ["1"]}
    assert set(told["teachers"][name]) == {"0", "1"} and len(told["teachers"][name]["0"]) == 64


def test_values_tell_what_is_real_and_what_is_not(done):
    its = completion(done.folder)["cases"]["a00"]
    masks = {name: int(mask.sum()) for name, mask in truth("a00").items()}
    assert its["real"] == ["liver"]
    assert its["values"]["1"] == {"voxels": masks["liver"], "real": masks["liver"]}
    assert its["values"]["2"] == {"voxels": masks["spleen"], "real": 0}
    assert its["completed"]["spleen"]["voxels"] == masks["spleen"]


def test_cases_of_another_dataset_are_labelled_by_all_folds(dataset, says, tmp_path):
    complete(write_teacher(tmp_path, cases=("c01", "c02", "c03")))
    assert {folds for _, _, folds in says.asked} == {(0, 1)}


def test_an_id_that_another_call_takes_meanwhile_is_refused(dataset, says, teacher, raw, monkeypatch):
    read = completion_run.read_teachers

    def slowly(*given, **named):
        (raw / "Dataset410_Other").mkdir()
        return read(*given, **named)

    monkeypatch.setattr(completion_run, "read_teachers", slowly)
    with pytest.raises(UserError, match="dataset_id 410: taken by Dataset410_Other"):
        complete(teacher)
    assert not (raw / "Dataset410_Parts_completed").exists()


def test_a_fold_without_a_checkpoint_is_named_where_its_cases_are_refused(dataset, says, tmp_path):
    teacher = write_teacher(tmp_path)
    (teacher / "fold_1" / "checkpoint_final.pth").unlink()
    told = []
    with pytest.raises(UserError, match=r"all of its folds were trained on .*; fold_1 has no checkpoint_final.pth"):
        complete(teacher, told=told)
    assert told[0].endswith(": fold_1 has no checkpoint_final.pth and is not asked")  # also where nothing is refused


def test_a_teacher_that_has_seen_a_case_is_refused_unless_it_is_allowed(dataset, says, tmp_path, raw):
    teacher = write_teacher(tmp_path, folds=("all",))
    with pytest.raises(UserError, match="fold all alone, which validates on what it was trained on"):
        complete(teacher)
    settings = CompletionSettings(filters=("confidence", "outlier"))
    with pytest.raises(UserError, match=r"all of its folds were trained on 10 of the cases .*a00, a02, a04 and 7 more"):
        complete(teacher, settings=settings)
    assert not (raw / "Dataset410_Parts_completed").exists() and says.asked == []
    told = []
    folder = complete(teacher, told=told, allow_seen=True, settings=settings)
    assert "warning: 10 cases labelled by networks that were trained on them: a00, a02, a04 and 7 more" in told
    assert completion(folder)["cases"]["a00"]["completed"]["spleen"]["seen"] is True
    assert table(folder)["a00", "spleen"]["seen"] == "yes"


def test_the_same_scan_under_another_name_counts_as_seen(dataset, teacher, says):
    """a00 was kept back by fold 0, a02 by fold 1: of their scan neither fold is innocent."""
    (dataset / "cdpd_duplicates.json").write_text(json.dumps({"groups": [["a00", "a02"]]}))
    with pytest.raises(UserError, match="trained on 2 of the cases .*a00, a02"):
        complete(teacher)


def test_a_shifted_organ_is_dropped_and_ignored_where_it_may_be(planted):
    row = planted.rows["a00", "spleen"]
    assert (row["outcome"], row["filter"], row["voxels"]) == ("dropped", "outlier", "0")
    assert float(row["place_score"]) > 4 > float(row["volume_score"])
    made, real = labels(planted.folder, "a00"), truth("a00")["liver"]
    assert set(np.unique(made)) == {0, LIVER, IGNORE} and (made[real] == LIVER).all()
    assert (made[planted.shifted & ~real] == IGNORE).all() and (planted.shifted & real).any()


def test_a_volume_outlier_is_dropped(planted):
    row = planted.rows["a02", "spleen"]
    assert row["filter"] == "outlier" and float(row["volume_score"]) > 4
    assert (labels(planted.folder, "a02")[planted.small] == IGNORE).all()


def test_a_structure_of_low_probability_is_dropped(planted):
    assert planted.rows["a04", "spleen"]["filter"] == "confidence"
    made = labels(planted.folder, "a04")
    assert (made[truth("a04")["spleen"]] == IGNORE).all() and (made[truth("a04")["liver"]] == LIVER).all()


def test_single_voxels_of_medium_probability_are_ignored(planted):
    expected_labels = expected("a06")
    expected_labels[planted.edge] = IGNORE
    row = planted.rows["a06", "spleen"]
    assert (labels(planted.folder, "a06") == expected_labels).all() and (row["filter"], row["ignored"]) == ("", "1")


def test_what_is_sound_is_taken_beside_what_is_not(planted):
    for case in ("a08", "b01", "b09"):
        assert (labels(planted.folder, case) == expected(case)).all()


def test_two_teachers_that_disagree_leave_a_structure_out(dataset, says, tmp_path):
    first = write_teacher(tmp_path / "one", cases=("c01", "c02"), folds=(0,))
    second = write_teacher(tmp_path / "two", cases=("d01", "d02"), folds=(0,), classes=("spleen",))
    says.plant("a04", "spleen", np.full((20, 24, 28), 0.01), teacher="two/teacher")
    folder = complete(first, second)
    row = table(folder)["a04", "spleen"]
    assert (row["outcome"], row["filter"], row["agreement"]) == ("dropped", "agreement", "0.0")
    assert row["teachers"] == "one/teacher 0; two/teacher 0"
    assert (labels(folder, "a04")[truth("a04")["spleen"]] == IGNORE).all()
    assert table(folder)["b01", "liver"]["teachers"] == "one/teacher 0"


def test_an_unreliable_class_is_not_taken_nor_taught_as_background(dataset, says, tmp_path):
    told = []
    good, poor = write_teacher(tmp_path / "g", classes=("liver",)), write_teacher(tmp_path / "p", classes=("spleen",), dice=0.3)
    folder = complete(good, poor, told=told)
    assert "note: spleen is not taken from p/teacher: Dice 0.3 in its cross-validation, of 0.5 (filter reliability)" in told
    assert any(line.startswith("warning: no teacher to be trusted tells of spleen;") for line in told)
    made = labels(folder, "a04")
    assert (made == np.where(truth("a04")["liver"], LIVER, IGNORE)).all()
    assert (labels(folder, "b01") == expected("b01")).all()
    assert completion(folder)["cases"]["a04"]["unknown"]["spleen"]["filter"] == "reliability"
    without = complete(good, poor, number=411, settings=CompletionSettings(filters=("confidence",)))
    assert (labels(without, "a04") == expected("a04")).all()


def test_a_teacher_without_a_validation_needs_the_filter_off(dataset, teacher, says, tmp_path):
    bare = write_teacher(tmp_path)
    for path in bare.glob("fold_*/validation/summary.json"):
        path.unlink()
    with pytest.raises(UserError, match="no summary.json of a validation.* or leave out the filter reliability"):
        complete(bare)


# ---- a second time ---------------------------------------------------------------------------------------------------


def test_a_killed_completion_goes_on_and_gives_the_same_files(dataset, teacher, says, monkeypatch):
    whole = files(complete(teacher, name="M", number=410))
    shutil.rmtree(dataset.parent / "Dataset410_M")
    killed = Says(monkeypatch, stop_at="b01")
    with pytest.raises(KeyboardInterrupt):
        complete(teacher, name="M")
    folder = dataset.parent / "Dataset410_M"
    assert not (folder / "dataset.json").exists() and len(list((folder / "labelsTr").iterdir())) == 5
    (folder / "labelsTr" / "a02.nii.gz").write_bytes(b"half of a file")
    killed.stop_at = None
    killed.asked.clear()
    told = []
    assert files(complete(teacher, name="M", told=told)) == whole
    assert [case for case, *_ in killed.asked] == ["a02", *CASES[5:]]
    assert "Dataset410_M: 4 of 10 cases are up to date" in told


def test_nothing_is_done_twice(dataset, teacher, says):
    before = files(complete(teacher))
    says.asked.clear()
    told = []
    assert files(complete(teacher, told=told)) == before and says.asked == []
    assert told[0] == "Dataset410_Parts_completed: all 10 cases are up to date"


def test_other_settings_do_all_cases_anew(dataset, teacher, says):
    says.plant("a04", "spleen", probabilities(truth("a04")["spleen"], inside=0.6))
    complete(teacher)
    told = []
    folder = complete(teacher, told=told, settings=CompletionSettings(filters=("outlier",)))
    assert told[0] == "Dataset410_Parts_completed: 10 cases done from other files, teachers or settings; done anew"
    assert (labels(folder, "a04") == expected("a04")).all()
    assert completion(folder)["settings"]["filters"] == ["outlier"]


def test_another_release_does_all_cases_anew(dataset, teacher, says, monkeypatch):
    complete(teacher)
    monkeypatch.setattr("nnunetv2_cdpd.completion.asking.__version__", "0.0.1")
    told = []
    complete(teacher, told=told)
    assert told[0].endswith("10 cases done from other files, teachers or settings; done anew")


def test_a_table_of_before_does_not_stay_beside_cases_that_are_done_anew(dataset, teacher, says):
    settings = CompletionSettings(filters=("confidence",))
    folder = complete(teacher, settings=settings)
    (dataset / "imagesTr" / "a04_0000.nii.gz").write_text("torn")
    with pytest.raises(UserError, match="'a04'"):
        complete(teacher, settings=settings)
    assert not (folder / TABLE_FILE).exists() and not (folder / "dataset.json").exists()


def test_a_changed_label_is_done_anew_with_what_is_compared_with_it(dataset, teacher, says):
    complete(teacher, settings=CompletionSettings(filters=("confidence",)))
    says.asked.clear()
    write(dataset / "labelsTr" / "a04.nii.gz", np.zeros((20, 24, 28), np.uint8))
    complete(teacher, settings=CompletionSettings(filters=("confidence",)))
    assert [case for case, *_ in says.asked] == ["a04"]


def test_folders_that_are_not_ours_stay(dataset, teacher, says, raw):
    (raw / "Dataset410_M").mkdir()
    (raw / "Dataset410_M" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not from `cdpd complete`; .*give another argument dataset_id"):
        complete(teacher, name="M")
    complete(teacher, number=411)
    write_dataset(raw, "Dataset401_Parts")
    with pytest.raises(UserError, match="was completed from Dataset400_Parts; nothing was changed"):
        complete(teacher, number=411, dataset=401)


def test_folds_of_the_dataset_stay(dataset, teacher, says):
    splits = [{"train": list(CASES[:5]), "val": list(CASES[5:])}]
    (dataset / "splits_final.json").write_text(json.dumps(splits))
    assert json.loads((complete(teacher) / "splits_final.json").read_text()) == splits


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_bad_case_does_not_stop_the_others(dataset, teacher, says):
    (dataset / "labelsTr" / "a04.nii.gz").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"1 problem, is not complete|case 'a04'"):
        complete(teacher, settings=CompletionSettings(filters=("confidence",)))
    assert len({case for case, *_ in says.asked}) == len(CASES) - 1


def test_an_image_that_does_not_lie_on_its_label_is_refused(dataset, teacher, says):
    write(dataset / "imagesTr" / "a04_0000.nii.gz", np.zeros((20, 24, 27), np.int16))
    with pytest.raises(UserError, match="case 'a04': .*its shape, as .*teacher reads it, is not that of the label"):
        complete(teacher, settings=CompletionSettings(filters=("confidence",)))
    says.asked.clear()
    with pytest.raises(UserError, match="case 'a04': .*20 x 24 x 27 voxels, its label map has 20 x 24 x 28"):
        complete(teacher)  # before any teacher is asked, as outliers are told from the middle of the body
    assert says.asked == []


def test_what_cannot_be_completed_is_refused(dataset, teacher, says, tmp_path, raw):
    with pytest.raises(UserError, match="no teacher; give the folder of a trained model"):
        complete()
    with pytest.raises(UserError, match="given twice"):
        complete(teacher, teacher)
    with pytest.raises(UserError, match="knows aorta, none of which Dataset400_Parts has"):
        complete(write_teacher(tmp_path / "x", classes=("aorta",)))
    folder = complete(teacher)
    with pytest.raises(UserError, match="every source annotates every class, so there is nothing to complete"):
        complete(teacher, dataset=folder, number=412)
    with pytest.raises(UserError, match="both the dataset and the output"):
        complete(teacher, number=400, name="Parts")
