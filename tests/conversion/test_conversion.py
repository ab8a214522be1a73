"""convert: where its output goes, layout mistakes told before any work, and facts that contradict each other."""

import json
import os

import nibabel
import numpy as np
import pytest
from builders.conversion import declare, run, write_case
from builders.replica_files import make_truth, write_nifti
from builders.replicas import lits

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.conversion.registry import public_dataset
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.conversion.summary import summary
from nnunetv2_cdpd.errors import UserError

# ---- output folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "preprocessed", "results"])
def test_id_is_free_or_that_of_before(kind, folder, nnunet_folders):
    (getattr(nnunet_folders, kind) / "Dataset300_OTHER").mkdir()
    assert run(folder, limit=1).folder.name == "Dataset301_MINE"
    assert run(folder).folder.name == "Dataset301_MINE"
    assert run(folder, dataset_id=7).folder.name == "Dataset007_MINE"


@pytest.mark.parametrize("kind", ["raw", "preprocessed", "results"])
@pytest.mark.parametrize("dataset_id, words", [(0, "three digits"), (1000, "three digits"), (300, "taken by Dataset300_OTHER")])
def test_impossible_id_is_refused(dataset_id, words, kind, folder, nnunet_folders):
    (getattr(nnunet_folders, kind) / "Dataset300_OTHER").mkdir()
    with pytest.raises(UserError, match=words):
        run(folder, dataset_id=dataset_id)


def test_foreign_folder_is_not_touched(folder, nnunet_folders):
    mine = nnunet_folders.raw / "Dataset310_MINE/imagesTr/precious_0000.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(UserError, match="exists and is not from `cdpd convert`; nothing was changed"):
        run(folder, dataset_id=310)
    assert mine.read_text() == "precious"


def test_without_nnunet_raw_the_way_out_is_told(folder, monkeypatch):
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(UserError, match="nnUNet_raw is not set"):
        run(folder)


# ---- layout --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: (f / "lab/c2.nii").unlink(), "no label for the image of c2"),
        (lambda f: (f / "img/c2.nii").unlink(), "no image for the label of c2"),
        (lambda f: [path.unlink() for path in (f / "img").iterdir()], "no image found"),
        (lambda f: [path.unlink() for path in (f / "lab").iterdir()], "no label found"),
        (lambda f: write_case(f / "copy", "c2", 9), "case c2 has two images"),
    ],
)
def test_layout_mistake_is_told_before_any_work(spoil, words, folder, nnunet_folders):
    spoil(folder)
    with pytest.raises(UserError) as caught:
        run(folder)
    text = str(caught.value)
    assert words in text and "found: " in text and "expected:" in text and "img, lab" in text
    assert not list(nnunet_folders.raw.iterdir())


def test_less_than_one_process_is_refused(tmp_path, nnunet_folders):
    with pytest.raises(UserError, match="argument num_processes 0: give 1 or more"):
        run(tmp_path, processes=0)


def test_folder_that_is_not_there_is_named(tmp_path, nnunet_folders):
    with pytest.raises(UserError, match="nowhere: no such folder; `cdpd sources MINE`"):
        run(tmp_path / "nowhere")


def test_archives_that_are_not_unpacked_are_named(tmp_path, nnunet_folders):
    (tmp_path / "Task03_Liver.tar").write_bytes(b"")
    with pytest.raises(UserError, match="unpack first: Task03_Liver.tar"):
        run(tmp_path, public_dataset("MSD_Liver"))


def test_cases_left_out_by_the_finder_are_a_layout_mistake_too(folder):
    with pytest.raises(UserError, match="no case found"):
        run(folder, declare(find=lambda download: []))


def test_incomplete_download_is_told(tmp_path, nnunet_folders):
    replica = lits(tmp_path / "download")
    lines = []
    convert(public_dataset("lits"), replica.folder, num_processes=1, progress=False, report=lines.append)
    assert "note: 3 labelled cases found, LiTS has 131; is the download complete?" in lines


def test_known_fault_of_a_case_is_told(tmp_path, nnunet_folders):
    for number in ("28", "48"):
        truth = make_truth(["liver", "liver_tumor"], int(number))
        write_nifti(tmp_path / f"volume-{number}.nii", truth.image)
        write_nifti(tmp_path / f"segmentation-{number}.nii", truth.masks["liver"].astype(np.uint8))
    outcome = run(tmp_path, public_dataset("LiTS"))
    assert (
        list(outcome.notes) == ["LiTS_28"]
        and "MSD_Liver has the same scans with their true spacing" in outcome.notes["LiTS_28"][0]
    )
    assert "note: LiTS_28: LiTS 28 to 47" in summary(outcome)


def test_linked_folder_is_followed_once(folder):
    os.symlink(folder, folder / "img/loop")
    assert run(folder).complete


def test_a_link_that_leads_to_itself_costs_its_case_alone(folder):
    (folder / "img/c1.nii").unlink()
    os.symlink("c1.nii", folder / "img/c1.nii")
    outcome = run(folder)
    assert list(outcome.failed) == ["MINE_c1"] and "img/c1.nii: no such file" in outcome.failed["MINE_c1"]
    assert len(outcome.done) == 4


# ---- facts ---------------------------------------------------------------------------------------------------------------


def test_values_become_consecutive_where_they_are_not(folder):
    truth = make_truth(["liver", "spleen"], 1)
    for case in range(1, 6):
        label = 40 * truth.masks["liver"].astype(np.uint16) + 500 * truth.masks["spleen"].astype(np.uint16)
        write_nifti(folder / f"lab/c{case}.nii", label)
    outcome = run(folder, declare(values={500: "spleen", 40: "liver", 7: None}))
    annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
    assert (annotation.classes, annotation.values) == (("spleen", "liver"), (1, 2))
    label = np.asanyarray(nibabel.load(outcome.folder / "labelsTr/MINE_c1.nii.gz").dataobj)
    assert np.array_equal(label, truth.masks["spleen"] + 2 * truth.masks["liver"].astype(np.uint8))


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(values={1: None}), "`values` names no structure"),
        (dict(nested={"tumor": "liver"}), "`nested` names tumor"),
        (dict(unions={"both": ("liver", "heart")}), "`unions` names heart"),
        (dict(annotates=("liver", "heart")), "`annotates` names heart"),
        (dict(sources={"A": ("heart",)}), "`sources` names heart"),
        (dict(merged_labels={"kidney": ("a", "b")}), "`merged_labels` names kidney"),
        (dict(merged_labels={"liver": ("a",)}), "liver needs at least two"),
        (dict(merged_labels={"liver": ("spleen", "b")}), "spleen stands in `values` too"),
        (dict(nested={"liver": "spleen", "spleen": "liver"}), "lies in itself"),
        (dict(slices=True), "`slices` are matched with the files of a DICOM series; add `dicom: true`"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        declare(**changes)
