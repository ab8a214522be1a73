"""DICOM SEG of a label map: bit by bit the same on the slices of every geometry, for readers that are not the writer's."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.derived_objects import ALGORITHM, COLOURS, NAMES, blobs, read_segments, segments
from builders.source_series import PATIENT, geometries, write_series

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries
from nnunetv2_cdpd.volumes.dicom.write_segmentation import KINDS, write_segmentation

GEOMETRIES = geometries()
PLAIN = GEOMETRIES[0]  # slices in one file each, upright
BOTH_KINDS = [geometry.name for geometry in GEOMETRIES[:10]]


def written(tmp_path, geometry, kind="binary", labels=None, names=None, **tags):
    """The series, a label map on its slices, and the file that says so."""
    source = SourceSeries.read(write_series(tmp_path / "series", geometry, **tags), "CT")
    labels = blobs(source.slices.shape) if labels is None else labels(source.slices.shape)
    path = tmp_path / f"{kind}.dcm"
    write_segmentation(path, labels, source, segments(names), ALGORITHM, kind)
    return source, labels, path


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_label_map_comes_back_bit_by_bit(geometry, tmp_path):
    for kind in KINDS if geometry.name in BOTH_KINDS else KINDS[:1]:
        source, labels, path = written(tmp_path / kind, geometry, kind)
        file, found = read_segments(path)
        again = np.zeros_like(labels)
        for value, name in NAMES.items():
            for index, entry in enumerate(source.slices.slices):
                mask = found[name].get((entry.uid, entry.frame + 1))
                assert mask is None or not again[index][mask].any()
                again[index][mask if mask is not None else []] = value
        assert np.array_equal(again, labels)
        corners = {(entry.uid, entry.frame + 1): geometry.position(index) for index, entry in enumerate(source.slices.slices)}
        for group in file.PerFrameFunctionalGroupsSequence:
            image = group.DerivationImageSequence[0].SourceImageSequence[0]
            place = image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 1))
            np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, corners[place], atol=1e-6)
            assert ("ReferencedFrameNumber" in image) == (geometry.frames is not None)
        (shared,) = file.SharedFunctionalGroupsSequence
        cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
        np.testing.assert_allclose(cosines, geometry.direction[:, :2].T, atol=1e-6)
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [geometry.spacing[1], geometry.spacing[0]]
        assert file.FrameOfReferenceUID == source.slices.frame_of_reference


@pytest.mark.parametrize("geometry", GEOMETRIES[:6], ids=lambda geometry: geometry.name)
def test_the_standards_validator_finds_no_fault(geometry, tmp_path):
    """dciodvfy of dicom3tools knows the kind BINARY only."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy; it is in Debian's dicom3tools")
    _, _, path = written(tmp_path, geometry)
    said = subprocess.run([program, path], capture_output=True, text=True, check=False).stderr
    lines = [line for line in said.splitlines() if line and "99CDPD" not in line]
    assert lines == ["Segmentation"]


@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[2], GEOMETRIES[4]], ids=lambda geometry: geometry.name)
def test_dcmqi_reads_the_same_voxels_at_the_same_places(geometry, tmp_path):
    program = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no segimage2itkimage; it is in PyPI's dcmqi")
    source, labels, path = written(tmp_path, geometry)
    out = tmp_path / "itk"
    out.mkdir()
    done = subprocess.run(
        [program, "--inputDICOM", path, "--outputDirectory", out, "--outputType", "nrrd"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout[-500:]
    on_grid = source.slices.on_grid(labels)
    for number, value in enumerate(NAMES, start=1):
        if not (labels == value).any():
            continue
        image = sitk.ReadImage(str(out / f"{number}.nrrd"))
        voxels = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        mm = [image.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels]
        index = np.rint(source.slices.index_of(np.array(mm))).astype(int)
        mine = np.argwhere(on_grid == value)
        assert np.array_equal(np.unique(index, axis=0), mine) and len(index) == len(mine)


def test_segments_say_what_they_are_who_made_them_and_how_they_look(tmp_path):
    from highdicom.color import CIELabColor

    source, _, path = written(tmp_path, PLAIN)
    file, found = read_segments(path)
    items = {item.SegmentLabel: item for item in file.SegmentSequence}
    assert list(items) == list(NAMES.values()) and found["spleen"] == {}  # looked for, and nowhere
    liver, kidney, tumor, hip = (items[name] for name in ("liver", "left_kidney", "liver_tumor", "hip_left"))
    (kind,) = liver.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("10200004", "SCT", "Liver")
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert kind.CodeMeaning == "Kidney" and kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert tumor.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"
    assert tumor.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert tumor.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert hip.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99CDPD"
    (scheme,) = file.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99CDPD" and ALGORITHM.name in scheme.CodingSchemeName
    for value, name in NAMES.items():
        (made_by,) = items[name].SegmentationAlgorithmIdentificationSequence
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ALGORITHM[:2]
        assert items[name].SegmentAlgorithmType == "AUTOMATIC"
        assert items[name].TrackingID == name and items[name].SegmentDescription == f"value {value} of the label map"
        shown = CIELabColor.from_dicom_value(list(items[name].RecommendedDisplayCIELabValue)).to_rgb()
        assert np.abs(np.subtract(shown, tuple(bytes.fromhex(COLOURS[value][1:])))).max() <= 2
    uids = [item.TrackingUID for item in items.values()]
    assert len(set(uids)) == len(uids)
    again = tmp_path / "again.dcm"
    write_segmentation(again, blobs(source.slices.shape, 1), source, segments(), ALGORITHM)
    other = pydicom.dcmread(again)
    assert [item.TrackingUID for item in other.SegmentSequence] == uids
    assert other.SOPInstanceUID != file.SOPInstanceUID and other.SeriesInstanceUID != file.SeriesInstanceUID
    assert file.SoftwareVersions == ALGORITHM.version and file.DeviceSerialNumber == ALGORITHM.weights


def test_patient_and_study_are_those_of_the_series_and_all_its_files_are_named(tmp_path):
    more = {
        "LossyImageCompression": "01",
        "StudyDescription": "Abdomen",
        "PatientAge": "070Y",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "x",
    }
    source, _, path = written(tmp_path, PLAIN, **more, InstitutionName="Hospital")
    file, first = pydicom.dcmread(path), pydicom.dcmread(source.slices.slices[0].path)
    for name in (*PATIENT, *more, "StudyInstanceUID", "FrameOfReferenceUID"):
        assert file[name].value == first[name].value, name
    assert "InstitutionName" not in file and file.Modality == "SEG" and file.SeriesNumber == 301
    (series,) = file.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID != file.SeriesInstanceUID
    named = {item.ReferencedSOPInstanceUID: item.ReferencedSOPClassUID for item in series.ReferencedInstanceSequence}
    assert named == {entry.uid: entry.sop_class for entry in source.slices.slices}


def test_a_header_with_next_to_nothing_and_with_nonsense_is_carried_over(tmp_path):
    nothing = dict.fromkeys((*PATIENT, "SeriesNumber", "PositionReferenceIndicator", "Manufacturer"))
    _, _, path = written(tmp_path / "nothing", PLAIN, **nothing)
    file = pydicom.dcmread(path)
    assert file.PatientID == "" and file.PatientName == "" and file.SeriesNumber == 1 and file.StudyInstanceUID
    with pytest.warns(UserWarning):
        _, _, path = written(tmp_path / "odd", PLAIN, PatientSex="unknown", PatientBirthDate="1950", StudyTime="noon")
    file = pydicom.dcmread(path)
    assert (file["PatientSex"].value, file["PatientBirthDate"].value, file["StudyTime"].value) == ("unknown", "1950", "noon")


@pytest.mark.parametrize(
    ("character_set", "patient"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Ψαρά^Ελένη"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_keep_their_letters_in_any_character_set(character_set, patient, tmp_path):
    tags = {"SpecificCharacterSet": character_set, "PatientName": patient}
    _, _, path = written(tmp_path / "plain", PLAIN, **tags)
    file = pydicom.dcmread(path)
    assert str(file.PatientName) == patient and file.SpecificCharacterSet == character_set
    names = {1: "肝臓", 2: "left_kidney", 3: "Leber–Tumor", 5: "hip_left"}
    _, _, path = written(tmp_path / "classes", PLAIN, names=names, **tags)
    file = pydicom.dcmread(path)
    assert str(file.PatientName) == patient and file.SpecificCharacterSet == "ISO_IR 192"
    assert [item.SegmentLabel for item in file.SegmentSequence] == list(names.values())


def test_hostile_names_become_labels_that_dicom_allows_each_its_own(tmp_path):
    names = {1: "a" * 90 + "1", 2: "a" * 90 + "2", 3: "liver\\tumor\n\x1b", 5: "  ", 9: "_"}
    _, labels, path = written(tmp_path, PLAIN, names=names)
    _, found = read_segments(path)
    assert list(found) == ["a" * 64, "a" * 59 + " 2", "liver_tumor__", "_", "_ 2"]
    assert sum(mask.sum() for masks in found.values() for mask in masks.values()) == (labels > 0).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_is_said_by_segments_without_a_voxel(kind, tmp_path):
    _, _, path = written(tmp_path, PLAIN, kind, labels=lambda shape: np.zeros(shape, np.uint8))
    file, found = read_segments(path)
    assert set(NAMES.values()) <= set(found) and not file.pixel_array.any() and file.NumberOfFrames <= len(NAMES)


def test_what_another_file_could_not_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no StudyInstanceUID, to which a result belongs"):
        written(tmp_path / "1", PLAIN, StudyInstanceUID=None)
    with pytest.raises(UserError, match="has no FrameOfReferenceUID"):
        written(tmp_path / "2", PLAIN, FrameOfReferenceUID=None)
    with pytest.raises(UserError, match="are two files of one SOPInstanceUID"):
        written(tmp_path / "3", PLAIN, SOPInstanceUID="1.2.3")
    files = write_series(tmp_path / "4", PLAIN)
    header = pydicom.dcmread(files[2])
    header.PatientID = "P-18"
    header.save_as(files[2])
    with pytest.raises(UserError, match=f"{files[0].name} and .*{files[2].name} are of one series but differ in their PatientID"):
        SourceSeries.read(files)


def test_values_beyond_a_byte_are_kept(tmp_path):
    source = SourceSeries.read(write_series(tmp_path / "series", PLAIN))
    labels = np.where(blobs(source.slices.shape) == 1, 300, 0).astype(np.uint16)
    (segment,) = segments({1: "liver"})
    segment = replace(segment, value=300, values=(300,))
    for kind in KINDS:
        write_segmentation(tmp_path / f"{kind}.dcm", labels, source, [segment], ALGORITHM, kind)
    found = pydicom.dcmread(tmp_path / "labelmap.dcm")
    assert {item.SegmentNumber for item in found.SegmentSequence} - {0} == {300} and set(np.unique(found.pixel_array)) == {0, 300}
    _, masks = read_segments(tmp_path / "binary.dcm")
    assert sum(mask.sum() for mask in masks["liver"].values()) == (labels > 0).sum()


def test_a_value_without_a_segment_is_not_lost(tmp_path):
    with pytest.raises(ValueError, match="value 9 of the label map is in no segment"):
        written(tmp_path, PLAIN, labels=lambda shape: np.full(shape, 9, np.uint8), names={1: "liver"})


def test_a_missing_library_is_named_with_its_extra(monkeypatch, tmp_path):
    source = SourceSeries.read(write_series(tmp_path / "series", PLAIN))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r"DICOM SEG needs highdicom.*pip install 'nnunetv2-cdpd\[dicom\]'"):
        write_segmentation(tmp_path / "x.dcm", blobs(source.slices.shape), source, segments(), ALGORITHM)
    assert not (tmp_path / "x.dcm").exists()
