"""From the upright grid to the slices of an archive and back: against positions worked out from the headers alone."""

import dataclasses

import numpy as np
import pydicom
import pytest
from builders.source_series import geometries, write_series

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import SourceSlices, read_series
from nnunetv2_cdpd.volumes.grid import Grid

GEOMETRIES = geometries()


def labels_on(shape, seed=3):
    return np.random.default_rng(seed).integers(0, 7, shape).astype(np.uint8)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_every_voxel_of_a_slice_gets_the_nearest_value(geometry, tmp_path):
    write_series(tmp_path, geometry)
    source = SourceSlices.read(sorted(tmp_path.iterdir()), "CT")
    columns, rows, count = geometry.size
    assert source.shape == (count, rows, columns)
    labels = labels_on(source.grid.shape)
    found = source.on_slices(labels)
    j, i = np.mgrid[:rows, :columns]
    for index in range(count):
        # The centres of a slice's voxels by the made geometry, as indices into the upright grid.
        way = np.stack([i * geometry.spacing[0], j * geometry.spacing[1], 0 * i], -1) @ geometry.direction.T
        mm = geometry.position(index) + way
        voxel = (np.linalg.inv(source.grid.affine) @ np.concatenate([mm, np.ones_like(mm[..., :1])], -1)[..., None])[..., :3, 0]
        off = np.abs(voxel - np.rint(voxel))
        assert off.max() < 0.5 + 1e-3 and off[..., 2].max() < 1e-3
        x, y, z = np.moveaxis(np.rint(voxel).astype(int), -1, 0)
        ties = (np.abs(off - 0.5) < 1e-3).any()
        assert ties or np.array_equal(found[index], labels[x, y, z]), index
        np.testing.assert_allclose(source.position(index, np.stack([i, j], -1).reshape(-1, 2)), mm.reshape(-1, 3), atol=1e-4)
    assert np.array_equal(source.on_slices(source.on_grid(found)), found)
    if not source.is_tilted:
        assert np.array_equal(found, labels.transpose(2, 1, 0)) and not source.offsets.any()


def test_both_kinds_of_gantry_are_among_them(tmp_path):
    tilted = []
    for geometry in GEOMETRIES[:8]:
        write_series(tmp_path / geometry.name, geometry)
        tilted.append(SourceSlices.read(sorted((tmp_path / geometry.name).iterdir())).is_tilted)
    assert any(tilted) and not all(tilted)


def test_slices_know_their_files_frames_and_identifiers(tmp_path):
    (several,) = [geometry for geometry in GEOMETRIES if geometry.name == "0_reversed"]
    files = write_series(tmp_path / "several", several)
    source = SourceSlices.read(files)
    assert [entry.path for entry in source.slices] == files
    headers = [pydicom.dcmread(file) for file in files]
    assert [entry.uid for entry in source.slices] == [header.SOPInstanceUID for header in headers]
    assert [entry.sop_class for entry in source.slices] == [header.SOPClassUID for header in headers]
    assert source.frame_of_reference == headers[0].FrameOfReferenceUID
    one = next(geometry for geometry in GEOMETRIES if geometry.frames)
    source = SourceSlices.read(write_series(tmp_path / "one", one))
    assert [one.frames[entry.frame] for entry in source.slices] == list(range(one.size[2]))
    assert len({entry.uid for entry in source.slices}) == 1


@pytest.mark.parametrize("geometry", GEOMETRIES[:8], ids=lambda geometry: geometry.name)
def test_points_in_mm_are_found_again_also_between_and_beyond_slices(geometry, tmp_path):
    source = SourceSlices.read(write_series(tmp_path, geometry))
    index = np.random.default_rng(1).uniform(-2, [*geometry.size[:2], geometry.size[2] + 1], (40, 3))
    step = np.array([*geometry.drift, geometry.spacing[2]])
    mm = geometry.position(0) + (index[:, :2] * geometry.spacing[:2]) @ geometry.direction[:, :2].T
    mm = mm + np.outer(index[:, 2], geometry.direction @ step)
    np.testing.assert_allclose(source.index_of(mm), index, atol=1e-4)


def test_a_label_in_another_order_of_axes_is_put_right_and_one_elsewhere_refused(tmp_path):
    source = SourceSlices.read(write_series(tmp_path, GEOMETRIES[4]))
    labels, grid = labels_on(source.grid.shape), source.grid
    turned = Grid(
        (grid.shape[2], grid.shape[0], grid.shape[1]),
        grid.spacing[[2, 0, 1]],
        grid.position([grid.shape[0] - 1, 0, 0]),
        np.stack([grid.direction[:, 2], -grid.direction[:, 0], grid.direction[:, 1]], axis=1),
    )
    assert np.array_equal(source.on_slices(labels[::-1].transpose(2, 0, 1), turned), source.on_slices(labels))
    with pytest.raises(UserError, match="another grid than its image: shifted by 2 mm"):
        source.on_slices(labels, dataclasses.replace(grid, origin=grid.origin + [0, 2, 0]))


def test_slices_without_or_of_two_frames_of_reference_are_told(tmp_path):
    files = write_series(tmp_path / "none", GEOMETRIES[0], FrameOfReferenceUID=None)
    with pytest.raises(UserError, match=f"{files[0].name}: has no FrameOfReferenceUID"):
        _ = SourceSlices.read(files).frame_of_reference
    files = write_series(tmp_path / "two", GEOMETRIES[0])
    header = pydicom.dcmread(files[1])
    header.FrameOfReferenceUID = "1.2.3"
    header.save_as(files[1])
    with pytest.raises(UserError, match="differ in their FrameOfReferenceUID"):
        _ = SourceSlices.read(files).frame_of_reference


def test_the_upright_grid_is_that_of_the_image_that_a_model_sees(tmp_path):
    for geometry in GEOMETRIES[:6]:
        series = read_series(write_series(tmp_path / geometry.name, geometry))
        image, grid = series.image(), SourceSlices.of(series).grid
        assert image.GetSize() == grid.shape
        np.testing.assert_allclose(Grid.of_image(image).affine, grid.affine, atol=1e-9)
