"""DICOM files beyond plain slices: multi-frame CT, objects without pixels, screenshots, localizers; what comes of a series."""

from pathlib import Path

import nibabel
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from builders.replica_files import write_dicom
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import read_series

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def new_file(path: Path, sop_class: str, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID, file.Modality = generate_uid(), generate_uid(), modality
    return file


def write_object(path: Path, sop_class: str, modality: str) -> Path:
    """A file without pixels; the directory of a disc has no class but in the file's own header."""
    file = new_file(path, sop_class, modality)
    if sop_class == MediaStorageDirectoryStorage:
        del file.SOPClassUID, file.SOPInstanceUID
    file.save_as(path, enforce_file_format=True)
    return path


def spoil_element(path: Path, name: str) -> None:
    """Give an element of a file another kind than its bytes are, so that it cannot be read; all others stay."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name)
    start = tag.to_bytes(4, "big")
    bytes_of_tag = start[1::-1] + start[:1:-1]
    content = path.read_bytes()
    at = content.index(bytes_of_tag, 132) + 4
    kind = b"FD" if int.from_bytes(content[at + 2 : at + 4], "little") % 8 else b"FL"
    path.write_bytes(content[:at] + kind + content[at + 2 :])


def write_screenshot(path: Path) -> Path:
    """A captured image of the scan's modality, as dose reports are."""
    file = new_file(path, SECONDARY_CAPTURE, "CT")
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = 6, 7, 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation, file.PixelData = 7, 0, bytes(42)
    file.save_as(path, enforce_file_format=True)
    return path


def write_localizers(folder: Path, image) -> list[Path]:
    """Two images through the body's length, of a series of their own."""
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "SeriesNumber": 1}
    return write_dicom(folder, image[:, :, :2], names="scout-{}.dcm", **tags)


def write_enhanced(path: Path, slices: list[Path], order=None, rescale=None, shared=(), sop_class=EnhancedCTImageStorage) -> Path:
    """A multi-frame file of the slices of a series.

    Args:
        slices: Files of the series.
        order: Indices into them, in the order of the frames.
        rescale: (slope, intercept) of each frame, which changes its values; None: that of the slices.
        shared: Groups that stand once for all frames: "orientation", "spacing", "rescale".
    """
    frames = [pydicom.dcmread(slices[index]) for index in order or range(len(slices))]
    first = frames[0]
    file = new_file(path, sop_class, first.Modality)
    for name in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(file, name, getattr(first, name))
    file.PixelRepresentation, file.NumberOfFrames = first.PixelRepresentation, len(frames)
    file.PixelData = b"".join(frame.PixelData for frame in frames)
    in_common, each = Dataset(), []
    for index, frame in enumerate(frames):
        slope, intercept = rescale[index] if rescale else (frame.RescaleSlope, frame.RescaleIntercept)
        own = Dataset()
        own.PlanePositionSequence = [_of(ImagePositionPatient=frame.ImagePositionPatient)]
        to = {name: in_common if name in shared else own for name in ("orientation", "spacing", "rescale")}
        to["orientation"].PlaneOrientationSequence = [_of(ImageOrientationPatient=frame.ImageOrientationPatient)]
        to["spacing"].PixelMeasuresSequence = [_of(PixelSpacing=frame.PixelSpacing, SliceThickness=frame.SliceThickness)]
        to["rescale"].PixelValueTransformationSequence = [_of(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")]
        each.append(own)
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [in_common], each
    file.save_as(path, enforce_file_format=True)
    return path


def series_error(paths, modality="CT"):
    with pytest.raises(UserError) as caught:
        read_series(paths, modality)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_ras(series):
    """The voxels in the order of the volume that the series was written from."""
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(series.read(), series.grid.nifti_affine))


def _of(**attributes) -> Dataset:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset
