"""Structure sets written element by element, and segmentations by highdicom, of the series that `write_dicom` writes."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from builders.dicom import RT_STRUCTURE_SET, new_file
from builders.replica_files import write_dicom

SPACE = "1.2.826.0.1.3680043.8.498.1"
STUDY = "1.2.826.0.1.3680043.8.498.2"


def write_scan(folder: Path, image, **given) -> list[Path]:
    """`write_dicom` with what label objects take from a series; files from below to above."""
    empty = ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")
    tags = {**dict.fromkeys((*empty, "ReferringPhysicianName"), ""), "FrameOfReferenceUID": SPACE, "StudyInstanceUID": STUDY}
    return write_dicom(folder, image, **{**tags, **given})


def positions(slices: list[Path]) -> np.ndarray:
    """(4, 4) of a series: index x, y of a slice and its number -> mm (LPS), tilted gantry or not."""
    first, last = (pydicom.dcmread(slices[index], stop_before_pixels=True) for index in (0, -1))
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    start, end = (np.array(each.ImagePositionPatient, float) for each in (first, last))
    matrix = np.eye(4)
    spacing = np.array(first.PixelSpacing, float)
    matrix[:3] = np.stack([row * spacing[1], column * spacing[0], (end - start) / (len(slices) - 1), start], axis=1)
    return matrix


def in_mm(slices: list[Path], points) -> np.ndarray:
    """Points (x, y, number of the slice) in mm."""
    return np.atleast_2d(points) @ positions(slices)[:3, :3].T + positions(slices)[:3, 3]


def boxes(slices: list[Path], mask) -> list[np.ndarray]:
    """Contours of a box-shaped mask (x, y, slice), in the middle between its voxels and the others."""
    lines = []
    for z in np.flatnonzero(mask.any((0, 1))):
        (x0, y0), (x1, y1) = (np.argwhere(mask[:, :, z]).min(0) - 0.5, np.argwhere(mask[:, :, z]).max(0) + 0.5)
        lines.append(in_mm(slices, [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]))
    return lines


def lps(array):
    """An array of `make_truth` in the order of the voxels of its series."""
    return array[::-1, ::-1]


def write_structure_set(path: Path, slices: list[Path], rois, *, series=None, space=None, kinds=None, drawn_on=None) -> Path:
    """Write a structure set.

    Args:
        rois: (name, contours (n, 3) mm) of each.
        series: Identifiers of the series that it refers to; None: that of the slices.
        space: Frame of reference of its structures; None: that of the slices.
        drawn_on: Identifier of the image on which the contours of the names in it were drawn.
        kinds: Type of the contours of the names in it; others are closed.
    """
    image = pydicom.dcmread(slices[0], stop_before_pixels=True)
    space = image.FrameOfReferenceUID if space is None else space
    file = new_file(path, RT_STRUCTURE_SET, "RTSTRUCT")
    file.SpecificCharacterSet, file.StructureSetLabel = "ISO_IR 192", "made"
    file.StudyInstanceUID = image.StudyInstanceUID
    referenced = _of(FrameOfReferenceUID=space)
    named = [image.SeriesInstanceUID] if series is None else series
    if named:
        items = [_of(SeriesInstanceUID=uid, ContourImageSequence=[]) for uid in named]
        study = _of(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=image.StudyInstanceUID)
        study.RTReferencedSeriesSequence = items
        referenced.RTReferencedStudySequence = [study]
    file.ReferencedFrameOfReferenceSequence = [referenced]
    file.StructureSetROISequence, file.ROIContourSequence = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that DICOM does not allow
        for number, (name, contours) in enumerate(rois, start=3):
            file.StructureSetROISequence.append(_of(ROINumber=number, ReferencedFrameOfReferenceUID=space, ROIName=name))
            entry = _of(ReferencedROINumber=number)
            if contours is not None:
                kind = (kinds or {}).get(name, "CLOSED_PLANAR")
                entry.ContourSequence = [_contour(points, kind) for points in contours]
            if name in (drawn_on or {}):
                for contour in entry.ContourSequence:
                    contour.ContourImageSequence = [_of(ReferencedSOPInstanceUID=drawn_on[name])]
            file.ROIContourSequence.append(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save_as(path, enforce_file_format=True)
    return path


def _contour(points, kind) -> Dataset:
    numbers = [f"{value:.6f}" for value in np.ravel(points)]
    return _of(ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=numbers)


def write_segmentation(path: Path, slices: list[Path], masks, kind="BINARY", **given) -> Path:
    """Write a segmentation by highdicom.

    Args:
        masks: Name -> mask (x, y, slice), of a fractional one shares 0 ... 1.
        given: For highdicom's Segmentation.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence("made", codes.DCM.ArtificialIntelligence, "1")
    segments = [
        hd.seg.SegmentDescription(
            number, "x", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
        )
        for number in range(1, len(masks) + 1)
    ]
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = hd.seg.Segmentation(
            [pydicom.dcmread(each) for each in slices],
            pixels.astype(float if kind == "FRACTIONAL" else np.uint8),
            kind,
            segments,
            generate_uid(), 9, generate_uid(), 1, "maker", "model", "1", "number", **given,
        )  # fmt: skip
        for segment, name in zip([item for item in file.SegmentSequence if item.SegmentNumber], masks, strict=True):
            segment.SegmentLabel = name
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save_as(path)
    return path


def _of(**attributes) -> Dataset:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset
