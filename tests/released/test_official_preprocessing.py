"""The released preprocessing through nnU-Net plans, against MONAI's transforms that the release uses, and back into the file."""

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRange, Spacing
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.ndimage import map_coordinates

from nnunetv2_cdpd.annotation import dataset_json_entries, read_annotation
from nnunetv2_cdpd.released.preprocessing import HU_WINDOW, SPACING_MM, paper_plans
from nnunetv2_cdpd.released.sources import released_annotation

SHAPE, ZOOMS = (33, 41, 21), (1.9, 1.2, 3.3)  # right, anterior, superior
CENTRE, SEMI_AXES = (
    np.array([4.0, -6.0, 9.0]),
    np.array([17.0, 13.0, 20.0]),
)  # mm, of an ellipsoid that no symmetry maps to itself
DATASET = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", **dataset_json_entries(released_annotation())}
ORIENTATIONS = ("RAS", "LPS", "PIR", "ASL", "SLP")  # two of them are no permutation that is its own inverse


def world(affine, shape):
    """World coordinates (mm, RAS) of every voxel: (3, x, y, z)."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.einsum("ij,j...->i...", affine[:3, :3], voxels) + affine[:3, 3].reshape(3, 1, 1, 1)


def hounsfield(position):
    """A smooth image of the world, different along every axis, beyond the HU window on both sides."""
    x, y, z = position
    return 300 * np.sin(x / 14) + 180 * np.cos(y / 11 + 0.5) + 2.5 * z


def inside(position):
    return (((position - CENTRE.reshape(3, 1, 1, 1)) / SEMI_AXES.reshape(3, 1, 1, 1)) ** 2).sum(0) < 1


def affine_of(oblique):
    """RAS to voxels of the phantom; oblique: turned by 9 degrees about the superior axis."""
    turn = np.deg2rad(9 if oblique else 0)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(ZOOMS)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ (np.array(SHAPE) / 2)
    return affine


def write(path, orientation, oblique=False, function=hounsfield):
    affine = affine_of(oblique)
    image = nibabel.Nifti1Image(function(world(affine, SHAPE)).astype(np.float32), affine)
    turned = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(orientation)))
    nibabel.save(turned, path)
    return path


def preprocessed(path):
    """What nnU-Net makes of a file by the plans: array (x, y, z), its properties, and the managers of the plans."""
    plans = PlansManager(paper_plans("CDPDNet", {}))
    configuration = plans.get_configuration("3d_fullres")
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        [str(path)], None, plans, configuration, DATASET
    )
    return data[0], properties, plans, configuration


def monai_preprocessed(path):
    """The released transforms: array (x, y, z), and its affine."""
    transforms = Compose([
        LoadImage("NibabelReader", image_only=True),
        EnsureChannelFirst(),
        Orientation("RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        Spacing([SPACING_MM] * 3, mode="bilinear"),
        ScaleIntensityRange(*HU_WINDOW, 0.0, 1.0, clip=True),
    ])  # fmt: skip
    image = transforms(str(path))
    return image[0].numpy(), image.affine.numpy()


def position_of_nnunet_voxels(shape):
    """World coordinates of the preprocessed voxels: they share the outer borders of the image."""
    affine = affine_of(oblique=False)
    scale = np.array(SHAPE) / np.array(shape)
    affine[:3, 3] = (affine @ [*(0.5 * scale - 0.5), 1])[:3]
    affine[:3, :3] = affine[:3, :3] @ np.diag(scale)
    return world(affine, shape)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_axes_spacing_and_intensities_are_the_released_ones(tmp_path, orientation):
    data, *_ = preprocessed(write(tmp_path / "image.nii.gz", orientation))
    assert data.shape == tuple(round(n * mm / SPACING_MM) for n, mm in zip(SHAPE, ZOOMS))
    position = position_of_nnunet_voxels(data.shape)
    theirs, affine = monai_preprocessed(tmp_path / "image.nii.gz")
    in_theirs = np.einsum("ij,j...->i...", np.linalg.inv(affine)[:3, :3], position - affine[:3, 3].reshape(3, 1, 1, 1))
    interior = (slice(3, -3),) * 3
    expected = map_coordinates(theirs, in_theirs, order=1, mode="nearest")[interior]
    assert expected.min() == 0 and expected.max() == 1  # the window cuts on both sides
    # The release clips after resampling, nnU-Net before, which differs where the image is cut; and both interpolate.
    difference = np.abs(data[interior] - expected)
    assert np.quantile(difference, 0.95) < 0.02 and difference.max() < 0.1
    exact = np.clip((hounsfield(position) - HU_WINDOW[0]) / (HU_WINDOW[1] - HU_WINDOW[0]), 0, 1)[interior]
    assert np.abs(data[interior] - exact).mean() < 0.01


def test_every_orientation_of_the_same_image_gives_the_same_array(tmp_path):
    arrays = [preprocessed(write(tmp_path / f"{name}.nii.gz", name, oblique=True))[0] for name in ORIENTATIONS]
    for other in arrays[1:]:
        np.testing.assert_allclose(other, arrays[0], atol=1e-6)


def test_voxels_lie_less_than_a_voxel_from_where_the_release_has_them(tmp_path):
    """The two grids: nnU-Net's from border to border, the release's from the middle of the first voxel in steps of 1.5 mm."""
    data, *_ = preprocessed(write(tmp_path / "image.nii.gz", "RAS"))
    _, affine = monai_preprocessed(tmp_path / "image.nii.gz")
    shift = np.abs(position_of_nnunet_voxels(data.shape) - world(affine, data.shape)).reshape(3, -1).max(1)
    assert (shift <= 0.75 + np.array(ZOOMS) / 2).all()


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_structure_comes_back_into_the_voxels_of_the_file(tmp_path, orientation, oblique):
    """Logits that see the ellipsoid in the preprocessed array, exported by nnU-Net, against the ellipsoid drawn into the file."""
    path = write(tmp_path / "image.nii.gz", orientation, oblique, lambda position: np.where(inside(position), 200.0, -100.0))
    data, properties, plans, configuration = preprocessed(path)
    logits = np.full((32, *data.shape), -9, np.float32)
    logits[10] = 20 * (data - 0.5)  # the pancreas is class 11
    label_manager = plans.get_label_manager(DATASET)
    label_map = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, label_manager, properties
    )
    plans.image_reader_writer_class().write_seg(label_map, str(tmp_path / "label.nii.gz"), properties)
    image, written = nibabel.load(path), nibabel.load(tmp_path / "label.nii.gz")
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-5)
    drawn, found = inside(world(image.affine, image.shape)), np.asarray(written.dataobj) == 11
    assert drawn.sum() > 500 and 2 * (drawn & found).sum() / (drawn.sum() + found.sum()) > 0.97
    assert set(np.unique(written.dataobj)) == {0, 11}


def test_released_annotation_can_be_read_and_nests_like_the_class_table():
    annotation = read_annotation(DATASET)
    assert annotation == released_annotation()
    assert annotation.classes[5] == "liver" and annotation.values == tuple(range(1, 33))
    assert annotation.regions[5] == (6, 15, 27, 29)  # liver, hepatic vessel, liver tumor, tumor of the hepatic vessel
    assert annotation.possible_parents["kidney_cyst"] == ("right_kidney", "left_kidney")
    assert [source.name for source in annotation.sources].index("MSD") == 8
    assert annotation.sources[4].annotated_classes == ("right_kidney", "left_kidney", "kidney_tumor", "kidney_cyst")
