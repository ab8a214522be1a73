"""What a segmentation or structure set is made of, and readers of both that know pydicom and arithmetic alone."""

from pathlib import Path

import numpy as np
import pydicom

from nnunetv2_cdpd.classes import coded_class
from nnunetv2_cdpd.volumes.dicom.derived_object import Algorithm, Segment

ALGORITHM = Algorithm("nnunetv2-cdpd", "0.2.0", "Dataset400_MultiCT nnUNetTrainerCDPD", "0123456789abcdef")
NAMES = {1: "liver", 2: "left_kidney", 3: "liver_tumor", 5: "hip_left", 9: "spleen"}
COLOURS = {1: "#e6194b", 2: "#3cb44b", 3: "#ffe119", 5: "#4363d8", 9: "#f58231"}


def segments(names=None) -> list[Segment]:
    """Of values; the liver's tumor lies in the liver."""
    names = names or NAMES
    within = {1: (1, 3)}
    return [
        Segment(value, within.get(value, (value,)), name, *coded_class(name), COLOURS[value]) for value, name in names.items()
    ]


def blobs(shape, seed: int = 0) -> np.ndarray:
    """A label map (slices, rows, columns) of the values of `NAMES` but 9, in pieces with holes, some at the border."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    z, y, x = (np.arange(length) for length in shape)
    for value in (1, 2, 3, 5) * 2:
        centre, radius = random.uniform(0, shape), random.uniform(2, 6, 3)
        far = sum(((axis - c) / r) ** 2 for axis, c, r in zip(np.ix_(z, y, x), centre, radius))  # of an ellipsoid's middle
        labels[(far < 1) & (far > 0.15)] = value
    noise = random.random(shape) < 0.03  # lone voxels and holes of one voxel
    labels[noise] = random.choice([0, 1, 2, 3, 5], noise.sum())
    return labels


def read_segments(path: Path) -> tuple[pydicom.Dataset, dict[str, dict[tuple[str, int], np.ndarray]]]:
    """The file, and segment -> (file, frame counted from 1) of the slice -> mask (rows, columns)."""
    file = pydicom.dcmread(path)
    frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    labels = {int(item.SegmentNumber): item.SegmentLabel for item in file.SegmentSequence}
    found: dict[str, dict[tuple[str, int], np.ndarray]] = {label: {} for label in labels.values()}
    shared = file.SharedFunctionalGroupsSequence[0]
    for group, frame in zip(file.PerFrameFunctionalGroupsSequence, frames):
        (derivation,) = group.DerivationImageSequence
        (image,) = derivation.SourceImageSequence
        place = image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 1))
        if file.SegmentationType == "LABELMAP":
            for number, label in labels.items():
                found[label][place] = frame == number
        else:
            (segment,) = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
            found[labels[int(segment.ReferencedSegmentNumber)]][place] = frame.astype(bool)
    return file, found


def inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bool (rows, columns): voxels whose centre lies in a polygon (m, 2) of columns and rows, by the even-odd rule."""
    start, stop = polygon, np.roll(polygon, -1, axis=0)
    steep = start[:, 1] != stop[:, 1]
    (x0, y0), (x1, y1) = start[steep].T[..., None], stop[steep].T[..., None]
    rows = np.arange(shape[0])
    between = (rows >= np.minimum(y0, y1)) & (rows < np.maximum(y0, y1))  # (edges, rows)
    x = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
    return (between[..., None] & (np.arange(shape[1]) < x[..., None])).sum(0) % 2 == 1
