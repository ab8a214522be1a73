"""Files of a download that are of no case, and names that no file can have."""

import nibabel
import numpy as np
import pytest
from builders.conversion import declare, run
from builders.replica_files import make_truth, write_dicom, write_nifti

from nnunetv2_cdpd.errors import UserError

TRUTH = make_truth(["liver", "spleen"], 1)
LABEL = TRUTH.masks["liver"].astype("uint8")


def write_case(folder, name, ending=".nii.gz"):
    for place, array in (("img", TRUTH.image), ("lab", LABEL)):
        write_nifti(folder / place / "new.nii.gz", array)
        (folder / place / "new.nii.gz").rename(folder / place / f"{name}{ending}")


def write_slices(folder):
    """LABEL as pictures, named like the slices of `write_dicom`."""
    from PIL import Image

    folder.mkdir(parents=True)
    for z in range(LABEL.shape[2]):
        Image.fromarray(np.flip(LABEL[:, :, z], (0, 1)).T * 255).save(folder / f"{LABEL.shape[2] - z:03d}.png")


def notes_on_files(outcome):
    return [line for line in outcome.lines if "not taken" in line]


def test_capitals_in_an_ending_count_for_nothing(tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    write_case(tmp_path, "b", ".NII.GZ")
    outcome = run(tmp_path)
    assert list(outcome.done) == ["MINE_a", "MINE_b"] and outcome.complete and not notes_on_files(outcome)


def test_images_that_no_template_names_are_named(tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    for name in ("b.mha", "old/c.nii.gz", "notes.txt"):
        (tmp_path / "img" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "img" / name).touch()
    (line,) = notes_on_files(run(tmp_path))
    assert line == (
        f"note: {tmp_path}: not taken, because nothing in the declaration of MINE names them: img/b.mha, img/old/c.nii.gz"
    )


def test_many_are_counted(tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    (tmp_path / "test").mkdir()
    for number in range(40):
        (tmp_path / f"test/x{number}.nii.gz").touch()
    (line,) = notes_on_files(run(tmp_path))
    assert line.endswith("names them: test (40)")


def test_masks_of_no_declared_structure_and_strays_in_a_series_are_named(tmp_path, nnunet_folders):
    write_dicom(tmp_path / "a/ct", TRUTH.image)
    write_nifti(tmp_path / "a/ct/preview.nii.gz", TRUTH.image)
    for name in ("liver", "Spleen", "lung"):
        write_nifti(tmp_path / f"a/masks/{name}.nii.gz", LABEL)
    values = {"liver": "liver", "lung": None}
    dataset = declare(images=("{case}/ct",), labels=("{case}/masks/{structure}.nii.gz",), dicom=True, masks=True, values=values)
    outcome = run(tmp_path, dataset)
    assert outcome.complete
    (line,) = notes_on_files(outcome)
    assert line.endswith("names them: a/ct/preview.nii.gz, a/masks/Spleen.nii.gz")


def test_a_case_whose_name_is_too_long_stops_no_other(tmp_path, nnunet_folders):
    for name in ("a", "n" * 240):
        write_case(tmp_path, name)
    outcome = run(tmp_path)
    assert list(outcome.done) == ["MINE_a"]
    assert f"img/{'n' * 240}.nii.gz: no file can have so long a name" in outcome.failed[f"MINE_{'n' * 240}"]


def test_a_file_that_the_user_put_into_the_dataset_stays(tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    own = run(tmp_path).folder / "labelsTr" / "MINE_own.nii.gz"
    own.write_bytes(b"precious")
    write_case(tmp_path, "b")
    assert run(tmp_path).complete and own.read_bytes() == b"precious"


def test_values_with_a_way_to_declare_them(tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    write_nifti(tmp_path / "lab/c1.nii.gz", LABEL * 7)
    write_nifti(tmp_path / "img/c1.nii.gz", TRUTH.image)
    failed = run(tmp_path).failed["MINE_c1"]
    assert "holds 7, which is not declared (declared are 0, 1, 2)" in failed and "`values` takes `7: NAME` or" in failed


def test_files_that_were_unpacked_are_taken_and_of_both_the_packed_one(tmp_path, nnunet_folders):
    dataset = declare(images=("img/{case}.nii.gz",), labels=("lab/{case}.nii.gz",))
    for place, array in (("img", TRUTH.image), ("lab", LABEL)):
        write_nifti(tmp_path / place / "a.nii", array)
        write_nifti(tmp_path / place / "b.nii.gz", array)
    write_nifti(tmp_path / "lab/b.nii", LABEL * 0)
    outcome = run(tmp_path, dataset)
    assert outcome.complete and list(outcome.done) == ["MINE_a", "MINE_b"]
    for case in ("a", "b"):
        converted = [outcome.folder / name for name in (f"imagesTr/MINE_{case}_0000.nii.gz", f"labelsTr/MINE_{case}.nii.gz")]
        assert [np.array_equal(nibabel.load(p).dataobj, array) for p, array in zip(converted, (TRUTH.image, LABEL))] == [True] * 2
    (line,) = notes_on_files(outcome)
    assert line.endswith("names them: lab/b.nii")


def test_files_of_the_operating_system_are_no_slices(tmp_path, nnunet_folders):
    write_dicom(tmp_path / "a/ct", TRUTH.image, names="{:03d}.dcm")
    write_slices(tmp_path / "a/mask")
    for folder in ("a/ct", "a/mask"):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "@eaDir/x.png"):
            (tmp_path / folder / name).parent.mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(b"x")
    outcome = run(tmp_path, declare(images=("{case}/ct",), labels=("{case}/mask",), dicom=True, slices=True, values={1: "liver"}))
    assert outcome.complete and list(outcome.done) == ["MINE_a"]


@pytest.mark.parametrize(("gone", "words"), [("img", "no image for the label of b"), ("lab", "no label for the image of b")])
@pytest.mark.parametrize("name", ["b", "MINE_b"])
def test_a_case_without_image_or_label_can_be_left_out(gone, words, name, tmp_path, nnunet_folders):
    write_case(tmp_path, "a")
    write_case(tmp_path, "b")
    (tmp_path / f"{gone}/b.nii.gz").unlink()
    with pytest.raises(UserError, match=f"{words}; get what is missing, or do without by argument leave_out b; "):
        run(tmp_path)
    outcome = run(tmp_path, leave_out=(name,))
    assert outcome.complete and list(outcome.done) == ["MINE_a"]
    with pytest.raises(UserError, match="argument leave_out c: no such case"):
        run(tmp_path, leave_out=(name, "c"))


def test_an_umlaut_of_a_mac_is_that_of_other_systems(tmp_path, nnunet_folders):
    write_case(tmp_path, "J\u00e4ger")
    (tmp_path / "lab/J\u00e4ger.nii.gz").rename(tmp_path / "lab/Ja\u0308ger.nii.gz")
    outcome = run(tmp_path)
    assert outcome.complete and list(outcome.done) == ["MINE_J\u00e4ger"]
