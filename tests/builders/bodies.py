"""Made-up bodies in CTs: a trunk of changing cross-section with a spine, lungs and a pelvis, and organs whose place is known."""

import json

import numpy as np
import SimpleITK as sitk

SPACING = (8.0, 8.0, 8.0)  # mm, array order
ORGANS = {"liver": (300.0, 0.0, -48.0), "bladder": (100.0, -32.0, 0.0), "heart": (420.0, -16.0, 32.0)}  # mm: height, depth, side
RADIUS = 24.0  # mm
LENGTH = 600.0  # mm of the body
_SHAPE = (28, 32)  # depth, side


def made_up_body(start, stop, seed, size=1.0, shift=(0.0, 0.0)):
    """A CT from one height of the body to another, and a label map with 1, 2, 3 at the organs.

    Args:
        start, stop: mm.
        size: Factor of the trunk's width and depth.
        shift: mm towards back and left, of the body within the image.
    """
    random = np.random.default_rng(seed)
    heights = np.arange(start, stop, SPACING[0])
    depth, side = ((np.arange(n) - (n - 1) / 2) * mm - by for n, mm, by in zip(_SHAPE, SPACING[1:], shift))
    h, d, s = np.meshgrid(heights, depth, side, indexing="ij")
    width = size * (80 + 20 * np.cos(h / 90) + 10 * h / LENGTH)
    inside = (s / width) ** 2 + (d / (0.7 * width)) ** 2 < 1
    image = np.where(inside, 40.0, -1000.0)
    image[inside & ((s / width) ** 2 + (d / (0.7 * width)) ** 2 > 0.7)] = -100  # fat, below the skin
    image[inside & (h > 360) & (h < 520) & (np.abs(s) > 20) & (np.abs(s) < 0.7 * width) & (np.abs(d) < 0.4 * width)] = -800
    image[inside & (h < 160) & (np.abs(np.hypot(s, d) - 40) < 10)] = 500  # pelvis
    image[inside & (np.hypot(s, d - 0.4 * width) < 14)] = 400 + 0.3 * h[0, 0, 0]  # spine
    label_map = np.zeros(image.shape, np.uint8)
    for value, place in enumerate(ORGANS.values(), start=1):
        label_map[np.sqrt(sum((axis - at) ** 2 for axis, at in zip((h, d, s), place))) < RADIUS] = value
    return (image + random.normal(0, 10, image.shape)).astype(np.float32), label_map


def body_cases(count, seed=0):
    """Of so many bodies: (image, label map), which begin and end at different heights and differ in size and position."""
    random = np.random.default_rng(seed)
    for index in range(count):
        start, stop = random.uniform(0, 60), random.uniform(500, LENGTH)
        shift = random.uniform(-12, 12, 2)
        yield made_up_body(start, stop, index, random.uniform(0.95, 1.05), shift)


def write_volume(path, array, axes="LPS"):
    """A NIfTI file of a turned array (height, depth, side), whose axes are stored towards these sides."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((-100.0, 50.0, 7.0))
    sitk.WriteImage(sitk.DICOMOrient(image, axes), str(path))


def write_body_dataset(folder, cases, organs=tuple(ORGANS), channel="CT", axes="LPS", names=None):
    """An nnU-Net raw dataset of bodies whose label maps hold some of the organs, maybe by other names."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    values = np.zeros(len(ORGANS) + 1, np.uint8)
    for value, organ in enumerate(organs, start=1):
        values[list(ORGANS).index(organ) + 1] = value
    for index, (image, label_map) in enumerate(cases):
        write_volume(folder / f"imagesTr/{folder.name[-1]}_{index:02d}_0000.nii.gz", image, axes)
        write_volume(folder / f"labelsTr/{folder.name[-1]}_{index:02d}.nii.gz", values[label_map], axes)
    content = {
        "channel_names": {"0": channel},
        "labels": {"background": 0, **{name: value for value, name in enumerate(names or organs, start=1)}},
        "numTraining": index + 1,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder
