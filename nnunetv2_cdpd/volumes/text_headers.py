"""Headers that are text, NRRD's and MetaImage's: refused where ITK takes for 1 mm what they leave out, or for mm what is none."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, check_not_sheared
from nnunetv2_cdpd.volumes.whole import text_header

# Entries of a header that give the size of a voxel, its place, and the unit of both.
_SIZES = {"nrrd": ("spacings", "space directions"), "meta": ("ElementSpacing", "ElementSize")}
_PLACES = {
    "nrrd": ("space origin", "axis mins"),
    "meta": ("Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation"),
}
_UNITS = {"nrrd": ("space units", "units"), "meta": ("DistanceUnits",)}
_KIND = {".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "meta", ".mhd": "meta"}
_EXAMPLE = {"nrrd": "spacings: 0.8 0.8 5", "meta": "ElementSpacing = 0.8 0.8 5"}
_OTHER_UNITS = frozenset(
    "m meter meters metre metres cm centimeter centimeters nm um \u00b5m \u03bcm micron microns inch".split()
)


def check_text_header(path: Path, header: sitk.ImageFileReader) -> None:
    """Check what the header of an image says of its geometry; formats whose header is no text pass.

    Args:
        header: That ITK has read of it.

    Raises:
        UserError: A volume without a voxel size along each axis, numbers that are none, another unit than mm, or a sheared grid.
    """
    kind, dimension = _KIND.get(path.suffix.lower()), header.GetDimension()
    if kind is None or dimension < 3:
        return
    lines = re.findall(r"^([\w ]+?) *[:=] *(.*?)\r?$", text_header(path), re.MULTILINE)
    entries = {key.lower(): value.strip() for key, value in lines}
    said = {key: entries[key.lower()] for key in _SIZES[kind] if key.lower() in entries}
    sizes = [size for value in said.values() for size in _numbers(value)]
    if len(sizes) < 3 or not all(size and math.isfinite(size) for size in sizes):
        told = " and ".join(f"`{key}` {text}" for key, text in said.items()) or f"no {' or '.join(_SIZES[kind])}"
        raise UserError(
            f"{path}: its header does not give the size of a voxel along each axis ({told}), and what is missing would be read "
            f"as 1 mm; write `{_EXAMPLE[kind]}` there, in mm"
        )
    for key in (key for key in _PLACES[kind] if key.lower() in entries):
        value = entries[key.lower()]
        if not all(map(math.isfinite, _numbers(value))):
            raise UserError(f"{path}: `{key}` in its header holds what is no number ({value}); mend it there")
    _check_unit(path, kind, entries)
    check_not_sheared(Grid.of_image(header), path)


def _check_unit(path: Path, kind: str, entries: Mapping[str, str]) -> None:
    for key in (key for key in _UNITS[kind] if key.lower() in entries):
        others = [unit for unit in re.findall(r"[^\s\"]+", entries[key.lower()]) if unit.lower() in _OTHER_UNITS]
        if others:
            raise UserError(f"{path}: its header counts in {others[0]} (`{key}`), which would be read as mm; write it anew in mm")


def _numbers(value: str) -> list[float]:
    """The numbers of an entry: of a vector its length, of `none`, an axis of no place, none; nan of what is no number."""
    vectors = re.findall(r"\(([^)]*)\)", value)
    if vectors:
        return [math.hypot(*map(_number, re.split(r"[\s,]+", vector.strip()))) for vector in vectors]
    return [_number(text) for text in value.split()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
