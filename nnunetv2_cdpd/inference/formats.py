"""Formats of a prediction's label map: the model's own, and those of DICOM, which lie on the slices of a DICOM series."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_cdpd.errors import UserError

if TYPE_CHECKING:
    from nnunetv2_cdpd.inference.inputs import Case

NIFTI = "nifti"  # what the model's dataset.json says: mostly .nii.gz
DICOM_SEG, DICOM_LABELMAP, RTSTRUCT = "dicom-seg", "dicom-labelmap", "rtstruct"
DICOM_ENDINGS = {DICOM_SEG: "_seg.dcm", DICOM_LABELMAP: "_labelmap.dcm", RTSTRUCT: "_rtstruct.dcm"}
FORMATS = (NIFTI, *DICOM_ENDINGS)


def check_formats(formats: Collection[str], one_file_per_class: bool = False) -> None:
    """Raise UserError unless formats are known, what writes them is installed, and there is one for masks if they are wanted."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"argument formats {name}: no such format; there are {', '.join(FORMATS)}")
    if not formats:
        raise UserError(f"argument formats: none; give some of {', '.join(FORMATS)}")
    if one_file_per_class and NIFTI not in formats:
        raise UserError(f"argument one_file_per_class: masks are of format {NIFTI}, which argument formats leaves out; add it")
    if not {DICOM_SEG, DICOM_LABELMAP}.isdisjoint(formats):
        from nnunetv2_cdpd.volumes.dicom.write_segmentation import check_highdicom

        check_highdicom()


def check_are_dicom(formats: Iterable[str], cases: "Iterable[Case]") -> None:
    """Raise UserError if a format of DICOM is wanted of a case that is no DICOM series."""
    of_dicom = [name for name in formats if name in DICOM_ENDINGS]
    for case in cases if of_dicom else ():
        if not case.is_dicom:
            raise UserError(
                f"{case.files[0]}: is no DICOM series, of which alone there is patient, study and slices for {of_dicom[0]}; give "
                f"the series, or {NIFTI} as argument formats"
            )


def ending_of(output: Path, output_format: str, endings: Iterable[str]) -> str | None:
    """The ending that a file of a format must have and has; None: it has another one.

    Args:
        endings: Of files that the model's writer writes.
    """
    allowed = [".dcm"] if output_format in DICOM_ENDINGS else endings
    return next((ending for ending in allowed if output.name.lower().endswith(ending)), None)
