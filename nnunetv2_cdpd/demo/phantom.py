"""Phantom: CT-like torsos with nested, paired and touching structures, different in every patient and in every scanner.

Organs are ellipsoids in a body frame (mm; x to the patient's left, y to the back, z to the head), moved, scaled and warped
per patient, and sampled on a grid with real geometry. Scanners differ in contrast, blur, noise and voxel size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BODY_RADII_MM = (165.0, 112.0)  # x, y
FAT_MM = 16.0  # under the skin
FAT_PLANE_MM = 8.0  # around organs that lie in fat
LENGTH_MM = 270.0
AIR_HU, LUNG_HU, FAT_HU, SOFT_HU, MUSCLE_HU, BONE_HU, CORTICAL_HU = -1000, -780, -95, 35, 52, 250, 700


@dataclass(frozen=True)
class Organ:
    """One labelled structure.

    parts: Ellipsoids ((x, y, z) centre, (x, y, z) radii) in mm.
    hu: Mean intensity.
    inside: Structures of which one holds it around a random point (a tumor); none: a fixed place.
    in_fat: Lies in fat, which keeps bowel and muscle away.
    bulges: Grows out of the structure that holds it, which is then larger by that.
    """

    name: str
    parts: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]
    hu: float
    inside: tuple[str, ...] = ()
    in_fat: bool = False
    bulges: bool = False


# Painted in this order: where two touch, the later one wins.
ORGANS = (
    Organ("liver", (((-72, -22, 48), (72, 62, 52)), ((-8, -48, 62), (58, 36, 30))), 105),
    Organ("spleen", (((104, 30, 58), (32, 46, 46)),), 132),
    Organ("stomach", (((54, -38, 42), (46, 42, 46)),), -48, in_fat=True),
    Organ("right_kidney", (((-74, 48, -24), (31, 28, 50)),), 195, in_fat=True),
    Organ("left_kidney", (((74, 48, -16), (31, 28, 50)),), 195, in_fat=True),
    Organ("aorta", (((10, 30, 0), (15, 15, 400)),), 165, in_fat=True),
    Organ("bladder", (((0, -24, -104), (44, 38, 30)),), -8, in_fat=True),
    Organ("liver_tumor", (((0, 0, 0), (30, 28, 28)),), 175, inside=("liver",)),
    Organ("kidney_tumor", (((0, 0, 0), (28, 28, 29)),), 400, inside=("right_kidney", "left_kidney"), bulges=True),
)


@dataclass(frozen=True)
class Scanner:
    """How the volumes of one source look.

    contrast: Factor on the intensities above soft tissue, (low, high).
    blur_mm: Width of the kernel (standard deviation).
    noise_hu: Standard deviation of the noise.
    spacing_mm: (low, high) of the voxel size in plane, and between slices.
    """

    contrast: tuple[float, float]
    blur_mm: float
    noise_hu: float
    spacing_mm: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Patient:
    """A made volume.

    hu: int16 (z, y, x).
    masks: Structure -> bool (z, y, x); a nested structure is part of its parent's mask too. Absent ones are missing.
    spacing, origin, direction: Of the grid in SimpleITK's order (x, y, z), mm.
    """

    hu: np.ndarray
    masks: dict[str, np.ndarray]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def make_patient(scanner: Scanner, seed: int | Sequence[int], tumor_probability: float = 0.85, tumor_place: int = 0) -> Patient:
    """One patient; the same arguments give the same volume.

    Args:
        tumor_probability: Of each kind of tumor, independently.
        tumor_place: Which of the structures that can hold a tumor does, counted round; patients that are numbered by it
            show every place alike, which chance does not promise for a few.
    """
    rng = np.random.default_rng(seed)
    spacing, origin, direction, shape = _geometry(scanner, rng)
    body = _body_coordinates(spacing, direction, shape, rng)  # (3, z, y, x) in mm
    masks = _paint(body, rng, tumor_probability, tumor_place)
    hu = _intensities(body, masks, scanner, spacing, rng)
    return Patient(hu, masks, spacing, origin, direction)


def _geometry(scanner: Scanner, rng: np.random.Generator) -> tuple[tuple, tuple, tuple, tuple]:
    """Spacing, origin and direction (SimpleITK's order) and shape (z, y, x) of a grid that holds the torso."""
    in_plane, between = (rng.uniform(*bounds) for bounds in scanner.spacing_mm)
    spacing = (in_plane, in_plane, between)
    angle = rng.uniform(-0.06, 0.06) if rng.uniform() < 0.3 else 0.0  # a few patients lie askew
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    extent = np.array([2 * BODY_RADII_MM[0], 2 * BODY_RADII_MM[1], LENGTH_MM]) + rng.uniform([16, 16, 0], [40, 40, 24])
    size = np.ceil(extent / spacing).astype(int)
    centre = rng.uniform(-20, 20, 3)
    origin = centre - direction @ ((size - 1) / 2 * spacing)
    return spacing, tuple(origin), tuple(direction.ravel()), tuple(int(n) for n in size[::-1])


def _body_coordinates(spacing: tuple, direction: tuple, shape: tuple, rng: np.random.Generator) -> np.ndarray:
    """Place of every voxel in the body frame of the mean patient: (3, z, y, x) in mm, order x, y, z."""
    steps = np.array(direction).reshape(3, 3) * np.array(spacing)
    index = np.indices(shape, float)[::-1]  # x, y, z
    place = np.tensordot(steps, index, 1) - (steps @ ((np.array(shape[::-1]) - 1) / 2))[:, None, None, None]
    place = place / rng.normal(1, 0.05, 3)[:, None, None, None] + rng.normal(0, 4, 3)[:, None, None, None]
    warped = place.copy()
    for axis in range(3):  # a smooth warp of a few waves
        for _ in range(3):
            wave = rng.uniform(-1, 1, 3) * 2 * np.pi / 180
            warped[axis] += rng.uniform(1, 4) * np.sin(np.tensordot(wave, place, 1) + rng.uniform(0, 2 * np.pi))
    return warped


def _paint(body: np.ndarray, rng: np.random.Generator, tumor_probability: float, tumor_place: int) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for organ in ORGANS:
        scale = rng.uniform(0.92, 1.1)
        if organ.inside:
            if rng.uniform() > tumor_probability:
                continue
            parent = masks[organ.inside[tumor_place % len(organ.inside)]]
            mask = _ellipsoids(body, organ, scale, _deep_point(body, parent, rng))
            if organ.bulges:
                parent |= mask & ~np.any(list(masks.values()), axis=0)
            mask &= parent
        else:
            mask = _ellipsoids(body, organ, scale, rng.normal(0, 4, 3))
            for other in masks.values():
                other &= ~mask
        masks[organ.name] = mask
    return masks


def _ellipsoids(body: np.ndarray, organ: Organ, scale: float, shift: np.ndarray) -> np.ndarray:
    mask = np.zeros(body.shape[1:], bool)
    for centre, radii in organ.parts:
        relative = (body - (np.array(centre) + shift)[:, None, None, None]) / (scale * np.array(radii))[:, None, None, None]
        mask |= (relative**2).sum(0) < 1
    return mask


def _deep_point(body: np.ndarray, parent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A point in the inner half of a structure, in the body frame."""
    points = body[:, parent]
    centre = points.mean(1, keepdims=True)
    distance = np.linalg.norm((points - centre) / points.std(1, keepdims=True), axis=0)
    inner = points[:, distance < np.median(distance)]
    return inner[:, rng.integers(inner.shape[1])]


def _background(body: np.ndarray, masks: dict[str, np.ndarray], spacing: tuple, rng: np.random.Generator) -> np.ndarray:
    """Mean intensities of what is not labelled: air, fat, muscle, bowel, lungs and bones."""
    x, y, z = body
    skin = np.hypot(x / BODY_RADII_MM[0], y / BODY_RADII_MM[1])
    wall = np.hypot(x / (BODY_RADII_MM[0] - FAT_MM), y / (BODY_RADII_MM[1] - FAT_MM))
    hu = np.full(x.shape, float(AIR_HU))
    hu[skin < 1] = FAT_HU
    hu[wall < 1] = MUSCLE_HU
    bowel = ndimage.gaussian_filter(rng.normal(size=x.shape), [11 / s for s in spacing[::-1]])
    hu[wall < 0.92] = FAT_HU
    hu[(wall < 0.9) & (bowel > -0.2 * bowel.std())] = SOFT_HU
    in_fat = np.any([masks[organ.name] for organ in ORGANS if organ.in_fat], axis=0)
    hu[(ndimage.distance_transform_edt(~in_fat, spacing[::-1]) < FAT_PLANE_MM) & (wall < 0.95)] = FAT_HU
    hu[(z > 96) & (wall < 0.86) & (np.abs(x) > 22)] = LUNG_HU
    hu[np.hypot(x, (y - 66) * 0.9) < 23] = BONE_HU
    hu[np.hypot(x, y - 78) < 6] = CORTICAL_HU
    hu[(np.abs(wall - 0.97) < 0.035) & (np.sin(z / 5.5 - y / 14) > 0.35) & (z > -40)] = BONE_HU  # ribs slope to the front
    return hu


def _intensities(
    body: np.ndarray, masks: dict[str, np.ndarray], scanner: Scanner, spacing: tuple, rng: np.random.Generator
) -> np.ndarray:
    hu = _background(body, masks, spacing, rng)
    contrast = rng.uniform(*scanner.contrast)
    for organ in ORGANS:
        if organ.name in masks:
            hu[masks[organ.name]] = SOFT_HU + (organ.hu - SOFT_HU) * contrast + rng.normal(0, 3)
    texture = ndimage.gaussian_filter(rng.normal(size=hu.shape), [6 / s for s in spacing[::-1]])
    hu += 6 * texture / texture.std() * (hu > AIR_HU)
    hu = ndimage.gaussian_filter(hu, [scanner.blur_mm / s for s in spacing[::-1]])
    hu += rng.normal(0, scanner.noise_hu, hu.shape)
    return np.clip(np.round(hu), -1024, 3000).astype(np.int16)
