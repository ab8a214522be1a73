"""Pictures of what an audit flags: cases with the contours of their labels, pairs of the same scan side by side."""

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.pages.layers import Layers, regions_of
from nnunetv2_cdpd.pages.pictures import (
    PANEL_PIXELS,
    case_pictures,
    data_uri,
    read_label_map,
    read_volume,
)
from nnunetv2_cdpd.same_scan.fingerprint import UNITS
from nnunetv2_cdpd.same_scan.pairs import Pair

PIXELS_PER_STEP = 4
GREY = (0.7, 1.3)  # of soft tissue above air: what is black and white in the pictures of pairs


def case_figures(case: AuditCase, layers: Layers) -> str:
    """Three planes of a case with the contours of its label map, as HTML; a sentence where there is none."""
    try:
        image, label = read_volume(case.image), read_label_map(case.label)
        regions = regions_of(case.annotation)
        planes = case_pictures(image.array, label, label.array, regions, {})
    except (RuntimeError, ValueError, OSError):
        return '<p class="warning">No pictures: its files cannot be read or do not lie on one grid.</p>'
    figures = []
    for plane in planes:
        paths = "".join(
            f'<path class="contour c{layers.index(name)}" d="{path}"><title>{escape(name)}</title></path>'
            for name, path in plane.reference.items()
        )
        figures.append(
            f'<figure><svg viewBox="0 0 {plane.width} {plane.height}" style="width: {100 * plane.width / PANEL_PIXELS:.1f}%" '
            f'role="img" aria-label="{plane.plane} slice of {escape(case.identifier)}">'
            f'<image href="{plane.image}" width="{plane.width}" height="{plane.height}"/>{paths}</svg>'
            f"<figcaption>{plane.plane}, slice {plane.slice_number} of {plane.num_slices}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def pair_figures(cases: Sequence[AuditCase], pair: Pair) -> str:
    """Axial, coronal and sagittal slices of both images of a pair where they lie on each other, as HTML."""
    first, second = cases[pair.first].fingerprint.volume, cases[pair.second].fingerprint.volume
    first = first[tuple(slice(None, None, flip) for flip in pair.flips)]
    ranges = [(max(0, at), min(n, at + m)) for at, n, m in zip(pair.shift, second.shape, first.shape)]
    ours = first[tuple(slice(start - at, stop - at) for (start, stop), at in zip(ranges, pair.shift))]
    theirs = second[tuple(slice(*limits) for limits in ranges)]
    rows = [_row(volume, cases[index]) for volume, index in ((ours, pair.first), (theirs, pair.second))]
    return f'<div class="pictures">{"".join(rows)}</div>'


def _row(volume: np.ndarray, case: AuditCase) -> str:
    figures = []
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        picture = np.take(volume, volume.shape[axis] // 2, axis)
        picture = picture if axis == 0 else picture[::-1]
        figures.append(
            f'<figure><img src="{_grey(picture)}" alt="{plane} slice of {escape(case.name)}">'
            f"<figcaption>{escape(case.name)}, {plane}</figcaption></figure>"
        )
    return "".join(figures)


def _grey(picture: np.ndarray) -> str:
    scaled = (picture / UNITS - GREY[0]) / (GREY[1] - GREY[0])
    image = Image.fromarray((scaled.clip(0, 1) * 255).astype(np.uint8))
    size = [side * PIXELS_PER_STEP for side in image.size]
    return data_uri(image.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=80)
