"""Pictures of what an audit flags: cases with the contours of their labels, pairs of the same scan side by side."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.pages.body import read_label_map, read_volume
from nnunetv2_cdpd.pages.layers import regions_of
from nnunetv2_cdpd.pages.pictures import PLANES, PlanePicture, case_pictures, data_uri
from nnunetv2_cdpd.same_scan.alignment import Pair, in_common
from nnunetv2_cdpd.same_scan.fingerprint import UNITS

PIXELS_PER_STEP = 4
GREY = (0.7, 1.3)  # of soft tissue above air: what is black and white in the pictures of pairs


class PairPicture(NamedTuple):
    """A slice of one of two images; case: Its name; image: Data URI."""

    case: str
    plane: str
    image: str


def label_pictures(case: AuditCase) -> list[PlanePicture]:
    """Three planes of a case with the contours of its label map.

    Raises:
        UserError: The label map does not lie on the grid of the image.
        RuntimeError, OSError, ValueError: A file cannot be read.
    """
    image, label = read_volume(case.image), read_label_map(case.label)
    return case_pictures(image.array, label, label.array, regions_of(case.dataset.annotation), {})


def pair_pictures(cases: Sequence[AuditCase], pair: Pair) -> list[PairPicture]:
    """Axial, coronal and sagittal slices of the first image of a pair, then of the second, where they lie on each other."""
    first, second = _volume(cases[pair.first]), _volume(cases[pair.second])
    first = first[tuple(slice(None, None, flip) for flip in pair.flips)]
    ours, theirs = in_common(first.shape, second.shape, pair.shift)
    return [
        PairPicture(cases[index].name, plane, _grey_slice(volume, axis))
        for volume, index in ((first[ours], pair.first), (second[theirs], pair.second))
        for axis, plane in enumerate(PLANES)
    ]


def _volume(case: AuditCase) -> np.ndarray:
    """What the search compared; a case of a pair has it."""
    assert case.fingerprint is not None and case.fingerprint.volume is not None
    return case.fingerprint.volume


def _grey_slice(volume: np.ndarray, axis: int) -> str:
    """The slice in the middle, with the head up."""
    picture = np.take(volume, volume.shape[axis] // 2, axis)
    picture = picture if axis == 0 else picture[::-1]
    scaled = (picture / UNITS - GREY[0]) / (GREY[1] - GREY[0])
    image = Image.fromarray((scaled.clip(0, 1) * 255).astype(np.uint8))
    width, height = image.size
    enlarged = image.resize((width * PIXELS_PER_STEP, height * PIXELS_PER_STEP), Image.Resampling.BICUBIC)
    return data_uri(enlarged, "JPEG", quality=80)
