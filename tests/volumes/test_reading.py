"""Reading: a file is read whole and as it is meant, by whichever reader of nnU-Net, or it is refused by name."""

import gzip
import os
import re
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from PIL import Image
from scipy.spatial.transform import Rotation

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import files as written
from nnunetv2_cdpd.volumes import whole
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.nifti import NiftiFile
from nnunetv2_cdpd.volumes.reading import CheckedReader, header_notes, read_sitk, told_notes, write_sitk

READERS = [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]
SPACING = (0.8, 1.1, 5.0)  # x, y, z
SHAPE = (14, 12, 10)


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def reader(request):
    return CheckedReader(request.param())


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)


def write(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.diag([*SPACING, 1.0]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def spoil(path, change):
    """Change the bytes of the header of a .nii.gz."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def hole(path, at, length=40):
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_what_is_whole_is_read_as_nnunet_reads_it(tmp_path, voxels, reader, ending):
    path = write(tmp_path / f"a{ending}", voxels)
    array, properties = reader.read_images([path])
    expected, its = reader.reader.read_images([str(path)])
    assert np.array_equal(array, expected) and array.dtype == np.float32
    assert properties["spacing"] == its["spacing"]
    assert Grid.of_properties(array.shape[1:], properties).affine == pytest.approx(
        Grid.of_properties(expected.shape[1:], its).affine
    )


@pytest.mark.parametrize(
    "ending, share", [(".nii.gz", 0.5), (".nii.gz", 0.99), (".nii.gz", 0.02), (".nii", 0.5), (".nii", 0.999)]
)
def test_a_torn_file_is_refused(tmp_path, voxels, reader, ending, share):
    path = write(tmp_path / f"a{ending}", voxels)
    cut(path, share)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} (is damaged|cannot be read as NIfTI)"):
        reader.read_images([path])


def test_a_hole_in_a_compressed_file_is_refused(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    hole(path, 0.6)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged"):
        reader.read_images([path])


def test_a_well_packed_label_is_checked_too(tmp_path, reader):
    label = np.zeros((60, 60, 60), np.uint8)
    label[10:20] = 1
    path = write(tmp_path / "a.nii.gz", label)
    content = path.read_bytes()
    for spoiled in (content[:-1], content[:-8], content[:-8] + b"\1\2\3\4" + content[-4:]):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match="is damaged"):
            reader.read_seg(path)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg"])
def test_packed_pictures_are_read_whole_or_refused(tmp_path, name):
    array = np.zeros((48, 64), np.uint8)
    array[8:24, 16:40] = 200
    path = tmp_path / name
    Image.fromarray(array).save(path)
    assert path.stat().st_size < array.size or name == "a.bmp"
    read = sitk.GetArrayFromImage(read_sitk(path))
    assert np.allclose(read if read.ndim == 2 else read[..., 0], array, atol=8 if name == "a.jpg" else 0)
    content = path.read_bytes()
    for share in (0.3, 0.7):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged"):
            read_sitk(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_files_are_read_whole_or_refused(tmp_path, voxels, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, voxels, compression=compression)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(path)), voxels)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=re.escape(str(path))):
            read_sitk(path)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.gipl"])
@pytest.mark.parametrize("compressed", [False, True])
def test_other_formats_are_read_whole_or_refused(tmp_path, voxels, name, compressed):
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    path = tmp_path / name
    sitk.WriteImage(image, str(path), compressed)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(path)), voxels.transpose(2, 1, 0))
    holds_voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = holds_voxels.read_bytes()
    for share in (0.5, 0.95):
        holds_voxels.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=re.escape(str(tmp_path))):
            read_sitk(path)
    if compressed and name != "a.gipl":
        holds_voxels.write_bytes(content)
        hole(holds_voxels, 0.6)
        with pytest.raises(UserError, match=f"{re.escape(str(holds_voxels))} is damaged"):
            read_sitk(path)


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


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_values_that_are_no_numbers_are_refused(tmp_path, voxels, reader, value, ending):
    array = voxels.astype(np.float64)
    array[3, 4, 5] = value
    path = write(tmp_path / f"a{ending}", array)
    for read in (lambda: reader.read_images([path]), lambda: reader.read_seg(path), lambda: read_sitk(path)):
        with pytest.raises(UserError, match=rf"a{ending} holds values that are no numbers \(nan or infinite\)"):
            read()


@pytest.mark.parametrize(
    "dtype, what", [(np.complex64, "complex64 values"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours")]
)
def test_what_is_no_number_per_voxel_is_refused(tmp_path, reader, dtype, what):
    path = write(tmp_path / "a.nii.gz", np.zeros(SHAPE, dtype))
    with pytest.raises(UserError, match=f"a.nii.gz holds {what}, not plain numbers"):
        reader.read_images([path])


def test_no_voxel_no_file_and_a_claim_of_too_many(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    spoil(path, lambda content: content.__setitem__(slice(42, 48), struct.pack("<3h", 30000, 30000, 30000)))
    with pytest.raises(UserError, match="a.nii.gz is damaged .* bytes are missing"):
        reader.read_images([path])
    spoil(path, lambda content: content.__setitem__(slice(42, 48), struct.pack("<3h", 14, 0, 10)))
    with pytest.raises(UserError, match="a.nii.gz holds no voxel"):
        reader.read_images([path])
    with pytest.raises(UserError, match="none.nii.gz: no such file"):
        reader.read_images([tmp_path / "none.nii.gz"])


# ---- headers -------------------------------------------------------------------------------------------------------------


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


def test_a_nifti_file_of_two_axes_is_no_volume(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels[..., 0])
    with pytest.raises(UserError, match="a.nii.gz holds 14 x 12 values, not one volume; give a volume of three axes"):
        reader.read_images([path])


def test_several_volumes_in_one_nifti_file_are_refused_by_every_reader(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", np.stack([voxels, voxels + 1], -1))
    with pytest.raises(UserError, match="a.nii.gz holds 14 x 12 x 10 x 2 values, not one volume; write each .* file of its own"):
        reader.read_images([path])


@pytest.mark.parametrize("is_vector", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_several_values_per_voxel_are_refused_in_other_formats_too(tmp_path, voxels, ending, is_vector):
    """nnU-Net takes the slices of a vector image for channels, and cannot write a label map on the grid of a 4D one."""
    several = np.stack([voxels, voxels + 1], -1 if is_vector else 0)
    image = sitk.GetImageFromArray(several, isVector=is_vector)
    image.SetSpacing((*SPACING, 1.0)[: image.GetDimension()])
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    with pytest.raises(UserError, match=f"a{ending}: several values per voxel, not one volume; write each"):
        CheckedReader(SimpleITKIO()).read_images([tmp_path / f"a{ending}"])


def test_what_a_reader_prints_before_it_raises_is_told_in_the_line(tmp_path, voxels, capsys):
    files = [write(tmp_path / "a.nii.gz", voxels), write(tmp_path / "b.nii.gz", voxels[1:])]
    with pytest.raises(UserError, match="a.nii.gz, .*b.nii.gz: SimpleITKIO cannot read it .*same shape"):
        CheckedReader(SimpleITKIO()).read_images(files)
    assert capsys.readouterr().out == ""


# ---- writing -------------------------------------------------------------------------------------------------------------


def test_a_label_map_is_written_as_it_is(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    _, properties = reader.read_images([path])
    label = np.random.default_rng(1).integers(0, 200, SHAPE[::-1])
    reader.write_seg(label, tmp_path / "b.nii.gz", properties)
    again, its = reader.read_seg(tmp_path / "b.nii.gz")
    assert np.array_equal(again[0], label) and its["spacing"] == pytest.approx(properties["spacing"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_what_was_not_written_whole_gets_no_name(tmp_path, voxels, reader, monkeypatch):
    _, properties = reader.read_images([write(tmp_path / "a.nii.gz", voxels)])
    before = (tmp_path / "a.nii.gz").read_bytes()

    def on_a_full_disk(self, seg, output_fname, properties):
        host(self, seg, output_fname, properties)
        with open(output_fname, "r+b") as file:
            file.truncate(100)

    host = type(reader.reader).write_seg
    monkeypatch.setattr(type(reader.reader), "write_seg", on_a_full_disk)
    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path))}/a.nii.gz: cannot be written whole; is the disk full"):
        reader.write_seg(np.ones(SHAPE[::-1], int), tmp_path / "a.nii.gz", properties)
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"] and written.BESIDE not in str(list(tmp_path.iterdir()))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
def test_simpleitks_writer_is_checked(tmp_path, voxels, monkeypatch, name):
    image = sitk.GetImageFromArray(voxels)
    write_sitk(image, tmp_path / name)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(tmp_path / name)), voxels)
    host = sitk.WriteImage
    monkeypatch.setattr(sitk, "WriteImage", lambda image, path: (host(image, path), cut(tmp_path / name, 0.5)))
    with pytest.raises(UserError, match=f"{name}: cannot be written whole; is the disk full"):
        write_sitk(image, tmp_path / name)


def test_values_that_a_format_does_not_keep_are_refused(tmp_path):
    png = CheckedReader(NaturalImage2DIO())
    with pytest.raises(UserError, match="a.png: NaturalImage2DIO does not keep values up to 70000 in .png"):
        png.write_seg(np.full((1, 6, 7), 70000), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert not list(tmp_path.iterdir())


def test_a_volume_is_not_kept_as_its_first_slice(tmp_path):
    png = CheckedReader(NaturalImage2DIO())
    with pytest.raises(
        UserError, match="a.png: NaturalImage2DIO keeps 1 x 6 x 7 of 3 x 6 x 7 voxels in .png; use another format"
    ):
        png.write_seg(np.zeros((3, 6, 7), int), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert not list(tmp_path.iterdir())
    png.write_seg(np.ones((1, 6, 7), int), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert np.array_equal(png.read_seg(tmp_path / "a.png")[0][0], np.ones((1, 6, 7)))


def test_a_format_that_a_writer_does_not_know_is_told_as_such(tmp_path, voxels):
    reader = CheckedReader(NibabelIO())
    _, properties = reader.read_images([write(tmp_path / "a.nii.gz", voxels)])
    with pytest.raises(UserError, match=r"b.foo: NibabelIO cannot write it \(.*file type.*\); use another format"):
        reader.write_seg(np.ones(SHAPE[::-1], int), tmp_path / "b.foo", properties)
    _, properties = CheckedReader(SimpleITKIO()).read_images([tmp_path / "a.nii.gz"])
    with pytest.raises(
        UserError, match=r"b.foo: cannot be written whole; is the disk full\? \(Unable to determine ImageIO writer"
    ):
        CheckedReader(SimpleITKIO()).write_seg(np.ones(SHAPE[::-1], int), tmp_path / "b.foo", properties)


def test_a_full_folder_for_temporary_files_is_told_as_such(tmp_path, voxels, reader, monkeypatch):
    path = write(tmp_path / "a.nii.gz", voxels)

    def full(self, output):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnunetv2_cdpd.volumes.nifti.NiftiFile.unpack", full)
    with pytest.raises(UserError, match="a.nii.gz: cannot be unpacked in .*set TMPDIR"):
        reader.read_images([path])


def test_gzip_of_the_standard_library_serves_where_the_faster_one_is_not(tmp_path, voxels, monkeypatch):
    monkeypatch.setattr(whole, "_open_gzip", gzip.open)
    path = write(tmp_path / "a.nii.gz", voxels)
    reader = CheckedReader(SimpleITKIO())
    assert np.array_equal(reader.read_images([path])[0][0], voxels.transpose(2, 1, 0))
    for share in (0.9, 0.3):
        cut(path, share)
        with pytest.raises(UserError, match="is damaged"):
            reader.read_images([path])


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_values_are_scaled_as_the_header_says(tmp_path, voxels, reader, ending):
    path = write(tmp_path / f"a{ending}", voxels, scl_slope=2.0, scl_inter=-1024.0)
    assert nibabel.load(path).get_fdata().max() == 2 * voxels.max() - 1024
    image, _ = reader.read_images([path])
    assert np.array_equal(np.sort(image, axis=None), np.sort(2 * voxels.astype(np.float32) - 1024, axis=None))
    assert np.array_equal(NiftiFile(path).read(), 2 * voxels - 1024.0)
    assert not NiftiFile(path).stores_integers


def test_a_scale_of_nothing_is_none(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<2f", content, 112, 0, 5))
    assert_read_as(reader, path, voxels, "its header scales by 0 and adds 5, read as not scaled, as NIfTI wants it")


def test_voxels_lie_behind_the_header_where_it_does_not_say_so(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<f", content, 108, 0))
    assert_read_as(reader, path, voxels, "its header does not say where the voxels begin, read from behind the header")
    assert np.array_equal(NiftiFile(path).read(), voxels)


def test_nifti_2_is_read_by_every_reader(tmp_path, voxels, reader):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti2Image(voxels, np.diag([*SPACING, 1.0])), path)
    assert_read_as(reader, path, voxels, "NIfTI-2, which few readers know, read as NIfTI-1")


def test_a_unit_of_no_standard_is_taken_for_mm(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<B", content, 123, 7))
    assert header_notes(path) == ()
    assert np.allclose(reader.read_images([path])[1]["spacing"], SPACING[::-1])


def test_sizes_and_places_that_cannot_be_are_refused(tmp_path, voxels, reader):
    path = spoil(write(tmp_path / "a.nii.gz", voxels), lambda content: struct.pack_into("<h", content, 42, -14))
    with pytest.raises(UserError, match=r"a\.nii\.gz holds no voxel \(-14 x 12 x 10\)"):
        reader.read_images([path])
    far = np.diag([*SPACING, 1.0])
    far[0, 3] = 1e30
    with pytest.raises(UserError, match=r"b\.nii\.gz has no usable geometry"):
        reader.read_images([write(tmp_path / "b.nii.gz", voxels, far)])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.png"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    kind = NaturalImage2DIO if name.endswith("png") else SimpleITKIO
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{re.escape(name)}: is no file"):
        CheckedReader(kind()).read_images([tmp_path / name])
    assert told_notes([tmp_path / name]) == []
