"""What the tests of structure sets and segmentations share: geometries, masks, and what is read."""

import re
from pathlib import Path

import numpy as np
import pytest

from builders.dicom_labels import in_mm
from builders.source_series import geometries
from nnunetv2_cdpd.volumes.dicom import read_series
from nnunetv2_cdpd.volumes.dicom.label_files import read_label_object
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices

GEOMETRIES = {geometry.name: geometry for geometry in geometries()}
PLAIN, TILTED, OBLIQUE = (
    next(one for name, one in GEOMETRIES.items() if re.fullmatch(kind, name)) for kind in (r"\d+", r"\d+_tilted", r"\d+_oblique")
)


def few(names):
    """The first ones, among which every kind is; the others are slow."""
    return [name if number < 16 else pytest.param(name, marks=pytest.mark.slow) for number, name in enumerate(names)]


def made_masks(geometry, seed=0):
    """Two structures (x, y, slice) that reach the borders and leave slices empty."""
    random = np.random.default_rng(seed)
    first, second = random.random((2, *geometry.size)) < 0.3
    first[:, :, :2] = False
    second[:, :, 1] = False
    second &= ~first
    return {"liver": first, "Leber 2": second}


def read(path: Path, slices, fill_gaps=None):
    """Name -> mask on the slices of the series (x, y, slice); and the notes and problems."""
    where, found = SourceSlices.of(read_series(slices)), read_label_object(path)
    masks, told = {}, []
    for number, drawing in found.draw(list(found.structures), where, fill_gaps).items():
        volume = np.zeros(where.grid.shape, bool)
        for place, mask in drawing.patches:
            volume[place] |= mask
        masks[found.structures[number]] = where.on_slices(volume).transpose(2, 1, 0)
        assert masks[found.structures[number]].sum() == volume.sum()  # nothing beside the slices
        told += [*drawing.notes, *([drawing.problem] if drawing.problem else [])]
    return masks, told


def same(masks, others):
    return masks.keys() == others.keys() and all(np.array_equal(masks[name], others[name]) for name in masks)


# Outer and inner line, x and y in voxels
RING = [[(1.4, 1.4), (6.6, 1.4), (6.6, 5.6), (1.4, 5.6)], [(2.6, 2.6), (5.4, 2.6), (5.4, 4.4), (2.6, 4.4)]]


def ring(geometry, numbers):
    mask = np.zeros(geometry.size, bool)
    mask[2:7, 2:6, numbers] = True
    mask[3:6, 3:5, numbers] = False
    return mask


def contours(slices, lines, numbers):
    return [in_mm(slices, [(x, y, z) for x, y in points]) for z in numbers for points in lines]
