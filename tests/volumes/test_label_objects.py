"""Segmentations that other programs write, read on the grid of their series; and what they share with structure sets."""

import numpy as np
import pydicom
import pytest
from builders.dicom_labels import write_segmentation, write_structure_set
from builders.label_objects import GEOMETRIES, OBLIQUE, PLAIN, RING, TILTED, contours, few, made_masks, read, same
from builders.source_series import write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import find_series
from nnunetv2_cdpd.volumes.dicom.label_files import is_label_file, read_label_object
from nnunetv2_cdpd.volumes.dicom.label_object import SeriesReference

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


@pytest.mark.parametrize("name", few(GEOMETRIES))
def test_a_segmentation_lies_on_the_slices_of_its_series(tmp_path, name):
    geometry = GEOMETRIES[name]
    slices = write_series(tmp_path / "ct", geometry)
    masks = made_masks(geometry)
    order = list(geometry.frames or range(geometry.size[2]))  # in which highdicom expects them
    ordered = {key: mask[:, :, order] for key, mask in masks.items()}
    path = write_segmentation(tmp_path / "seg.dcm", slices, ordered, KINDS[int(name.split("_")[0]) % 3])
    assert is_label_file(path) and read_label_object(path).is_of(SeriesReference.of(find_series(slices).series[0]))
    found, told = read(path, slices)
    assert same(found, masks) and not told


@pytest.mark.parametrize("kind", KINDS)
def test_frames_may_stand_in_any_order(tmp_path, kind):
    slices, masks = write_series(tmp_path / "ct", PLAIN), made_masks(PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks, kind)
    file = pydicom.dcmread(path)
    frames = file.pixel_array
    order = np.random.default_rng(1).permutation(len(frames))
    groups = file.PerFrameFunctionalGroupsSequence
    file.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    shuffled = frames[order]
    file.PixelData = np.packbits(shuffled.ravel(), bitorder="little").tobytes() if kind == "BINARY" else shuffled.tobytes()
    file.PixelData += b"\0" * (len(file.PixelData) % 2)
    file.save_as(path)
    assert same(read(path, slices)[0], masks)


def test_overlapping_segments_are_read_each_by_itself(tmp_path):
    slices, masks = write_series(tmp_path / "ct", PLAIN), made_masks(PLAIN)
    masks["third"] = masks["liver"] | masks["Leber 2"]
    assert same(read(write_segmentation(tmp_path / "seg.dcm", slices, masks), slices)[0], masks)


def test_of_fractions_half_and_more_belong_to_a_structure(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    shares = np.random.default_rng(2).random(PLAIN.size)
    shares[0, 0, 0] = 0.5
    path = write_segmentation(tmp_path / "seg.dcm", slices, {"a": shares}, "FRACTIONAL", max_fractional_value=200)
    found = read(path, slices)[0]["a"]
    assert found[0, 0, 0] and np.array_equal(found, np.rint(shares * 200) >= 100)


def test_compressed_frames_are_read(tmp_path):
    slices, masks = write_series(tmp_path / "ct", PLAIN), made_masks(PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks, "LABELMAP", transfer_syntax_uid=RLELossless)
    assert same(read(path, slices)[0], masks)


@pytest.mark.parametrize(
    "syntax, words",
    [
        (RLELossless, "'RLE Lossless'"),
        (JPEGBaseline8Bit, "'1.2.840.10008.1.2.8.1'"),  # in its place, as pydicom does not know it: deflated frames
        (DeflatedExplicitVRLittleEndian, None),
        (ImplicitVRLittleEndian, None),
    ],
)
def test_packed_bits_are_read_as_they_are_or_refused_where_they_are_compressed(tmp_path, syntax, words):
    slices, masks = write_series(tmp_path / "ct", PLAIN), made_masks(PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, masks)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = syntax
    if words is None:
        pydicom.dcmwrite(path, file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
        assert same(read(path, slices)[0], masks)
        return
    data = pydicom.encaps.encapsulate([file.PixelData] * int(file.NumberOfFrames))  # more bytes than uncompressed bits take
    file.add_new("PixelData", "OB", data)
    file["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, file, implicit_vr=False, little_endian=True, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(JPEGBaseline8Bit.encode(), b"1.2.840.10008.1.2.8.1\0"))
    told = rf"seg\.dcm: its frames of 1 bit are compressed \({words}\) and cannot be read; export it uncompressed"
    with pytest.raises(UserError, match=told):
        read(path, slices)


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_frames_across_the_slices_are_put_where_they_lie(tmp_path, order):
    """Of a reformatted volume: the same voxels in planes of another direction, one axis against its image's."""
    import highdicom as hd

    slices, masks = write_series(tmp_path / "ct", OBLIQUE), made_masks(OBLIQUE)
    name, mask = next(iter(masks.items()))
    turned = np.flip(mask.transpose(order), 0)  # columns, rows, planes
    steps = np.stack([OBLIQUE.direction[:, axis] * OBLIQUE.spacing[axis] for axis in order])
    start = OBLIQUE.position(0) + (mask.shape[order[0]] - 1) * steps[0]
    spacing = np.linalg.norm(steps, axis=1)
    path = write_segmentation(
        tmp_path / "seg.dcm",
        slices,
        {name: turned},
        plane_orientation=hd.PlaneOrientationSequence(
            "PATIENT", [f"{v:.9f}" for v in (*(-steps[0] / spacing[0]), *(steps[1] / spacing[1]))]
        ),
        pixel_measures=hd.PixelMeasuresSequence([spacing[1], spacing[0]], spacing[2]),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", [f"{v:.9f}" for v in start + index * steps[2]])
            for index in range(turned.shape[2])
        ],
    )
    assert same(read(path, slices)[0], {name: mask})


def test_frames_smaller_or_larger_than_the_image_lie_where_they_say(tmp_path):
    slices, masks = write_series(tmp_path / "ct", PLAIN), made_masks(PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, {"liver": masks["liver"]})
    moved = pydicom.dcmread(path)
    for group in moved.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = list(np.array(place.ImagePositionPatient) + 2 * PLAIN.spacing[0] * PLAIN.direction[:, 0])
    moved.save_as(path)
    found, told = read(path, slices)
    assert np.array_equal(found["liver"][2:], masks["liver"][:-2]) and not found["liver"][:2].any()
    assert told == ["reaches outside of the image, where it is cut off"]


@pytest.mark.parametrize("geometry", [PLAIN, TILTED, OBLIQUE], ids=str)
@pytest.mark.parametrize("shift", [(0.3, 0, 0), (0, 0.3, 0), (0, 0, 0.3)])
def test_frames_between_voxels_are_refused(tmp_path, geometry, shift):
    slices = write_series(tmp_path / "ct", geometry)
    path = write_segmentation(tmp_path / "seg.dcm", slices, made_masks(geometry))
    file = pydicom.dcmread(path)
    for group in file.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = list(
            np.array(place.ImagePositionPatient) + geometry.direction @ (np.array(shift) * geometry.spacing)
        )
    file.save_as(path)
    with pytest.raises(UserError, match=r"seg\.dcm: a frame lies on another grid than its image; export"):
        read(path, slices)


def test_frames_of_another_spacing_are_refused(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, made_masks(PLAIN))
    file = pydicom.dcmread(path)
    file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.1, 0.1]
    file.save_as(path)
    with pytest.raises(UserError, match="another grid"):
        read(path, slices)


@pytest.mark.parametrize("kind", KINDS)
def test_a_segmentation_that_ends_early_is_told(tmp_path, kind):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, made_masks(PLAIN), kind)
    content = path.read_bytes()
    for length in (140, 400, len(content) // 3, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"seg\.dcm: is no whole .*export it again"):
            read(path, slices)


def test_frames_of_a_segment_that_is_not_there_are_told(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_segmentation(tmp_path / "seg.dcm", slices, made_masks(PLAIN))
    file = pydicom.dcmread(path)
    file.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77
    file.save_as(path)
    with pytest.raises(UserError, match="its frames are of segment 77, which it does not describe"):
        read(path, slices)


@pytest.mark.parametrize("write", [write_structure_set, write_segmentation])
def test_two_structures_of_one_number_are_told(tmp_path, write):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = tmp_path / "label.dcm"
    if write is write_segmentation:
        write(path, slices, made_masks(PLAIN))
    else:
        write(path, slices, [("a", contours(slices, RING, [1])), ("b", [])])
    file = pydicom.dcmread(path)
    for item in file.get("StructureSetROISequence", ()):
        item.ROINumber = 5
    for item in file.get("SegmentSequence", ()):
        item.SegmentNumber = 5
    file.save_as(path)
    with pytest.raises(UserError, match="two structures of the number 5"):
        read_label_object(path)


@pytest.mark.parametrize("number, words", [(77, "structure 77, which it does not describe"), (None, "an unknown structure")])
def test_contours_of_a_structure_that_is_not_there_are_told(tmp_path, number, words):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_structure_set(tmp_path / "rs.dcm", slices, [("a", contours(slices, RING, [1])), ("b", [])])
    file = pydicom.dcmread(path)
    file.ROIContourSequence[0].ReferencedROINumber = number
    file.save_as(path)
    with pytest.raises(UserError, match=rf"rs\.dcm: is no whole structure set \(contours of {words}"):
        read(path, slices)


def test_names_are_read_in_the_letters_that_the_file_says(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    path = write_structure_set(tmp_path / "rs.dcm", slices, [("Größe Ω 肝臓", contours(slices, RING, [1]))])
    assert list(read_label_object(path).structures.values()) == ["Größe Ω 肝臓"]


def test_images_and_other_files_are_no_label_files(tmp_path):
    slices = write_series(tmp_path / "ct", PLAIN)
    (tmp_path / "text.dcm").write_text("no")
    assert not any(map(is_label_file, [*slices, tmp_path / "text.dcm"]))
    (tmp_path / "short.dcm").write_bytes(b"\0" * 128 + b"DICM")
    for name, words in (("short.dcm", "is no whole DICOM file"), ("none.dcm", "cannot be read")):
        with pytest.raises(UserError, match=rf"{name}:? {words}"):
            is_label_file(tmp_path / name)
