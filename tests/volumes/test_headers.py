"""Headers: voxel sizes, places and units are read as they are meant; a doubt is told, and what cannot be known is refused."""

import math
import re
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from builders.nifti import READERS, SHAPE, SPACING, spoil, write
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from scipy.spatial.transform import Rotation

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.nifti import NiftiFile
from nnunetv2_cdpd.volumes.reading import CheckedReader, header_notes, read_sitk, told_notes

# ---- NRRD and MetaImage --------------------------------------------------------------------------------------------------


DIRECTIONS = "space: left-posterior-superior\nspace directions: {}\nspace origin: {}\n"
SIZES = "(0.8,0,0) (0,1.1,0) (0,0,5)"


def write_text_header(path, voxels, entries):
    """NRRD or MetaImage whose header has these lines besides those on how the voxels are stored."""
    sizes = " ".join(map(str, voxels.shape))
    if path.suffix == ".nrrd":
        fixed = f"NRRD0005\ntype: int16\ndimension: {voxels.ndim}\nsizes: {sizes}\nencoding: raw\nendian: little\n"
        head = f"{fixed}{entries}\n"
    else:
        fixed = f"ObjectType = Image\nNDims = {voxels.ndim}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        head = f"{fixed}{entries}DimSize = {sizes}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + voxels.tobytes(order="F"))
    return path


@pytest.mark.parametrize(
    "name, entries, told",
    [
        ("a.nrrd", "", "(no spacings or space directions)"),
        ("a.nrrd", "space: left-posterior-superior\n", "(no spacings or space directions)"),
        ("a.nrrd", "spacings: nan nan nan\n", "(`spacings` nan nan nan)"),
        ("a.nrrd", "spacings: 0.8 NaN 5\n", "(`spacings` 0.8 NaN 5)"),
        ("a.nrrd", "spacings: 0.8 1.1 \n", None),  # ITK itself does not take it
        ("a.nrrd", DIRECTIONS.format("none (0,1.1,0) (0,0,5)", "(0,0,0)"), "(`space directions` none (0,1.1,0) (0,0,5))"),
        ("a.nrrd", DIRECTIONS.format("(0,0,0) (0,1.1,0) (0,0,5)", "(0,0,0)"), "(`space directions` (0,0,0) (0,1.1,0) (0,0,5))"),
        ("a.mha", "", "(no ElementSpacing or ElementSize)"),
        ("a.mha", "ElementSpacing = 0.8 nan 5\n", "(`ElementSpacing` 0.8 nan 5)"),
        ("a.mha", "ElementSpacing = 0.8 0 5\n", "(`ElementSpacing` 0.8 0 5)"),
    ],
)
def test_a_header_without_a_voxel_size_is_not_taken_for_1_mm(tmp_path, voxels, name, entries, told):
    path = write_text_header(tmp_path / name, voxels, entries)
    example = "`spacings: 0.8 0.8 5`" if name == "a.nrrd" else "`ElementSpacing = 0.8 0.8 5`"
    for read in (read_sitk, lambda path: CheckedReader(SimpleITKIO()).read_images([path])):
        with pytest.raises(UserError) as error:
            read(path)
        if told is not None:
            assert str(error.value) == (
                f"{path}: its header does not give the size of a voxel along each axis {told}, and what is missing would be read "
                f"as 1 mm; write {example} there, in mm"
            )
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "name, entries, told",
    [
        ("a.nrrd", 'spacings: 0.8 1.1 5\nunits: "cm" "cm" "cm"\n', "counts in cm (`units`)"),
        ("a.nrrd", DIRECTIONS.format(SIZES, "(0,0,0)") + 'space units: "um" "um" "um"\n', "counts in um (`space units`)"),
        ("a.nrrd", DIRECTIONS.format("(0.8,0.2,0) (0,1.1,0) (0,0,5)", "(0,0,0)"), "has a sheared grid"),
        ("a.mha", "ElementSpacing = 0.8 1.1 5\nDistanceUnits = um\n", "counts in um (`DistanceUnits`)"),
        ("a.mha", "ElementSpacing = 0.8 1.1 5\nOffset = nan 0 0\n", "`Offset` in its header holds what is no number (nan 0 0)"),
        ("a.mha", "ElementSpacing = 0.8 1.1 5\nTransformMatrix = 1 0.3 0 0 1 0 0 0 1\n", "has a sheared grid"),
    ],
)
def test_units_places_and_shear_of_other_formats_are_not_passed_over(tmp_path, voxels, name, entries, told):
    path = write_text_header(tmp_path / name, voxels, entries)
    with pytest.raises(UserError, match=re.escape(told)) as error:
        read_sitk(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "name, entries",
    [
        ("a.nrrd", "spacings: 0.8 1.1 5\n"),
        ("a.nrrd", 'spacings: 0.8 1.1 5\nunits: "mm" "mm" "mm"\n'),
        ("a.nrrd", DIRECTIONS.format(SIZES, "(1,2,3)") + "# a remark: of nan\nkey:=nan\n"),
        ("a.mha", "ElementSpacing = 0.8 1.1 5\n"),
        ("a.mha", "ElementSize = 0.8 1.1 5\n"),
    ],
)
def test_a_header_that_gives_voxel_sizes_is_read_with_them(tmp_path, voxels, name, entries):
    image = read_sitk(write_text_header(tmp_path / name, voxels, entries))
    assert image.GetSpacing() == pytest.approx(SPACING)
    assert np.array_equal(sitk.GetArrayFromImage(image), voxels.transpose(2, 1, 0))


def test_several_values_per_voxel_and_a_picture_need_no_size_along_that_axis(tmp_path, voxels):
    vectors = np.stack([voxels, voxels])
    path = write_text_header(
        tmp_path / "a.nrrd", vectors, DIRECTIONS.format(f"none {SIZES}", "(0,0,0)") + "kinds: vector domain domain domain\n"
    )
    assert read_sitk(path).GetNumberOfComponentsPerPixel() == 2
    assert read_sitk(write_text_header(tmp_path / "b.nrrd", voxels[0], "")).GetSpacing() == (1, 1)


# ---- NIfTI ---------------------------------------------------------------------------------------------------------------


def assert_read_as(reader, path, voxels, note):
    """The voxels, 0.8 x 1.1 x 5 mm, and one note."""
    array, properties = reader.read_images([path])
    assert properties["spacing"] == pytest.approx(SPACING[::-1], rel=1e-5)
    grid = Grid.of_properties(array.shape[1:], properties)
    assert grid.spacing == pytest.approx(SPACING, rel=1e-5)
    assert sorted(array.ravel()) == sorted(voxels.ravel())
    (found,) = header_notes(path)
    assert re.search(note, found) and told_notes([path]) == [f"{path}: {found}"]


@pytest.mark.parametrize("unit, mm", [("micron", 0.001), ("meter", 1000)])
def test_units_are_turned_into_mm(tmp_path, voxels, reader, unit, mm):
    image = nibabel.Nifti1Image(voxels, np.diag([*(size / mm for size in SPACING), 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert_read_as(reader, tmp_path / "a.nii.gz", voxels, f"counts in {unit}s")


def test_a_unit_of_no_standard_is_taken_for_mm(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<B", content, 123, 7))
    assert header_notes(path) == ()
    assert np.allclose(reader.read_images([path])[1]["spacing"], SPACING[::-1])


def test_the_sform_decides_where_pixdim_contradicts_it(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    image = nibabel.load(path)
    image.header.set_sform(np.diag([*SPACING, 1.0]), 1)
    image.header["qform_code"] = 0
    nibabel.save(image, path)
    spoil(path, lambda content: content.__setitem__(slice(80, 92), struct.pack("<3f", 1, 1, 1)))
    assert nibabel.load(path).header.get_zooms() == (1, 1, 1)
    assert_read_as(reader, path, voxels, "two voxel sizes, pixdim 1 x 1 x 1 and sform 0.8 x 1.1 x 5 mm; the sform is used")


def two_places(path, voxels, codes, turn_degrees=0.0, shift_mm=0.0):
    """A file whose sform is its qform, turned about z and shifted along x."""
    qform, sform = np.diag([*SPACING, 1.0]), np.diag([*SPACING, 1.0])
    qform[:3, 3] = (10, 20, 30)
    sform[:3, :3] = Rotation.from_euler("z", turn_degrees, degrees=True).as_matrix() @ sform[:3, :3]
    sform[:3, 3] = (10 + shift_mm, 20, 30)
    image = nibabel.Nifti1Image(voxels, sform)
    image.set_sform(sform, codes[1])
    image.set_qform(qform, codes[0], update_affine=False)
    nibabel.save(image, path)
    return sform


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (1, 4)])  # ITK takes now the one and now the other
@pytest.mark.parametrize(
    "turn_degrees, shift_mm, apart", [(10, 0, r"2\.78"), (0, 5, "5"), (180, 0, r"31\.9"), (0, 0.02, r"0\.02")]
)
def test_the_sform_decides_where_the_qform_contradicts_it(tmp_path, voxels, reader, codes, turn_degrees, shift_mm, apart):
    path = tmp_path / "a.nii.gz"
    sform = two_places(path, voxels, codes, turn_degrees, shift_mm)
    note = f"its header gives two places, qform and sform, up to {apart}.* mm apart; the sform is used"
    assert_read_as(reader, path, voxels, note)
    placed = Grid.of_nifti(SHAPE, sform)
    assert same_place(NiftiFile(path).grid, placed, spacing_mm=1e-5, position_mm=1e-5) is None
    assert same_place(Grid.of_image(read_sitk(path)), placed, spacing_mm=1e-5, position_mm=1e-5) is None
    if isinstance(reader.reader, (SimpleITKIO, NibabelIO)) and not isinstance(reader.reader, SimpleITKIOWithReorient):
        array, properties = reader.read_images([path])
        assert same_place(Grid.of_array(array.shape[1:], properties), placed, spacing_mm=1e-5, position_mm=1e-5) is None


def test_a_qform_that_is_the_sform_but_for_rounding_is_no_contradiction(tmp_path, voxels):
    for number in range(20):  # near half a turn, where a quaternion in single precision is least exact
        affine = np.diag([*SPACING, 1.0])
        turn = Rotation.from_euler("zyx", [180 + number * 0.005, 0.01, 0], degrees=True)
        affine[:3, :3] = turn.as_matrix() @ affine[:3, :3]
        affine[:3, 3] = (-211.3 - number, 177.7, -1043.1)
        image = sitk.GetImageFromArray(voxels)
        grid = Grid.of_nifti(SHAPE, affine)
        image.SetSpacing(grid.spacing.tolist())
        image.SetOrigin(grid.origin.tolist())
        image.SetDirection(grid.direction.ravel().tolist())
        sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
        assert header_notes(tmp_path / "a.nii.gz") == ()
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "b.nii.gz")
        assert header_notes(tmp_path / "b.nii.gz") == ()


def test_a_qform_that_is_no_rotation_gives_way_to_the_sform(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels, qform_code=1)
    spoil(path, lambda content: struct.pack_into("<3f", content, 256, 3, 3, 3))
    assert_read_as(reader, path, voxels, "the qform in its header is no rotation; the sform is used")


def test_a_header_without_a_place_lies_where_itk_puts_it(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<2h", content, 252, 0, 0))
    assert_read_as(
        reader, path, voxels, "does not say where it lies .neither qform nor sform.; taken as ITK does, the first voxel at 0"
    )
    by_itk = Grid.of_image(sitk.ReadImage(str(path)))
    assert same_place(NiftiFile(path).grid, by_itk, spacing_mm=1e-6, position_mm=1e-6) is None
    assert same_place(Grid.of_image(read_sitk(path)), by_itk, spacing_mm=1e-6, position_mm=1e-6) is None


@pytest.mark.parametrize(
    "kind, right",  # the readers of nnU-Net that take the file itself as it is meant
    [
        ("nifti-2", {"NibabelIO", "NibabelIOWithReorient"}),
        ("micron", {"SimpleITKIO", "SimpleITKIOWithReorient"}),
        ("two places", {"NibabelIO", "NibabelIOWithReorient"}),
        ("two places, as ITK takes them", {reader.__name__ for reader in READERS}),
        ("no place", {"SimpleITKIO", "SimpleITKIOWithReorient"}),
        ("two voxel sizes", set()),
    ],
)
def test_what_nnunet_itself_would_read_otherwise_is_known(tmp_path, voxels, reader, kind, right):
    path = tmp_path / "a.nii.gz"
    affine = np.diag([*SPACING, 1.0])
    image = nibabel.Nifti1Image(voxels, affine)
    if kind == "nifti-2":
        image = nibabel.Nifti2Image(voxels, affine)
    if kind == "micron":
        image.header.set_xyzt_units("micron")
    nibabel.save(image, path)
    if kind.startswith("two places"):
        two_places(path, voxels, (2, 1) if "ITK" in kind else (1, 2), shift_mm=5)
    if kind == "no place":
        spoil(path, lambda content: struct.pack_into("<2h", content, 252, 0, 0))
    if kind == "two voxel sizes":
        spoil(path, lambda content: struct.pack_into("<3f", content, 80, 1, 1, 1))
    assert reader.misread(path, *reader.read_images([path])) == (() if reader.name in right else header_notes(path))


def test_a_fourth_axis_of_one_volume_is_no_axis(tmp_path, voxels, reader):
    assert_read_as(reader, write(tmp_path / "a.nii.gz", voxels[..., None]), voxels, "14 x 12 x 10 x 1 values in the header")


def test_nearly_perpendicular_axes_are_made_so_and_sheared_ones_refused(tmp_path, voxels, reader):
    affine = np.diag([*SPACING, 1.0])
    affine[0, 1] = 0.004
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert_read_as(reader, tmp_path / "a.nii.gz", voxels, "not quite perpendicular")
    affine[0, 1] = 0.2
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="a.nii.gz has a sheared grid"):
        reader.read_images([tmp_path / "a.nii.gz"])


def test_sizes_and_places_that_cannot_be_are_refused(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<h", content, 42, -14))
    with pytest.raises(UserError, match=r"a\.nii\.gz holds no voxel \(-14 x 12 x 10\)"):
        reader.read_images([path])
    far = np.diag([*SPACING, 1.0])
    far[0, 3] = 1e30
    with pytest.raises(UserError, match=r"b\.nii\.gz has no usable geometry"):
        reader.read_images([write(tmp_path / "b.nii.gz", voxels, far)])


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_values_are_scaled_as_the_header_says(tmp_path, voxels, reader, ending):
    path = write(tmp_path / f"a{ending}", voxels, scl_slope=2.0, scl_inter=-1024.0)
    assert nibabel.load(path).get_fdata().max() == 2 * voxels.max() - 1024
    image, _ = reader.read_images([path])
    assert np.array_equal(np.sort(image, axis=None), np.sort(2 * voxels.astype(np.float32) - 1024, axis=None))
    assert np.array_equal(NiftiFile(path).read(), 2 * voxels - 1024.0)
    assert not NiftiFile(path).stores_integers


@pytest.mark.parametrize("slope", [0, math.nan, math.inf])
def test_a_scale_of_nothing_is_none(tmp_path, voxels, reader, slope):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<2f", content, 112, slope, 5))
    assert_read_as(reader, path, voxels, f"its header scales by {slope:g} and adds 5, read as not scaled, as NIfTI wants it")


@pytest.mark.parametrize("forms", ["both", "sform", "qform"])
def test_negative_voxel_sizes_are_lengths(tmp_path, voxels, reader, forms):
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_sform(affine, int(forms != "qform"))
    image.set_qform(affine, int(forms != "sform"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = read_sitk(tmp_path / "a.nii.gz")
    path = spoil(tmp_path / "a.nii.gz", lambda content: struct.pack_into("<f", content, 80, -SPACING[0]))
    assert_read_as(reader, path, voxels, "its header gives negative voxel sizes, read as lengths, as NIfTI wants it")
    found = read_sitk(path)
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    assert same_place(Grid.of_image(found), Grid.of_image(expected), spacing_mm=0, position_mm=1e-3, relative=1e-5) is None


def test_voxels_lie_behind_the_header_where_it_does_not_say_so(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<f", content, 108, 0))
    assert_read_as(reader, path, voxels, "its header does not say where the voxels begin, read from behind the header")
    assert np.array_equal(NiftiFile(path).read(), voxels)


def test_nifti_2_is_read_by_every_reader(tmp_path, voxels, reader):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti2Image(voxels, np.diag([*SPACING, 1.0])), path)
    assert_read_as(reader, path, voxels, "NIfTI-2, which few readers know, read as NIfTI-1")
