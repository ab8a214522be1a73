"""Files of a download that are of no case, and names that no file can have."""

from builders.conversion import declare, run
from builders.replica_files import make_truth, write_dicom, write_nifti

TRUTH = make_truth(["liver", "spleen"], 1)
LABEL = TRUTH.masks["liver"].astype("uint8")


def write_case(folder, name, ending=".nii.gz"):
    for place, array in (("img", TRUTH.image), ("lab", LABEL)):
        write_nifti(folder / place / "new.nii.gz", array)
        (folder / place / "new.nii.gz").rename(folder / place / f"{name}{ending}")


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
