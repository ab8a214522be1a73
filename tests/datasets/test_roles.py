"""What a folder is for, and that nothing is written in place of what somebody else made."""

import pytest

from nnunetv2_cdpd.datasets.output import check_may_write, check_own_folder
from nnunetv2_cdpd.datasets.roles import Role, role_of
from nnunetv2_cdpd.errors import UserError


def put(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize(
    ("files", "folder", "role"),
    [
        (["D/dataset.json"], "D/labelsTr", Role.REFERENCES),
        (["D/dataset.json"], "D/labelsTs", Role.REFERENCES),
        (["D/dataset.json"], "D/imagesTs", Role.IMAGES),
        (["D/imagesTr/x"], "D/labelsTr", Role.REFERENCES),
        (["D/gt_segmentations/a.nii.gz"], "D/gt_segmentations", Role.REFERENCES),
        (["M/fold_0/validation/a.nii.gz"], "M/fold_0/validation", Role.PREDICTIONS),
        (["p/cdpd_predict.json"], "p", Role.PREDICTIONS),
        (["p/predict_from_raw_data_args.json"], "p", Role.PREDICTIONS),
        (["D/dataset.json", "D/labelsTs/plans.json"], "D/labelsTs", Role.PREDICTIONS),
        (["i/case_0000.nii.gz"], "i", Role.IMAGES),
        (["labelsTr/a.nii.gz"], "labelsTr", None),
        (["p/case.nii.gz", "p/dataset.json"], "p", None),
        (["p/scan_0000.nii.gz", "p/dataset.json"], "p", None),
        ([], "nowhere", None),
    ],
)
def test_a_folder_is_known_by_its_name_or_by_what_lies_in_it(files, folder, role, tmp_path):
    put(*(tmp_path / file for file in files))
    assert role_of(tmp_path / folder) is role


def test_a_link_to_references_leads_to_references(tmp_path):
    put(tmp_path / "D/dataset.json", tmp_path / "D/labelsTr/a.nii.gz")
    (tmp_path / "out").symlink_to(tmp_path / "D/labelsTr")
    assert role_of(tmp_path / "out") is Role.REFERENCES


def test_a_link_to_itself_is_nothing(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "out")
    assert role_of(tmp_path / "out") is None


def may_write(*paths, **options):
    check_may_write(paths, **{"made_here": False, "way_out": "give another folder", **options})


def test_files_are_replaced_only_where_a_record_says_that_they_are_ours(tmp_path):
    put(tmp_path / "a.json", tmp_path / "b.json")
    may_write(tmp_path / "c.json", tmp_path / "nowhere" / "a.json")
    with pytest.raises(UserError, match="a.json: nothing says that this command made it and 1 more; nothing was changed, give"):
        may_write(tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json")
    may_write(tmp_path / "a.json", made_here=True)


@pytest.mark.parametrize("folder", ["labelsTr", "labelsTs", "imagesTr", "imagesTs"])
def test_nothing_is_written_into_the_folders_of_a_raw_dataset(folder, tmp_path):
    put(tmp_path / "dataset.json")
    what = "references" if "labels" in folder else "images"
    with pytest.raises(UserError, match=f"{folder}: holds {what}, among which nothing is written"):
        may_write(tmp_path / folder / "summary.json")


def test_label_maps_are_not_put_among_others_or_among_images(tmp_path):
    put(tmp_path / "theirs/x.NII.GZ", tmp_path / "images/x_0000.nii.gz")
    may_write(tmp_path / "theirs/page.html", tmp_path / "images/page.html")
    with pytest.raises(UserError, match="theirs/x.NII.GZ: nothing says that this command made it"):
        may_write(tmp_path / "theirs/a.nii.gz", label_maps=True)
    with pytest.raises(UserError, match="images: holds images"):
        may_write(tmp_path / "images/a.nii.gz", label_maps=True)


def test_a_folder_that_a_command_fills_alone_holds_nothing_else(tmp_path):
    how = {"command": "cdpd x", "way_out": "give another"}
    check_own_folder(tmp_path / "new", made_here=False, **how)
    put(tmp_path / "new" / "note.txt", tmp_path / "file")
    with pytest.raises(UserError, match="new: exists and is not from `cdpd x`; nothing was changed, move it or give another"):
        check_own_folder(tmp_path / "new", made_here=False, **how)
    check_own_folder(tmp_path / "new", made_here=True, **how)
    with pytest.raises(UserError, match="file: is no folder"):
        check_own_folder(tmp_path / "file", made_here=False, **how)
