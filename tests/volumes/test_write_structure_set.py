"""RTSTRUCT of a label map: voxel centres in its contours give the map back, on the slices of every geometry."""

import errno
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from builders.derived_objects import ALGORITHM, COLOURS, NAMES, blobs, inside, segments
from builders.source_series import PATIENT, geometries, write_series
from pydicom.filebase import DicomIO
from scipy.ndimage import binary_dilation

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries
from nnunetv2_cdpd.volumes.dicom.write_structure_set import write_structure_set

GEOMETRIES = geometries()
WITHIN = {1: (1, 3)}  # the liver goes around its tumor


def written(tmp_path, geometry, labels=None, **tags):
    source = SourceSeries.read(write_series(tmp_path / "series", geometry, **tags), "CT")
    labels = blobs(source.slices.shape) if labels is None else labels(source.slices.shape)
    path = tmp_path / "structures.dcm"
    write_structure_set(path, labels, source, segments(), ALGORITHM)
    return source, labels, path


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_every_structure_comes_back_voxel_by_voxel(geometry, tmp_path):
    source, labels, path = written(tmp_path, geometry)
    file = pydicom.dcmread(path)
    index_of = {(entry.uid, entry.frame + 1): index for index, entry in enumerate(source.slices.slices)}
    names = {item.ROINumber: item.ROIName for item in file.StructureSetROISequence}
    assert list(names.values()) == list(NAMES.values())
    for structure, value in zip(file.ROIContourSequence, NAMES):
        found = np.zeros(labels.shape, int)
        for contour in structure.get("ContourSequence", ()):
            (image,) = contour.ContourImageSequence
            index = index_of[image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 1))]
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert contour.ContourGeometricType == "CLOSED_PLANAR" and contour.NumberOfContourPoints == len(points)
            way = (points - geometry.position(index)) @ geometry.direction  # by the made geometry, not the writer's
            assert np.abs(way[:, 2]).max() < 1e-3
            found[index] += inside(np.round(way[:, :2] / geometry.spacing[:2], 2), labels.shape[1:])
        assert np.array_equal(found, np.isin(labels, WITHIN.get(value, (value,)))), NAMES[value]


@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[4], GEOMETRIES[8]], ids=lambda geometry: geometry.name)
def test_rt_utils_reads_it_within_a_voxel(geometry, tmp_path):
    """It takes voxels and slices for squares, so they are here."""
    builder = pytest.importorskip("rt_utils").RTStructBuilder
    side, _, depth = geometry.spacing
    geometry = replace(geometry, size=(20, 20, geometry.size[2]), spacing=(side, side, depth))
    source, labels, path = written(tmp_path, geometry)
    read = builder.create_from(dicom_series_path=str(tmp_path / "series"), rt_struct_path=str(path))
    assert [item.SOPInstanceUID for item in read.series_data] == [entry.uid for entry in source.slices.slices]
    for value in (1, 2, 3, 5):
        mask = np.isin(labels, WITHIN.get(value, (value,)))
        if not mask.any():
            continue
        theirs = np.moveaxis(read.get_roi_mask_by_name(NAMES[value]), 2, 0)
        assert not (theirs & ~binary_dilation(mask, np.ones((1, 3, 3)))).any() and not (mask & ~theirs).any()


@pytest.mark.parametrize("geometry", GEOMETRIES[:6], ids=lambda geometry: geometry.name)
def test_the_standards_validator_finds_no_fault(geometry, tmp_path):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy; it is in Debian's dicom3tools")
    _, _, path = written(tmp_path, geometry)
    said = subprocess.run([program, path], capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if line and "99CDPD" not in line] == ["RTStructureSet"]


def test_structures_say_what_they_are_and_of_whom(tmp_path):
    source, _, path = written(tmp_path, GEOMETRIES[0])
    file, first = pydicom.dcmread(path), pydicom.dcmread(source.slices.slices[0].path)
    for name in (*PATIENT, "StudyInstanceUID", "FrameOfReferenceUID"):
        assert file[name].value == first[name].value, name
    (frame,) = file.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == first.FrameOfReferenceUID
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID and len(series.ContourImageSequence) == len(source.slices.slices)
    for item, contours, seen, (value, name) in zip(
        file.StructureSetROISequence, file.ROIContourSequence, file.RTROIObservationsSequence, NAMES.items()
    ):
        assert item.ROIName == name and item.ROIGenerationAlgorithm == "AUTOMATIC"
        assert item.ROIGenerationDescription == "nnunetv2-cdpd 0.2.0"
        assert item.ReferencedFrameOfReferenceUID == first.FrameOfReferenceUID
        assert list(contours.ROIDisplayColor) == list(bytes.fromhex(COLOURS[value][1:]))
        assert item.ROINumber == contours.ReferencedROINumber == seen.ReferencedROINumber
    observed = file.RTROIObservationsSequence
    assert observed[0].RTROIIdentificationCodeSequence[0].CodeValue == "10200004" and observed[0].RTROIInterpretedType == "ORGAN"
    assert observed[1].RTROIIdentificationCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert observed[2].RTROIInterpretedType == "" and observed[3].RTROIIdentificationCodeSequence[0].CodeValue == "hip_left"
    assert "ContourSequence" not in file.ROIContourSequence[4]  # a spleen was looked for, and is nowhere


def test_a_contour_of_very_many_points_is_written_whole(tmp_path):
    """DICOM's explicit encodings end a contour at 64 kB."""

    def teeth(shape):
        labels = np.zeros(shape, np.uint8)
        labels[:, :, ::2] = labels[:, 0] = 1
        return labels

    _, _, path = written(tmp_path, replace(GEOMETRIES[0], size=(1400, 12, 3)), labels=teeth)
    contours = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert len(contours) == 3 and contours[0].NumberOfContourPoints > 2800
    assert len(contours[0].ContourData) == 3 * contours[0].NumberOfContourPoints


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    """pydicom wraps what the system says, with a traceback in its text."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    source, labels, path = written(tmp_path, GEOMETRIES[0])
    former = path.read_bytes()
    monkeypatch.setattr(DicomIO, "write_tag", full)
    with pytest.raises(UserError) as raised:
        write_structure_set(path, labels, source, segments(), ALGORITHM)
    told = str(raised.value)
    assert "cannot be written whole; is the disk full? (" in told and "No space left" in told
    assert told.startswith(f"{path}: ") and "Traceback" not in told
    assert path.read_bytes() == former and not list(tmp_path.glob(".cdpd_tmp_*"))
