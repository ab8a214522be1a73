"""Cases of DICOM series, with label files and label slices (series themselves: test_dicom.py)."""

import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from builders.conversion import declare, output, reason, run
from builders.dicom import RT_STRUCTURE_SET, write_localizers, write_object
from builders.replica_files import SHAPE, label_of, make_truth, write_dicom, write_nifti
from PIL import Image

from nnunetv2_cdpd.conversion.slices import pair_slices
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import read_series


@pytest.fixture
def folder(tmp_path, nnunet_folders):
    """A case whose label is a file on the grid of its DICOM image."""
    truth = make_truth(["liver"], 3)
    write_dicom(tmp_path / "img/c1", truth.image)
    write_nifti(tmp_path / "lab/c1.nii.gz", label_of(truth, {1: "liver"}))
    return tmp_path


DATASET = declare(images=("img/{case}",), labels=("lab/{case}.nii.gz",), dicom=True, values={1: "liver"})


def test_what_lies_beside_the_slices_is_passed_over_and_told(folder):
    truth = make_truth(["liver"], 3)
    write_localizers(folder / "img/c1", truth.image)
    write_object(folder / "img/c1/rs.dcm", RT_STRUCTURE_SET, "RTSTRUCT")
    outcome = run(folder, DATASET)
    assert outcome.complete
    label = nibabel.as_closest_canonical(nibabel.load(output(folder)))
    assert np.array_equal(np.asanyarray(label.dataobj), truth.masks["liver"])
    assert "passed over: 1 x RT Structure Set, 2 x localizer" in str(outcome)


def test_gantry_tilt_is_refused(folder):
    tilted = lambda z: [f"{v:.4f}" for v in (11.5, -28 + z * 0.5, -40 + z * 2.5)]
    write_dicom(folder / "img/c1", make_truth(["liver"], 3).image, ImagePositionPatient=tilted)
    text = reason(folder, DATASET)
    assert "1-018.dcm: gantry tilt of 11.3 degrees; straighten the series and its label first" in text


def test_duplicate_slices_are_refused(folder):
    shutil.copy(folder / "img/c1/1-007.dcm", folder / "img/c1/again.dcm")
    text = reason(folder, DATASET)
    assert f"{folder}/img/c1/again.dcm is a copy of {folder}/img/c1/1-007.dcm; take it out of the folder" in text


@pytest.mark.parametrize("series", ["the same", "another"])
def test_a_slice_that_is_not_ct_is_refused(folder, series):
    file = pydicom.dcmread(folder / "img/c1/1-007.dcm")
    file.Modality = "MR"
    file.SeriesInstanceUID = file.SeriesInstanceUID if series == "the same" else "1.2.3"
    file.save_as(folder / "img/c1/stray.dcm")
    assert f"{folder}/img/c1/stray.dcm is not CT (modality MR); take it out of the folder" in reason(folder, DATASET)


def test_a_slice_of_another_series_is_refused(folder):
    file = pydicom.dcmread(folder / "img/c1/1-007.dcm")
    file.SeriesInstanceUID = "1.2.3"
    file.save_as(folder / "img/c1/stray.dcm")
    assert "stray.dcm is the only image of its series; take it out of the folder" in reason(folder, DATASET)


def test_a_series_that_is_not_ct_is_refused(folder):
    write_dicom(folder / "img/c1", make_truth(["liver"], 3).image, Modality="MR")
    assert "img/c1: no CT slices; there are 18 x CT Image of modality MR" in reason(folder, DATASET)


def test_a_series_that_lacks_slices_is_refused(folder):
    (folder / "img/c1/1-007.dcm").unlink()
    assert "1 slice missing between" in reason(folder, DATASET)


# ---- label slices -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sliced(tmp_path, nnunet_folders):
    truth = make_truth(["liver"], 5)
    write_dicom(tmp_path / "img/c1", truth.image, top_first=False)
    (tmp_path / "lab/c1").mkdir(parents=True)
    for z in range(SHAPE[2]):
        picture = np.flip(truth.masks["liver"][:, :, z], (0, 1)).T.astype(np.uint8) * 255
        Image.fromarray(picture).save(tmp_path / f"lab/c1/{z:03d}.png")
    dataset = declare(images=("img/{case}",), labels=("lab/{case}",), dicom=True, slices=True, values={1: "liver"})
    return tmp_path, dataset, truth


def test_label_slices_land_on_the_image(sliced):
    folder, dataset, truth = sliced
    assert run(folder, dataset).complete
    label = nibabel.as_closest_canonical(nibabel.load(output(folder)))
    assert np.array_equal(np.asanyarray(label.dataobj), truth.masks["liver"])


# ---- names of slices --------------------------------------------------------------------------------------------------

NUM_SLICES = 12


def paired(folder, image_name, label_name, instance=lambda z: z + 1):
    """Positions (z) whose label slices `pair_slices` gives to the slices of a series, from the lowest slice up.

    Args:
        image_name, label_name: Name of the file of the slice at z.
    """
    image = np.zeros((3, 4, NUM_SLICES), np.int16)
    files = write_dicom(folder / "img", image, names="x{:03d}.dcm", top_first=False, InstanceNumber=instance)
    for z, file in enumerate(files):
        file.rename(folder / "img" / f"renamed_{image_name(z)}")
    for z in range(NUM_SLICES):
        (folder / "img" / f"renamed_{image_name(z)}").rename(folder / "img" / image_name(z))
    series = read_series(sorted((folder / "img").iterdir()))
    of_name = {label_name(z): z for z in range(NUM_SLICES)}
    labels = [folder / "lab" / name for name in sorted(of_name)]
    order = [of_name[path.name] for path in pair_slices(labels, series)]
    return order if series.slices[0].position[2] < series.slices[-1].position[2] else order[::-1]


PLAIN, PADDED = (lambda z: f"IM{z + 1}.dcm"), (lambda z: f"IM{z + 1:04d}.dcm")


@pytest.mark.parametrize(
    ("image_name", "label_name"),
    [
        (PLAIN, lambda z: f"m_{z + 1:03d}.png"),  # IM1, IM10, IM11 ... by letters
        (PADDED, lambda z: f"m_{z + 1}.png"),
        (PADDED, lambda z: f"m_{z}.png"),  # counted from 0
        (PLAIN, lambda z: f"m_{z + 98}_of_5.png"),
        (lambda z: f"1.2.840.{7 + 3 * z}.dcm", lambda z: f"liver_{z}.png"),
        (lambda z: f"IM{NUM_SLICES - z}.dcm", lambda z: f"m_{NUM_SLICES - z:03d}.png"),  # from the top down
        (lambda z: f"{z * 7 % 13}.dcm", lambda z: f"{z * 7 % 13}.png"),  # in no order at all, by one name
        (lambda z: f"{'cab'[z % 3]}{z}.dcm", lambda z: f"{'cab'[z % 3]}{z}.png"),
    ],
)
def test_label_slices_are_counted_as_numbers(image_name, label_name, tmp_path):
    instance = (lambda z: NUM_SLICES - z) if image_name(0) == f"IM{NUM_SLICES}.dcm" else (lambda z: z + 1)
    assert paired(tmp_path, image_name, label_name, instance) == list(range(NUM_SLICES))


@pytest.mark.parametrize(
    ("image_name", "label_name", "instance", "reason"),
    [
        (lambda z: f"IM{z * 7 % 13}.dcm", lambda z: f"m_{z}.png", lambda z: z, "do not lie in the order of their names"),
        (PADDED, lambda z: f"m_{z + 1}.png", lambda z: NUM_SLICES - z, "m_1.png and .*IM0001.dcm are slice 1 by name, but that"),
        (PADDED, lambda z: f"m_{z + 1 + (z > 4)}.png", lambda z: z, "m_5.png and .*m_7.png: the numbers between are missing"),
        (PADDED, lambda z: ["m_1.png", "m_01.png", f"m_{z}.png"][min(z, 2)], lambda z: z, "have one number"),
    ],
)
def test_label_slices_whose_order_is_not_told_are_refused(image_name, label_name, instance, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        paired(tmp_path, image_name, label_name, instance)


def test_a_gap_that_the_image_files_have_too_is_none(tmp_path):
    skipped = lambda z: z + 1 + (z > 4)
    paired_order = paired(tmp_path, lambda z: f"IM{skipped(z)}.dcm", lambda z: f"m_{skipped(z)}.png")
    assert paired_order == list(range(NUM_SLICES))


def test_too_few_label_slices_are_refused(sliced):
    folder, dataset, _ = sliced
    (folder / "lab/c1/004.png").unlink()
    assert "lab/c1 holds 17 label slices, its image has 18" in reason(folder, dataset)


def test_damaged_label_slice_is_refused(sliced):
    folder, dataset, _ = sliced
    (folder / "lab/c1/004.png").write_bytes(b"\x89PNG")
    assert "lab/c1/004.png cannot be read as an image" in reason(folder, dataset)


def test_a_label_slice_of_a_wrong_checksum_is_refused(sliced):
    folder, dataset, _ = sliced
    content = bytearray((folder / "lab/c1/004.png").read_bytes())
    content[-13] ^= 1  # of the pixels' checksum
    (folder / "lab/c1/004.png").write_bytes(content)
    assert "lab/c1/004.png cannot be read as an image" in reason(folder, dataset)


def test_label_slice_of_another_size_is_refused(sliced):
    folder, dataset, _ = sliced
    Image.fromarray(np.zeros((24, 25), np.uint8)).save(folder / "lab/c1/004.png")
    assert "lab/c1/004.png has another size than the first slice" in reason(folder, dataset)


def test_label_slices_of_another_size_than_the_image_are_refused(sliced):
    folder, dataset, _ = sliced
    for z in range(SHAPE[2]):
        Image.fromarray(np.zeros((24, 25), np.uint8)).save(folder / f"lab/c1/{z:03d}.png")
    assert "label slices of (25, 24), image of (26, 24)" in reason(folder, dataset)
