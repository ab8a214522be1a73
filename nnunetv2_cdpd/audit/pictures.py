"""Pictures of what an audit flags: cases with the contours of their labels, pairs of the same scan side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pages.layers import Layers, regions_of
from nnunetv2_cdpd.pages.pictures import PLANES, case_pictures, data_uri, read_label_map, read_volume
from nnunetv2_cdpd.same_scan.fingerprint import UNITS
from nnunetv2_cdpd.same_scan.pairs import Pair

PIXELS_PER_STEP = 4
GREY = (0.7, 1.3)  # of soft tissue above air: what is black and white in the pictures of pairs


def draw_case_planes(case: AuditCase, layers: Layers) -> list[dict[str, Any]]:
    """Three planes of a case with the contours of its label map, as audit.html draws them.

    Raises:
        UserError: There are none; without a reader's own words, which hold paths.
    """
    try:
        image, label = read_volume(case.image), read_label_map(case.label)
        planes = case_pictures(image.array, label, label.array, regions_of(case.annotation), {})
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError("its files cannot be read or do not lie on one grid") from error
    return [layers.plane(plane, case.identifier) for plane in planes]


def draw_pair(cases: Sequence[AuditCase], pair: Pair) -> dict[str, Any]:
    """Axial, coronal and sagittal slices of both images of a pair where they lie on each other, as audit.html draws them."""
    first, second = _volume(cases[pair.first]), _volume(cases[pair.second])
    first = first[tuple(slice(None, None, flip) for flip in pair.flips)]
    ranges = [(max(0, at), min(n, at + m)) for at, n, m in zip(pair.shift, second.shape, first.shape)]
    ours = first[tuple(slice(start - at, stop - at) for (start, stop), at in zip(ranges, pair.shift))]
    theirs = second[tuple(slice(*limits) for limits in ranges)]
    pictures = [
        {"case": cases[index].name, "plane": plane, "image": _grey(_middle(volume, axis))}
        for volume, index in ((ours, pair.first), (theirs, pair.second))
        for axis, plane in enumerate(PLANES)
    ]
    return {"first": cases[pair.first].name, "second": cases[pair.second].name, "score": pair.score, "pictures": pictures}


def _volume(case: AuditCase) -> np.ndarray:
    assert case.fingerprint is not None and case.fingerprint.volume is not None, "only such images are compared"
    return case.fingerprint.volume


def _middle(volume: np.ndarray, axis: int) -> np.ndarray:
    """The slice in the middle, feet down."""
    picture = np.take(volume, volume.shape[axis] // 2, axis)
    return picture if axis == 0 else picture[::-1]


def _grey(picture: np.ndarray) -> str:
    scaled = (picture / UNITS - GREY[0]) / (GREY[1] - GREY[0])
    image = Image.fromarray((scaled.clip(0, 1) * 255).astype(np.uint8))
    size = [side * PIXELS_PER_STEP for side in image.size]
    return data_uri(image.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=80)
