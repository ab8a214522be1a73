"""Inputs: files, folders and DICOM series as cases, and what cannot be one."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.dicom import MR_IMAGE, RT_STRUCTURE_SET, write_enhanced, write_localizers, write_object
from builders.replica_files import make_truth, write_dicom
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from pydicom.uid import MediaStorageDirectoryStorage

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import Case, as_case, find_image_cases, modality_of, opened
from nnunetv2_cdpd.volumes.dicom import read_series
from nnunetv2_cdpd.volumes.reading import CheckedReader


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def identifiers(path, num_channels=1, file_ending=".nii.gz"):
    return {case.identifier: [file.name for file in case.files] for case in find_image_cases(path, file_ending, num_channels)}


def write_series(folder, array, series="1", spacing=(0.8, 0.9, 2.5), direction=(1, 0, 0, 0, 1, 0), left_out=(), numbers=None):
    """A DICOM series of an array (z, y, x) in HU."""
    folder.mkdir(exist_ok=True)
    row, column = np.array(direction[:3]), np.array(direction[3:])
    normal = np.cross(row, column)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, values in enumerate(array):
        if z in left_out:
            continue
        image = sitk.GetImageFromArray(values.astype(np.int16))
        image.SetSpacing(spacing[:2])
        position = np.array([10.0, -20.0, 30.0]) + normal * z * spacing[2]
        tags = {
            "0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": f"1.2.3.{series}", "0020|0013": str(z + 1),
            "0008|0018": f"1.2.3.{series}.{z + 1}", "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0020|0052": "1.2.3.9",
            "0020|0032": "\\".join(f"{value:g}" for value in position),
            "0020|0037": "\\".join(f"{value:g}" for value in direction),
            "0028|1052": "0", "0028|1053": "1", "0018|0050": str(spacing[2]), "0010|0010": "Name^Of^Patient",
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # the names are in no order of the positions
        writer.SetFileName(str(folder / f"{series}_{(7 * z) % 11:03d}.dcm"))
        writer.Execute(image)
    return folder


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(-500, 500, (5, 6, 7))


def test_a_folder_of_nnunets_names(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "b_1_0000.nii.gz", ".hidden.nii.gz", "notes.txt", "dataset.json")
    assert identifiers(tmp_path) == {"a": ["a_0000.nii.gz"], "b_1": ["b_1_0000.nii.gz"]}


def test_channels_are_one_case_in_their_order(tmp_path):
    touch(tmp_path, "a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz")
    assert identifiers(tmp_path, 2) == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"], "b": ["b_0000.nii.gz"]}


def test_one_channel_may_have_any_name_and_format(tmp_path):
    touch(tmp_path, "scan.nii.gz", "CT_2021.NII", "x.nrrd", "y_0000.mha")
    assert sorted(identifiers(tmp_path)) == ["CT_2021", "scan", "x", "y"]


def test_a_file_and_its_siblings(tmp_path):
    touch(tmp_path, "a[1]_0000.nii.gz", "a[1]_0001.nii.gz", "a1_0001.nii.gz", "b_0000.nii.gz")
    assert identifiers(tmp_path / "a[1]_0001.nii.gz", 2) == {"a[1]": ["a[1]_0000.nii.gz", "a[1]_0001.nii.gz"]}
    assert identifiers(tmp_path / "b_0000.nii.gz") == {"b": ["b_0000.nii.gz"]}
    touch(tmp_path, "c_0000.NII.GZ", "c_0001.nii.GZ")
    assert identifiers(tmp_path / "c_0000.NII.GZ", 2) == {"c": ["c_0000.NII.GZ", "c_0001.nii.GZ"]}


@pytest.mark.parametrize("names", [("a_0000.nii.gz", "a_0002.nii.gz"), ("a_0001.nii.gz", "a_0002.nii.gz"), ("a_0001.nii.gz",)])
def test_channels_are_counted_from_0_without_a_gap(names, tmp_path):
    touch(tmp_path, *names)
    numbers = ", ".join(str(int(name[2:6])) for name in names)
    for path in (tmp_path, tmp_path / names[0]):
        (case,) = find_image_cases(path, ".nii.gz", 2)
        with pytest.raises(UserError, match=f"{tmp_path}/a: channels {numbers}; they are counted from 0 without a gap"):
            opened(case, SimpleITKIO()).__enter__()


def test_two_files_of_one_case_are_refused(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_0000.nii.gz")
    with pytest.raises(UserError, match="a.nii.gz and a_0000.nii.gz are both case 'a'"):
        find_image_cases(tmp_path, ".nii.gz", 1)


def test_nothing_to_predict_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        find_image_cases(tmp_path / "nowhere", ".nii.gz", 1)
    with pytest.raises(UserError, match="no image in it"):
        find_image_cases(touch(tmp_path / "empty", "notes.txt"), ".nii.gz", 1)
    with pytest.raises(UserError, match="not a volume .*; of a DICOM series give the folder"):
        find_image_cases(tmp_path / "empty" / "notes.txt", ".nii.gz", 1)


def test_one_case_is_one(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz")
    with pytest.raises(UserError, match=r"2 cases \(a, b\); give one of them"):
        as_case(tmp_path, ".nii.gz", 1)
    with pytest.raises(UserError, match="argument image: no file"):
        as_case([], ".nii.gz", 1)
    assert as_case([tmp_path / "x.nii.gz", "y.nii.gz"], ".nii.gz", 2).files == (tmp_path / "x.nii.gz", Path("y.nii.gz"))


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)])
def test_a_dicom_series_is_read_with_its_geometry(tmp_path, volume, reader, direction):
    write_series(tmp_path / "patient", volume, direction=direction)
    (case,) = find_image_cases(tmp_path / "patient", ".nii.gz", 1)
    assert case.identifier == "patient" and case.is_dicom and len(case.files) == 5
    with opened(case, reader()) as files:
        array, properties = reader().read_images([str(file) for file in files])
        temporary = files[0].parent
    assert not temporary.exists()
    np.testing.assert_array_equal(array[0], volume)
    np.testing.assert_allclose(properties["spacing"], (2.5, 0.9, 0.8), rtol=1e-6)
    if reader is SimpleITKIO:
        geometry = properties["sitk_stuff"]
        np.testing.assert_allclose(geometry["origin"], (10, -20, 30))
        columns = np.array(geometry["direction"]).reshape(3, 3).T
        np.testing.assert_allclose(columns[:2].ravel(), direction, atol=1e-9)


def cases_of(path, modality=None):
    """Identifiers, and what was told."""
    told = []
    return [case.identifier for case in find_image_cases(path, ".nii.gz", 1, modality, told.append)], told


def test_series_of_one_folder_and_of_subfolders_are_cases(tmp_path, volume):
    write_series(tmp_path / "both", volume, series="1")
    write_series(tmp_path / "both", volume, series="2")
    identifiers, told = cases_of(tmp_path / "both")
    assert identifiers == ["both_1", "both_2"]
    assert told == [f"{tmp_path / 'both'}: series (5 files) is case both_{number}" for number in (1, 2)]
    (tmp_path / "patient" / "study").mkdir(parents=True)
    write_series(tmp_path / "patient" / "study" / "single", volume)
    touch(tmp_path / "patient" / "report", "letter", "letter.txt")
    write_object(tmp_path / "DICOMDIR", MediaStorageDirectoryStorage, "")
    assert cases_of(tmp_path)[0] == ["both_1", "both_2", "patient_study_single"]
    with (
        pytest.raises(UserError, match=r"both: 2 cases \(both_1, both_2\); give one of them"),
        pytest.warns(match="is case both_2"),
    ):
        as_case(tmp_path / "both", ".nii.gz", 1)


def test_dicom_files_at_the_root_hide_no_folder_below(tmp_path, volume):
    (tmp_path / "export").mkdir()
    for name in ("p1", "p2"):
        write_series(tmp_path / "export" / name, volume)
    (stray := tmp_path / "export" / "stray.dcm").write_bytes(b"damaged")
    assert cases_of(tmp_path / "export")[0] == ["export", "p1", "p2"]
    stray.unlink()
    write_series(tmp_path / "export", volume, series="3")
    assert cases_of(tmp_path / "export")[0] == ["export", "p1", "p2"]


def test_series_are_named_by_their_numbers_and_others_passed_over(tmp_path):
    image = make_truth(["liver"], 3).image
    for number, description in ((7, "Thorax 1.0"), (3, "Abdomen")):
        write_dicom(tmp_path / "p", image, names=f"{number}-{{}}.dcm", SeriesNumber=number, SeriesDescription=description)
    write_dicom(tmp_path / "p", image, names="mr-{}.dcm", SeriesNumber=1, Modality="MR", SOPClassUID=MR_IMAGE)
    write_dicom(tmp_path / "p", image[..., :1], names="one-{}.dcm", SeriesNumber=2)
    write_localizers(tmp_path / "p", image)
    write_object(tmp_path / "p" / "rs", RT_STRUCTURE_SET, "RTSTRUCT")
    identifiers, told = cases_of(tmp_path / "p", "CT")
    assert identifiers == ["p_3", "p_7"]
    passed_over = "18 x MR Image of modality MR, 1 x RT Structure Set, 2 x localizer, 1 x series of a single image"
    assert told == [
        f"{tmp_path / 'p'}: passed over: {passed_over}",
        f"{tmp_path / 'p'}: series 3 'Abdomen' (18 files) is case p_3",
        f"{tmp_path / 'p'}: series 7 'Thorax 1.0' (18 files) is case p_7",
    ]
    assert cases_of(tmp_path / "p")[0] == ["p_1", "p_3", "p_7"]  # for a model of any modality


def test_folders_whose_names_make_one_case_are_refused(tmp_path, volume):
    for folder in (tmp_path / "a" / "b_c", tmp_path / "a_b" / "c"):
        folder.mkdir(parents=True)
        write_series(folder, volume)
    with pytest.raises(UserError, match="a/b_c and .*a_b/c are both case 'a_b_c'; rename one of them"):
        find_image_cases(tmp_path, ".nii.gz", 1)


def test_no_series_of_the_models_modality_is_told(tmp_path):
    write_dicom(tmp_path, make_truth(["liver"], 3).image, Modality="PT")
    told = []
    with pytest.raises(UserError, match="no image in it .* or DICOM of CT"):
        find_image_cases(tmp_path, ".nii.gz", 1, "CT", told.append)
    assert told == [f"{tmp_path}: passed over: 18 x CT Image of modality PT"]


@pytest.mark.parametrize(
    "channels, modality", [({"0": "CT"}, "CT"), ({"0": "ct"}, "CT"), ({"0": "MR"}, None), ({"0": "T2", "1": "CT"}, None)]
)
def test_the_models_channel_tells_the_modality(channels, modality):
    assert modality_of({"channel_names": channels}) == modality_of({"modality": channels}) == modality


def test_multi_frame_ct_is_a_case(tmp_path):
    truth = make_truth(["liver"], 3)
    paths = write_dicom(tmp_path / "slices", truth.image)
    (tmp_path / "enhanced").mkdir()
    write_enhanced(tmp_path / "enhanced" / "IM1", paths)
    expected, found = [opened_array(as_case(tmp_path / name, ".nii.gz", 1)) for name in ("slices", "enhanced")]
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1]["sitk_stuff"] == expected[1]["sitk_stuff"]


def opened_array(case, tell=None):
    with opened(case, SimpleITKIO(), tell) as files:
        return SimpleITKIO().read_images([str(file) for file in files])


def test_a_tilted_gantry_is_told_and_made_upright(tmp_path):
    paths = write_dicom(tmp_path / "p", make_truth(["liver"], 3).image, ImagePositionPatient=lambda z: [0, 0.5 * z, 2.5 * z])
    told = []
    array, properties = opened_array(as_case(tmp_path / "p", ".nii.gz", 1), told.append)
    assert len(told) == 1 and "gantry tilt of 11.3 degrees; the slices are moved within their planes" in told[0]
    image = read_series(paths).image()
    np.testing.assert_array_equal(array[0], sitk.GetArrayFromImage(image))
    assert properties["sitk_stuff"]["origin"] == image.GetOrigin() and array.shape[2] > 24


def test_notes_of_a_series_are_warnings_where_nobody_listens(tmp_path):
    write_dicom(tmp_path / "p", make_truth(["liver"], 3).image, RescaleIntercept=None)
    with pytest.warns(match="p: no RescaleIntercept"), opened(as_case(tmp_path / "p", ".nii.gz", 1), SimpleITKIO()):
        pass


def test_a_missing_slice_is_told(tmp_path, volume):
    write_series(tmp_path / "patient", volume, left_out={2})
    (case,) = find_image_cases(tmp_path / "patient", ".nii.gz", 1)
    with pytest.raises(UserError, match=r"1 slice missing between .*patient/.* \(5.00 mm apart, usually 2.50 mm\)"):
        opened(case, SimpleITKIO()).__enter__()


def test_a_damaged_slice_is_told_when_its_case_is_read(tmp_path, volume):
    """And not before: other folders are predicted."""
    for name in ("a", "b"):
        write_series(tmp_path / name, volume)
    (tmp_path / "a" / "1_003.dcm").write_bytes(b"nothing")
    bad, good = find_image_cases(tmp_path, ".nii.gz", 1)
    with pytest.raises(UserError, match="1_003.dcm is no whole DICOM file; take it out"):
        opened(bad, SimpleITKIO()).__enter__()
    assert opened_array(good)[0].shape == (1, 5, 6, 7)


def test_a_slice_of_another_size_is_told(tmp_path, volume):
    write_series(tmp_path / "patient", volume)
    (case,) = find_image_cases(tmp_path / "patient", ".nii.gz", 1)
    other = write_series(tmp_path / "other", volume[:, :4])
    last = max(other.iterdir(), key=lambda file: sitk.ReadImage(str(file)).GetOrigin()[2])
    case.files[-1].write_bytes(last.read_bytes())
    with pytest.raises(UserError, match="are of one series but differ in size or pixel spacing"):
        opened(case, SimpleITKIO()).__enter__()


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
def test_other_formats_are_converted_for_the_models_reader(tmp_path, volume, ending):
    image = sitk.GetImageFromArray(volume.astype(np.int16))
    image.SetSpacing((0.8, 0.9, 2.5))
    sitk.WriteImage(image, str(tmp_path / f"case{ending}"))
    with opened(Case("case", (tmp_path / f"case{ending}",)), NibabelIO()) as (file,):
        array, properties = NibabelIO().read_images([str(file)])
    np.testing.assert_array_equal(array[0], volume)
    np.testing.assert_allclose(properties["spacing"], (2.5, 0.9, 0.8), rtol=1e-6)


def test_what_cannot_be_converted_is_told(tmp_path):
    file = tmp_path / "case.nrrd"
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="case.nrrd: is no image that can be read; is it damaged"):
        opened(Case("case", (file,)), NibabelIO()).__enter__()
    with pytest.raises(UserError, match="this model reads .png, .*into which the file cannot be converted"):
        opened(Case("case", (file,)), NaturalImage2DIO()).__enter__()


# ---- what is no case -----------------------------------------------------------------------------------------------


def told_of(path, num_channels=1):
    lines = []
    cases = find_image_cases(path, ".nii.gz", num_channels, tell=lines.append)
    return [case.identifier for case in cases], lines


def test_folders_below_volumes_are_named(tmp_path, volume):
    write_series(tmp_path / "pat1", volume)
    touch(tmp_path / "pat2", "ct.nii.gz")
    touch(tmp_path / "notes", "readme.txt")
    touch(tmp_path, "old.nii.gz", "dataset.json")
    identifiers, (line,) = told_of(tmp_path)
    assert identifiers == ["old"]
    assert line.startswith(f"{tmp_path}: not taken, being folders of images below one that holds volumes") and line.endswith(
        ": pat1, pat2"
    )


def test_pictures_and_slices_among_volumes_are_named(tmp_path, volume):
    write_series(tmp_path / "series", volume)
    (tmp_path / "series" / "1_000.dcm").rename(tmp_path / "IM0001")
    (tmp_path / "series").rename(tmp_path.parent / f"{tmp_path.name}_other")
    touch(tmp_path, "old.nii.gz", "screen.png")
    identifiers, (line,) = told_of(tmp_path)
    assert identifiers == ["old"] and line.endswith(": IM0001, screen.png")


def test_a_volume_beside_folders_of_dicom_is_named(tmp_path, volume):
    write_series(tmp_path / "pat1", volume)
    touch(tmp_path / "pat2", "ct.nii.gz")
    identifiers, (line,) = told_of(tmp_path)
    assert identifiers == ["pat1"]
    assert line.startswith(f"{tmp_path / 'pat2'}: not taken") and line.endswith(": ct.nii.gz")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["case0_0001"], "case0 has channel 0001 without 0000"),
        (["case0_0000", "case0_0001"], "case0 has channels 0000, 0001"),
        (["a_0000", "case0_0002"], "case0 has channel 0002 without 0000"),
    ],
)
def test_a_number_that_may_be_a_channel_is_not_taken_for_a_case(names, words, tmp_path):
    touch(tmp_path, *(f"{name}.nii.gz" for name in names))
    with pytest.raises(UserError, match=f"{words} by the names of its files, and the model takes one channel"):
        told_of(tmp_path)


@pytest.mark.parametrize("names", [["amos_0001", "amos_0004"], ["amos_0017"], ["scan_1"], ["a_0000", "b_0000"]])
def test_cases_may_be_named_by_numbers(names, tmp_path):
    touch(tmp_path, *(f"{name}.nii.gz" for name in names))
    assert told_of(tmp_path) == ([name.removesuffix("_0000") for name in names], [])


def test_a_link_that_leads_nowhere_is_a_case_that_fails(tmp_path):
    touch(tmp_path, "a_0000.nii.gz")
    (tmp_path / "b_0000.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    first, case = find_image_cases(tmp_path, ".nii.gz", 1)
    assert (first.identifier, case.identifier) == ("a", "b")
    with pytest.raises(UserError, match="b_0000.nii.gz"), opened(case, SimpleITKIO()) as files:
        CheckedReader(SimpleITKIO()).read_images(files)


def test_links_to_folders_of_series_are_followed_once(tmp_path, volume):
    (tmp_path / "store/p1").mkdir(parents=True)
    write_series(tmp_path / "store/p1/ct", volume)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/p1").symlink_to(tmp_path / "store/p1")
    (tmp_path / "store/p1/loop").symlink_to(tmp_path / "images")
    assert list(identifiers(tmp_path / "images")) == ["p1_ct"]


def test_pictures_in_the_folder_itself_are_named(tmp_path):
    touch(tmp_path, "x.jpg")
    told = []
    with pytest.raises(UserError, match=r"no image in it \(\.nii\.gz, \.nii, "):
        find_image_cases(tmp_path, ".nii.gz", 1, tell=told.append)
    assert told == [f"{tmp_path}: not taken, being no volume of a format that is read: x.jpg"]
