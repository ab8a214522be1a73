"""Structure sets that other programs write, read on the grid of their series."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders.derived_objects import ALGORITHM, blobs, segments
from builders.dicom_labels import write_structure_set
from builders.label_objects import GEOMETRIES, PLAIN, RING, contours, few, made_masks, read, ring, same
from builders.source_series import write_series

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import find_series
from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries
from nnunetv2_cdpd.volumes.dicom.label_files import is_label_file, read_label_object
from nnunetv2_cdpd.volumes.dicom.label_object import SeriesReference
from nnunetv2_cdpd.volumes.dicom.write_structure_set import write_structure_set as write_prediction


@pytest.mark.parametrize("name", few(name for name in GEOMETRIES if "multiframe" not in name))
def test_contours_lie_on_the_slices_of_their_series(tmp_path, name):
    geometry = GEOMETRIES[name]
    slices = write_series(tmp_path / "ct", geometry)
    numbers = [1, 2, 3]
    path = write_structure_set(tmp_path / "rs.dcm", slices, [("Ring", contours(slices, RING, numbers))])
    assert is_label_file(path) and read_label_object(path).is_of(SeriesReference.of(find_series(slices).series[0]))
    found, told = read(path, slices)
    assert not told
    assert np.array_equal(found["Ring"], ring(geometry, numbers))


@pytest.mark.parametrize("name", few(GEOMETRIES))
def test_structure_sets_of_predictions_come_back_voxel_by_voxel_on_the_upright_grid_too(tmp_path, name):
    source = SourceSeries.read(write_series(tmp_path / "ct", GEOMETRIES[name]))
    labels = blobs(source.slices.shape)
    write_prediction(tmp_path / "rs.dcm", labels, source, segments(), ALGORITHM)
    found = read_label_object(tmp_path / "rs.dcm")
    for number, drawing in found.draw(list(found.structures), source.slices, 0).items():
        volume = np.zeros(source.slices.grid.shape, bool)
        for place, mask in drawing.patches:
            volume[place] |= mask
        structure = next(segment for segment in segments() if segment.name == found.structures[number])
        assert np.array_equal(volume, source.slices.on_grid(np.isin(labels, structure.values))), structure.name


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if not re.search("multiframe|tilted", name)][:6])
def test_structure_sets_of_rt_utils_are_read_voxel_by_voxel(tmp_path, name):
    """Its contours run through the centres of the outermost voxels, around holes too."""
    builder = pytest.importorskip("rt_utils").RTStructBuilder
    spacing = GEOMETRIES[name].spacing
    geometry = replace(GEOMETRIES[name], spacing=(spacing[0], spacing[0], spacing[2]))  # it takes pixels for squares
    slices = write_series(tmp_path / "ct", geometry)
    made = builder.create_new(dicom_series_path=str(tmp_path / "ct"))
    order = [slices.index(Path(each.filename)) for each in made.series_data]
    masks = made_masks(geometry)
    for key, mask in masks.items():
        made.add_roi(mask=mask.transpose(1, 0, 2)[:, :, order], name=key)
    made.save(str(tmp_path / "rs.dcm"))
    assert same(read(tmp_path / "rs.dcm", slices, fill_gaps=0)[0], masks)


def test_only_closed_contours_have_an_inside(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    lines = contours(slices, RING, [1, 2])
    rois = [("closed", lines), ("xor", lines), ("point", lines[:1]), ("open", lines[:2]), ("odd", lines[:1])]
    kinds = {"xor": "CLOSEDPLANAR_XOR", "point": "POINT", "open": "OPEN_PLANAR", "odd": "\x1b[31mred"}
    found, told = read(write_structure_set(tmp_path / "rs.dcm", slices, rois, kinds=kinds), slices)
    expected = ring(PLAIN, [1, 2])
    assert np.array_equal(found["closed"], expected) and np.array_equal(found["xor"], expected)
    assert not any(found[name].any() for name in ("point", "open", "odd"))
    assert told == [
        "contours of type 'POINT' left out, only closed ones have an inside",
        "contours of type 'OPEN_PLANAR' left out, only closed ones have an inside",
        "contours of type '\\x1b[31mred' left out, only closed ones have an inside",
    ]


def test_of_two_series_that_a_file_refers_to_a_structure_is_of_that_on_which_it_was_drawn(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    lines, image = contours(slices, RING, [1, 2]), pydicom.dcmread(slices[2])
    rois, drawn_on = [("a", lines), ("b", lines), ("c", lines)], {"a": image.SOPInstanceUID, "b": "1.2.3"}
    series = [image.SeriesInstanceUID, "1.2.3.4"]
    path = write_structure_set(tmp_path / "rs.dcm", slices, rois, series=series, drawn_on=drawn_on)
    assert read(path, slices)[1] == ["it was drawn on another series that its file refers to"]
    one = write_structure_set(tmp_path / "one.dcm", slices, rois, drawn_on=drawn_on)  # whose identifiers were not kept
    assert read(one, slices)[1] == []


def test_a_structure_without_contours_is_none(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    found, told = read(write_structure_set(tmp_path / "rs.dcm", slices, [("empty", None), ("none", [])]), slices)
    assert not found["empty"].any() and not found["none"].any() and not told


@pytest.mark.parametrize(
    "data, words",
    [
        (["1", "2"], "a point without place"),
        (["1", "2", "nan"], "a point without place"),
        (["1", "2", "1e30"], "a point without place"),
        (["1", "2", "3"] * 3, "3 of 4 points"),
    ],
)
def test_contours_that_are_none_are_told_with_their_structure(tmp_path, data, words):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_structure_set(tmp_path / "rs.dcm", slices, [("Ring", contours(slices, RING, [1, 2]))])
    file = pydicom.dcmread(path)
    contour = file.ROIContourSequence[0].ContourSequence[0]
    contour.add_new("ContourData", "LO", data)  # DS of pydicom takes nothing that is no number
    file.save_as(path)
    content = path.read_bytes()
    at = content.index(bytes.fromhex("06305000")) + 4
    path.write_bytes(content[:at] + b"DS" + content[at + 2 :])
    with pytest.raises(UserError, match=rf"rs\.dcm: is no whole structure set \(contours of 'Ring': .*{words}"):
        read(path, slices)


def test_a_structure_set_that_ends_early_is_told_wherever_it_ends(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    rois = [(name, contours(slices, RING, [1, 2, 3])) for name in ("a", "b")]
    path = write_structure_set(tmp_path / "rs.dcm", slices, rois)
    whole = path.read_bytes()
    for length in range(200, len(whole) - 1, 53):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"rs\.dcm: is no whole"):
            read(path, slices)


def test_a_structure_set_without_the_mark_of_dicom_is_one(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_structure_set(tmp_path / "rs.dcm", slices, [("Ring", contours(slices, RING, [1, 2]))])
    file = pydicom.dcmread(path)
    pydicom.dcmwrite(tmp_path / "old", file, implicit_vr=True, little_endian=True, force_encoding=True)
    content = (tmp_path / "old").read_bytes()
    (tmp_path / "old").write_bytes(content[content.index(b"\x08\0\x05\0") :])
    assert is_label_file(tmp_path / "old") and np.array_equal(read(tmp_path / "old", slices)[0]["Ring"], ring(PLAIN, [1, 2]))
