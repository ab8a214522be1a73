"""Visible: OpenKBP's CTs without the slices that its authors blanked.

They kept a CT where dose was planned and at annotated structures, and blanked the rest with -1024. In 36 % of the slices of the
partial patients (3 % of the complete ones') that leaves nothing but a strip along brainstem and spinal cord, 3 to 16 cm2 in air:
whoever learns from these slices learns the strip, which no other CT has. They lie at both ends of a volume and are cut off,
from label maps too (13 % of the labelled voxels of the partial patients).
"""

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

LEAST_CM2 = 40.0  # of body in a slice; slices of a neck have 100 or more
BODY_HU = -500


def visible_slices(image: sitk.Image) -> slice:
    """From the first to the last slice that shows a body.

    Raises:
        ValueError: None does.
    """
    voxels = (sitk.GetArrayViewFromImage(image) > BODY_HU).sum((1, 2))
    square_cm = np.prod(image.GetSpacing()[:2]) / 100
    shown = np.flatnonzero(voxels * square_cm >= LEAST_CM2)
    if not len(shown):
        raise ValueError("no slice shows a body")
    return slice(int(shown[0]), int(shown[-1]) + 1)


def write_visible(data: Path, patient: str, folder: Path) -> None:
    """Write images/ and labels/ of a patient, cut, unless they are there."""
    image = sitk.ReadImage(str(data / "images" / f"{patient}.nii.gz"))
    kept = visible_slices(image)
    for part in ("labels", "images"):  # the image last: it says that both are there
        path = folder / part / f"{patient}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{os.getpid()}_{path.name}")
        sitk.WriteImage(sitk.ReadImage(str(data / part / path.name))[:, :, kept], str(beside))
        os.replace(beside, path)
