"""Files of images and label maps by their names, and those among them that a command does not take."""

from collections.abc import Iterable
from pathlib import Path

from nnunetv2_cdpd.errors import listed

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl")  # that SimpleITK reads
_PICTURE_ENDINGS = (".tif", ".tiff", ".png", ".bmp", ".jpg", ".jpeg")
_PACKED_ENDINGS = (".nii.bz2", ".nii.zip", ".gipl.gz", ".mgz", ".mgh", ".hdr", ".dcm", ".ima")  # that nobody here takes


def is_image_file(name: str) -> bool:
    """Whether a file is named as an image or a label map, whatever the case of its letters."""
    return name.lower().endswith((*VOLUME_ENDINGS, *_PICTURE_ENDINGS, *_PACKED_ENDINGS)) and not name.startswith(".")


def image_files(folder: Path) -> list[str]:
    """Names of the files of images and label maps in a folder; none where there is no folder."""
    return (
        sorted(path.name for path in folder.iterdir() if is_image_file(path.name) and path.is_file()) if folder.is_dir() else []
    )


def not_taken(folder: Path, names: Iterable[str], why: str) -> list[str]:
    """A line that names files of a folder which are passed over; none where there are none."""
    names = list(names)
    return [f"{folder}: not taken, {why}: {listed(names)}"] if names else []


def of_another_ending(folder: Path, ending: str) -> list[str]:
    """A line that names the images and label maps of a folder whose names do not end as those that are taken."""
    names = [name for name in image_files(folder) if not name.endswith(ending)]
    return not_taken(folder, names, f"because nnU-Net takes what ends in {ending}, letter by letter")
