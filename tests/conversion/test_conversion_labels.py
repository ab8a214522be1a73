"""Labels: put on the grid of their image exactly, remapped, or refused by name."""

import gzip
import struct
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from builders.conversion import case_fixture, declare, output, reason, run  # noqa: F401
from builders.replica_files import AFFINE, SHAPE, write_nifti
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunetv2_cdpd.conversion.dataset_facts import DatasetFacts
from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.conversion.layout import pair_files
from nnunetv2_cdpd.conversion.read_labels import remap
from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.placement import place_label


@pytest.mark.parametrize("axes", ["LPS", "IPL", "ASR", "RAI"])
def test_label_stored_in_another_order_of_axes_lands_on_the_image(axes, case):
    folder, _, label = case
    write_nifti(folder / "lab/c1.nii.gz", label, axes=axes)
    outcome = run(folder)
    assert any("another axis order" in note for note in outcome.notes["MINE_c1"])
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)


def test_label_grid_off_by_rounding_becomes_that_of_the_image(case):
    folder, _, label = case
    off = AFFINE.copy()
    off[:3, 3] += 0.01
    write_nifti(folder / "lab/c1.nii.gz", label, affine=off)
    outcome = run(folder)
    assert any("by rounding" in note for note in outcome.notes["MINE_c1"])
    image = nibabel.load(output(folder, "imagesTr"))
    assert np.array_equal(nibabel.load(output(folder)).affine, image.affine)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda affine: affine + np.array([[0, 0, 0, 0.8], *np.zeros((3, 4))]), "shifted by 0.8 mm"),
        (lambda affine: affine * np.array([1.1, 1, 1, 1]), "spacing 0.88 x 0.9 x 2.5 mm"),
        (lambda affine: affine @ _turn(0.1), "another direction"),
    ],
)
def test_label_on_another_grid_is_refused(change, words, case):
    folder, _, label = case
    write_nifti(folder / "lab/c1.nii.gz", label, affine=change(AFFINE))
    text = reason(folder)
    assert "lab/c1.nii.gz: label lies on another grid" in text and words in text and "argument resample_labels" in text


def test_an_image_whose_header_is_damaged_is_named_and_not_its_label(case):
    folder, *_ = case
    path = folder / "img/c1.nii.gz"
    path.write_bytes(with_shape(path.read_bytes(), (3000, 3000, 3000)))
    text = reason(folder)
    assert "img/c1.nii.gz" in text and "bytes are missing" in text and "resample_labels" not in text


def with_shape(packed, shape):
    """A NIfTI-1 file that claims other sizes, with the voxels that it had."""
    content = bytearray(gzip.decompress(packed))
    content[42:48] = struct.pack("<3h", *shape)
    return gzip.compress(bytes(content))


def _turn(angle):
    spacing = np.diag([0.8, 0.9, 2.5, 1])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.linalg.inv(spacing) @ turn @ spacing


def test_label_of_another_shape_is_refused(case):
    folder, _, label = case
    write_nifti(folder / "lab/c1.nii.gz", label[:-1])
    assert "label has 25 x 24 x 18 voxels, its image 26 x 24 x 18" in reason(folder)


def test_label_with_swapped_axes_but_the_same_direction_is_refused():
    with pytest.raises(UserError, match="24 x 26 x 18 voxels"):
        place_label(Grid.of_nifti((24, 26, 18), AFFINE), Grid.of_nifti(SHAPE, AFFINE))


def write_finer(path, label):
    """The same label on a grid of half the spacing."""
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    finer[:3, 3] = (AFFINE @ [-0.25, -0.25, -0.25, 1])[:3]
    write_nifti(path, label.repeat(2, 0).repeat(2, 1).repeat(2, 2), affine=finer)


def test_label_on_another_grid_is_resampled_on_request(case):
    folder, _, label = case
    write_finer(folder / "lab/c1.nii.gz", label)
    outcome = run(folder, resample_labels=True)
    assert any("resampled" in note for note in outcome.notes["MINE_c1"])
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)


def test_float_label_of_integers_is_accepted_with_a_note(case):
    folder, _, label = case
    write_nifti(folder / "lab/c1.nii.gz", label.astype(np.float64))
    outcome = run(folder)
    assert any("floating point" in note for note in outcome.notes["MINE_c1"])
    written = nibabel.load(output(folder))
    assert written.get_data_dtype() == np.uint8 and np.array_equal(np.asanyarray(written.dataobj), label)


@pytest.mark.parametrize("value, why", [(0.5, "no integers (0.5)"), (np.nan, "no numbers (nan or infinite)")])
def test_float_label_of_fractions_is_refused(value, why, case):
    folder, _, label = case
    broken = label.astype(np.float32)
    broken[1, 2, 3] = value
    write_nifti(folder / "lab/c1.nii.gz", broken)
    assert f"lab/c1.nii.gz holds values that are {why}" in reason(folder)


def test_undeclared_value_is_refused(case):
    folder, _, label = case
    label[0, 0, 0] = 7
    write_nifti(folder / "lab/c1.nii.gz", label)
    assert "lab/c1.nii.gz holds 7, which is not declared (declared are 0, 1, 2)" in reason(folder)


def test_value_without_structure_becomes_background(case):
    folder, _, label = case
    outcome = run(folder, declare(values={1: None, 2: "spleen"}))
    assert outcome.complete
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label == 2)


@pytest.fixture
def masks(case):
    folder, _, label = case
    for value, name in ((1, "liver"), (2, "spleen")):
        write_nifti(folder / f"lab/c1/{name}.nii.gz", (label == value).astype(np.uint8))
    return folder, declare(labels=("lab/{case}/{structure}.nii.gz",), masks=True, values={"liver": "liver", "spleen": "spleen"})


def test_masks_that_are_not_binary_are_refused(masks):
    folder, dataset = masks
    write_nifti(folder / "lab/c1/spleen.nii.gz", np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE) % 5)
    assert "lab/c1/spleen.nii.gz is no binary mask (values 0 to 4)" in reason(folder, dataset)


def test_masks_on_different_grids_are_refused(masks):
    folder, dataset = masks
    write_nifti(folder / "lab/c1/spleen.nii.gz", np.zeros(SHAPE, np.uint8), affine=AFFINE + 0.5 * np.eye(4)[[3, 0, 1, 2]].T)
    assert "lab/c1/spleen.nii.gz lies on another grid than the other masks" in reason(folder, dataset)


def test_masks_whose_headers_differ_by_rounding_far_from_the_origin_are_joined(masks):
    folder, dataset = masks
    label = np.asanyarray(nibabel.load(folder / "lab/c1.nii.gz").dataobj)
    far, rounded = AFFINE.copy(), AFFINE.copy()
    far[:3, 3], rounded[:3, 3] = 900, 900.004
    for value, name, affine in ((1, "liver", far), (2, "spleen", rounded)):
        write_nifti(folder / f"lab/c1/{name}.nii.gz", (label == value).astype(np.uint8), affine=affine)
    write_nifti(folder / "img/c1.nii.gz", np.zeros(SHAPE, np.int16), affine=far)
    assert run(folder, dataset).complete
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)


def test_of_overlapping_masks_the_later_structure_stays_with_a_note(masks):
    folder, dataset = masks
    write_nifti(folder / "lab/c1/spleen.nii.gz", np.ones(SHAPE, np.uint8))
    outcome = run(folder, dataset)
    assert any("overlap" in note for note in outcome.notes["MINE_c1"])
    assert (np.asanyarray(nibabel.load(output(folder)).dataobj) == 2).all()


def test_several_masks_of_one_structure_are_joined(masks):
    folder, dataset = masks
    outcome = run(folder, replace(dataset, values={"liver": "organ", "spleen": "organ"}))
    label = np.asanyarray(nibabel.load(folder / "lab/c1.nii.gz").dataobj)
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label > 0)
    write_nifti(folder / "lab/c1/spleen.nii.gz", (label > 0).astype(np.uint8))
    assert outcome.notes == run(folder, replace(dataset, values={"liver": "organ", "spleen": "organ"})).notes == {}


def test_nested_mask_that_is_listed_before_its_parent_stays(masks):
    folder, dataset = masks
    label = np.asanyarray(nibabel.load(folder / "lab/c1.nii.gz").dataobj)
    write_nifti(folder / "lab/c1/liver.nii.gz", (label > 0).astype(np.uint8))
    outcome = run(folder, replace(dataset, values={"spleen": "tumor", "liver": "liver"}, nested={"tumor": "liver"}))
    assert outcome.complete  # stored are tumor 1, liver 2
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), np.array([0, 2, 1])[label])


def test_masks_are_painted_in_the_order_of_values_but_parents_first():
    names = ["clot", "tumor", "liver", "spleen", "vessel"]
    nested = {"clot": "tumor", "tumor": "liver", "vessel": "liver"}
    facts = DatasetFacts(declare(masks=True, values={name: name for name in names}, nested=nested))
    assert sorted(names, key=facts.paint_order) == ["liver", "tumor", "clot", "spleen", "vessel"]


@settings(max_examples=80, deadline=None)
@given(
    arrays(st.sampled_from([np.uint8, np.int16, np.int32, np.uint16]), (3, 4, 5), elements=st.integers(0, 9)),
    st.dictionaries(st.integers(0, 9), st.integers(0, 300), min_size=10, max_size=10),
    st.sampled_from(["C", "F"]),
)
def test_remapping_replaces_each_value_by_its_own(array, values, order):
    array = np.asarray(array, order=order)
    present = distinct(array)
    assert np.array_equal(present, np.unique(array))
    result = remap(array, values, present, "f")
    assert result.dtype == (np.uint8 if max(values.values()) < 256 else np.uint16)
    assert np.array_equal(result, np.vectorize(values.get)(array))


@settings(max_examples=30, deadline=None)
@given(arrays(np.int16, (2, 3, 4), elements=st.integers(-5, 5)))
def test_remapping_takes_negative_values_and_inverts(array):
    there = {value: value + 7 for value in range(-5, 6)}
    back = {new: old + 5 for old, new in there.items()}
    once = remap(array, there, distinct(array), "f")
    assert np.array_equal(remap(once, back, distinct(once), "f"), array + 5)


# ---- where no header tells where a label lies -------------------------------------------------------------------------

CHECK = IntensityCheck(window=(-50, 200), least_share=0.75, flips=((), (2,)))


def test_label_without_fitting_hu_is_refused(case):
    folder, image, _ = case
    write_nifti(folder / "img/c1.nii.gz", np.full_like(image, -800))
    assert "only 0% of the labelled voxels have -50 to 200 HU" in reason(folder, declare(placement=CHECK))


def test_label_whose_flip_cannot_be_told_is_refused(case):
    folder, image, _ = case
    write_nifti(folder / "img/c1.nii.gz", np.full_like(image, 50))
    assert "do not tell how the label has to be flipped (100%, 100% fit)" in reason(folder, declare(placement=CHECK))


def test_label_of_another_shape_is_refused_where_only_hu_tell(case):
    folder, _, label = case
    write_nifti(folder / "lab/c1.nii.gz", label[:, 1:])
    assert "has 26 x 23 x 18 voxels, its image 26 x 24 x 18" in reason(folder, declare(placement=CHECK))


COPY = dict(placement=CHECK, dicom=True)  # NIfTI copies of a DICOM collection, whose headers may agree


def fitting(masks):
    """HU that fit in a share of a mask's voxels, for each mask, and nowhere else."""
    image = np.full(SHAPE, -800, np.int16)
    for mask, share in masks:
        where = np.argwhere(mask)
        image[tuple(where[: round(share * len(where))].T)] = 50
    return image


@pytest.mark.parametrize("axes", ["RAS", "LPS"])
def test_flip_that_fits_clearly_better_overrules_headers_that_agree(axes, case):
    """Also where enough voxels fit as the headers say, and where these say another order of axes."""
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    upside_down = label[:, :, ::-1]
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, 1), (upside_down, 0.8)]))
    write_nifti(folder / "lab/c1.nii.gz", upside_down, axes=axes)
    outcome = run(folder, declare(**COPY))
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)
    assert outcome.notes["MINE_c1"] == ("label flipped along z, where its voxels have fitting HU",)


def test_label_that_fits_only_as_it_is_stored_is_taken_so_with_a_note(case):
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, 1)]))
    write_nifti(folder / "lab/c1.nii.gz", label[::-1], axes="LAS")
    outcome = run(folder, declare(**COPY))
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)
    assert outcome.notes["MINE_c1"] == ("label taken as it is stored, where its voxels have fitting HU",)


@pytest.mark.parametrize("share", [1, 0.8])
def test_headers_that_agree_are_believed_where_no_flip_fits_clearly_better(share, case):
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, share), (label[:, :, ::-1], share + 0.01)]))
    write_nifti(folder / "lab/c1.nii.gz", label)
    outcome = run(folder, declare(**COPY))
    assert outcome.complete and not outcome.notes
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)


def test_headers_that_agree_are_believed_with_a_note_where_a_flip_fits_a_little_better(case):
    """Fat at the border of an organ takes some per cent, a flip onto the liver none."""
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, 0.92), (label[:, :, ::-1], 1)]))
    write_nifti(folder / "lab/c1.nii.gz", label)
    outcome = run(folder, declare(**COPY))
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)
    (note,) = outcome.notes["MINE_c1"]
    assert note == "100% of the labelled voxels have fitting HU in a flip, 92% where the headers say, which are believed"


def test_headers_that_agree_are_believed_with_a_note_where_fewer_voxels_fit_than_expected(case):
    """Gas in a stomach, an image of another contrast."""
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, 0.6)]))
    write_nifti(folder / "lab/c1.nii.gz", label)
    (note,) = run(folder, declare(**COPY)).notes["MINE_c1"]
    assert note == "only 60% of the labelled voxels have fitting HU where the headers say, which are believed"
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), label)


def test_label_in_air_is_refused_though_the_headers_agree(case):
    folder, image, _ = case
    write_nifti(folder / "img/c1.nii.gz", np.full_like(image, -800))
    assert "lab/c1.nii.gz: only 0% of the labelled voxels have -50 to 200 HU" in reason(folder, declare(**COPY))


def test_label_that_fits_better_in_several_flips_than_where_the_headers_say_is_refused(case):
    folder, _, _ = case
    label = np.zeros(SHAPE, np.uint8)
    label[4:9, 5:9, 2:7] = 1
    write_nifti(folder / "img/c1.nii.gz", fitting([(label, 0.8), (label[:, :, ::-1], 1), (label[:, ::-1], 1)]))
    write_nifti(folder / "lab/c1.nii.gz", label)
    facts = {**COPY, "placement": replace(CHECK, flips=((), (2,), (1,)))}
    assert "do not tell how the label has to be flipped (80%, 100%, 100% fit)" in reason(folder, declare(**facts))


# ---- labelled in a part of the slices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write, inside, facts, options",
    [
        (lambda path, label: write_nifti(path, label), np.s_[:, :, 10:18], {}, {}),
        (lambda path, label: write_nifti(path, label, axes="RAI"), np.s_[:, :, 0:8], {}, {}),
        (lambda path, label: write_nifti(path, label, axes="IPL"), np.s_[8:16], {}, {}),
        (lambda path, label: write_nifti(path, label[:, :, ::-1]), np.s_[:, :, 0:8], dict(placement=CHECK), {}),
        (lambda path, label: write_finer(path, label), np.s_[:, :, 5:9], {}, dict(resample_labels=True)),
    ],
)
def test_labelled_slices_are_those_of_the_label_file_wherever_they_lie_in_the_image(write, inside, facts, options, case):
    def find(download):
        return [replace(case, labelled_slices=(10, 18)) for case in pair_files(download)]

    folder, _, label = case
    write(folder / "lab/c1.nii.gz", label)
    assert run(folder, declare(ignores=True, find=find, **facts), **options).complete
    expected = np.where(label == 0, 3, label)
    expected[inside] = label[inside]
    assert np.array_equal(np.asanyarray(nibabel.load(output(folder)).dataobj), expected)
