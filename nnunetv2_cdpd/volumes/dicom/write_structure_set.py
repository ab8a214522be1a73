"""Structure set: a label map as DICOM RTSTRUCT, contours on the slices of the series that was segmented.

Written with pydicom, contours by contourpy. rt-utils, which is the one library for it (1.2.7, of 2023), outlines voxels by their
centres, so that each structure loses half a voxel all around and a thin one is a line; it cuts holes open by taking voxels away;
it takes voxels and slices for squares (their two spacings, and rows and columns, are mixed up); it places all slices by the first
one's header, which a tilted gantry puts wrong; and it reads no multi-frame files.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import reduce
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from nnunetv2_cdpd.volumes.dicom.derived_object import (
    Algorithm,
    Segment,
    SourceSeries,
    add_own_scheme,
    check_values,
    code_item,
    distinct_labels,
    long_string,
    save_object,
)
from nnunetv2_cdpd.volumes.dicom.header import Slice
from nnunetv2_cdpd.volumes.dicom.outlines import outlines

_STUDY_COMPONENT = UID("1.2.840.10008.3.1.2.3.1")  # retired, and what the reference to a study names all the same
_CONTOUR_DATA = Tag("ContourData")
_ANATOMY = "91723000"  # category of a segment that is an organ, or at least no tumor


def write_structure_set(path: Path, labels: np.ndarray, source: SourceSeries, segments: Sequence[Segment], by: Algorithm) -> None:
    """Write a file with a structure for each segment; of one that is nowhere, without contours.

    A structure is a class with all that lies in it: a liver goes around its tumor.

    Args:
        labels: (n, rows, columns), of the slices of the source.
    """
    save_object(_structure_set(labels, source, segments, by), path)


def _structure_set(labels: np.ndarray, source: SourceSeries, segments: Sequence[Segment], by: Algorithm) -> FileDataset:
    check_values(labels, segments)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid(prefix=None)
    # Explicit ones hold no contour of more than 64 kB.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    names = distinct_labels([segment.name for segment in segments])
    source.copy_patient_and_study(made, [*names, *by, *(segment.kind[2] for segment in segments)])
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.Modality, made.SeriesInstanceUID, made.SeriesNumber = "RTSTRUCT", generate_uid(prefix=None), source.series_number(2)
    made.SeriesDescription, made.OperatorsName, made.InstanceNumber = long_string(by.model), None, 1
    made.Manufacturer, made.ManufacturerModelName, made.SoftwareVersions = by.name, long_string(by.model), by.version
    made.DeviceSerialNumber = by.weights
    made.InstanceCreationDate = made.SeriesDate = made.StructureSetDate = date
    made.InstanceCreationTime = made.SeriesTime = made.StructureSetTime = time
    made.StructureSetLabel, made.ApprovalStatus = "PREDICTION", "UNAPPROVED"
    made.StructureSetDescription = long_string(f"{by.name} {by.version}, {by.model}", 1024)
    made.FrameOfReferenceUID = source.slices.frame_of_reference
    made.PositionReferenceIndicator = source.header.get("PositionReferenceIndicator")
    made.ReferencedFrameOfReferenceSequence = [_referenced(source)]
    add_own_scheme(made, segments, by)
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    for number, (segment, name) in enumerate(zip(segments, names), start=1):
        made.StructureSetROISequence.append(_structure(number, name, source, by))
        made.ROIContourSequence.append(
            _contours(number, reduce(np.logical_or, [labels == value for value in segment.values]), source, segment)
        )
        made.RTROIObservationsSequence.append(_observation(number, segment))
    return made


def _referenced(source: SourceSeries) -> Dataset:
    """The series, as the place of all structures."""
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.header.SeriesInstanceUID
    series.ContourImageSequence = [_image(entry, source, with_frame=False) for entry in source.instances]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_COMPONENT, source.header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.slices.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(entry: Slice, source: SourceSeries, with_frame: bool = True) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = entry.sop_class, entry.uid
    if with_frame and entry.uid in source.multi_frame:
        item.ReferencedFrameNumber = entry.frame + 1
    return item


def _structure(number: int, name: str, source: SourceSeries, by: Algorithm) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, name
    item.ReferencedFrameOfReferenceUID = source.slices.frame_of_reference
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    item.ROIGenerationDescription = long_string(f"{by.name} {by.version}")
    return item


def _contours(number: int, mask: np.ndarray, source: SourceSeries, segment: Segment) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = number, list(segment.rgb)
    if contours := list(_contours_of_slices(mask, source)):  # an empty sequence is not allowed
        item.ContourSequence = contours
    return item


def _contours_of_slices(mask: np.ndarray, source: SourceSeries) -> Iterator[Dataset]:
    number = 0
    for index in np.flatnonzero(mask.any((1, 2))).tolist():
        for polygon in outlines(mask[index]):
            number += 1
            item = Dataset()
            item.ContourImageSequence = [_image(source.slices.slices[index], source)]
            item.ContourGeometricType, item.ContourNumber, item.NumberOfContourPoints = "CLOSED_PLANAR", number, len(polygon)
            points = "\\".join(f"{value:.4f}" for value in source.slices.position(index, polygon).ravel().tolist())
            # As it is written: number by number pydicom takes many times as long as all the rest.
            item[_CONTOUR_DATA] = DataElement(_CONTOUR_DATA, "DS", points, already_converted=True)
            yield item


def _observation(number: int, segment: Segment) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    # A tumor is no volume to treat: that is for people to say.
    item.RTROIInterpretedType = "ORGAN" if segment.category[0] == _ANATOMY else None
    item.ROIInterpreter = None
    item.RTROIIdentificationCodeSequence = [code_item(segment.kind)]
    if segment.side:
        item.RTROIIdentificationCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code_item(segment.side)]
    return item
