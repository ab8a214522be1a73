"""Segmentation: a label map as DICOM SEG by highdicom, on the slices of the series that was segmented.

Of DICOM's two kinds BINARY is the default: a frame per class and slice, which every reader takes. LABELMAP holds the label map
itself and is smaller for many classes, but is a storage class of its own, of 2024, which archives and viewers that do not know it
refuse; it is written where somebody asks for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom.derived_object import (
    LOSSY,
    Algorithm,
    Coded,
    Segment,
    SourceSeries,
    add_own_scheme,
    check_values,
    code_item,
    distinct_labels,
    long_string,
    save_object,
)

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

BINARY, LABELMAP = KINDS = ("binary", "labelmap")
_PLACE = "1.2.3."  # begins the identifier that a slice has while the object is made; its number follows


def check_highdicom() -> None:
    """Raise UserError if the library is not there."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"DICOM SEG needs highdicom, which cannot be imported ({error}); run: pip install 'nnunetv2-cdpd[dicom]'"
        ) from error


def write_segmentation(
    path: Path, labels: np.ndarray, source: SourceSeries, segments: Sequence[Segment], by: Algorithm, kind: str = BINARY
) -> None:
    """Write a file with a segment for each class; one that is nowhere is described, too, and has no frame.

    A voxel is in one segment, that of its value. Segments of a LABELMAP have their values as numbers; those of BINARY must be
    numbered from 1 on, and are so in the order of their values.

    Args:
        labels: (n, rows, columns), of the slices of the source: values of segments, and 0.
        kind: One of `KINDS`.

    Raises:
        UserError: highdicom is not installed.
    """
    check_highdicom()
    save_object(_segmentation(labels, source, segments, by, kind), path)


def _segmentation(
    labels: np.ndarray, source: SourceSeries, segments: Sequence[Segment], by: Algorithm, kind: str
) -> "Segmentation":
    from highdicom.seg import Segmentation, SegmentationTypeValues

    class OfSource(Segmentation):
        """highdicom knows the modules of the standard's kinds of images only; these are copied for any, and once."""

        def copy_patient_and_study_information(self, dataset: Dataset) -> None:
            source.copy_patient_and_study(self, [*names, *by, *(segment.kind[2] for segment in segments)])

        def copy_specimen_information(self, dataset: Dataset) -> None:
            """Slices of a patient have none."""

    check_values(labels, segments)
    segments = sorted(segments, key=lambda segment: segment.value)
    names = distinct_labels([segment.name for segment in segments])
    numbers = [segment.value if kind == LABELMAP else index for index, segment in enumerate(segments, start=1)]
    images = _images(source)
    if not labels.any():  # all slices of all segments would be written
        labels, images = labels[:1], images[:1]
    to_number = np.zeros(segments[-1].value + 1, np.uint8 if max(numbers) < 256 else np.uint16)
    to_number[[segment.value for segment in segments]] = numbers
    made = OfSource(
        source_images=images,
        pixel_array=to_number[labels],
        segmentation_type=SegmentationTypeValues[kind.upper()],
        segment_descriptions=[
            _description(number, name, segment, source, by) for number, name, segment in zip(numbers, names, segments)
        ],
        series_instance_uid=generate_uid(prefix=None),
        series_number=source.series_number(1),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=by.name,
        manufacturer_model_name=long_string(by.model),
        software_versions=by.version,
        device_serial_number=by.weights,
        series_description=long_string(by.model),
        content_label="PREDICTION",
        content_description=long_string(f"{by.name} {by.version}"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=None,
    )
    _name_slices(made, source)
    add_own_scheme(made, segments, by)
    return made


def _images(source: SourceSeries) -> list[Dataset]:
    """Each slice as a file of its own, as highdicom wants them, with what it needs to know and nothing that it could stumble on.

    Of a multi-frame file it would take all frames in their order, and one file only.
    """
    first = source.slices.slices[0]
    images = []
    for index, entry in enumerate(source.slices.slices):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"{_PLACE}{index}"
        image.Modality = source.header.get("Modality")
        image.StudyInstanceUID, image.SeriesInstanceUID = source.header.StudyInstanceUID, source.header.SeriesInstanceUID
        image.FrameOfReferenceUID = source.slices.frame_of_reference
        image.PositionReferenceIndicator = source.header.get("PositionReferenceIndicator")
        image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""  # come with `copy_patient_and_study`
        image.AccessionNumber = image.StudyID = ""
        image.StudyDate = image.StudyTime = None
        image.Columns, image.Rows = entry.size
        image.ImagePositionPatient = [_decimal(value) for value in entry.position]
        image.ImageOrientationPatient = [_decimal(value) for value in first.orientation.ravel()]
        image.PixelSpacing = [_decimal(value) for value in first.spacing[::-1]]
        image.SliceThickness = _decimal(source.slices.grid.spacing[2])
        for name in LOSSY:
            if name in source.header:
                image[name] = source.header[name]
        images.append(image)
    return images


def _decimal(value: float) -> str:
    """A number in the 16 letters that DICOM has for one."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _description(number: int, name: str, segment: Segment, source: SourceSeries, by: Algorithm) -> "SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    item = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.kind),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=by.name,
            family=codes.DCM.ArtificialIntelligence,
            version=by.version,
            source=long_string(by.model),
            parameters={"weights": by.weights},
        ),
        # The same structure of the same series, whoever finds it again.
        tracking_uid=UID(f"2.25.{uuid5(NAMESPACE_OID, f'{source.header.SeriesInstanceUID} {segment.name}').int}"),
        tracking_id=name,
        anatomic_regions=[_code(segment.region)] if segment.region else None,
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
    item.SegmentDescription = f"value {segment.value} of the label map"
    if segment.side:
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code_item(segment.side)]
    if segment.region and segment.region_side:
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [code_item(segment.region_side)]
    return item


def _code(code: Coded) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code[0], code[1], long_string(code[2]))


def _name_slices(made: "Segmentation", source: SourceSeries) -> None:
    """Put the identifiers of files, and the numbers of frames in them, where the places of slices stand."""
    groups = made.PerFrameFunctionalGroupsSequence
    references = [image for group in groups for derived in group.DerivationImageSequence for image in derived.SourceImageSequence]
    for item in {id(item): item for item in references}.values():  # frames of a slice share theirs
        entry = source.slices.slices[int(item.ReferencedSOPInstanceUID.removeprefix(_PLACE))]
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = entry.sop_class, entry.uid
        if entry.uid in source.multi_frame:
            item.ReferencedFrameNumber = entry.frame + 1
    instances = []
    for entry in source.instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = entry.sop_class, entry.uid
        instances.append(item)
    made.SourceImageSequence = instances
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances
