"""Derived objects: what a segmentation and a structure set have in common: of whom, of which slices, made by what.

Patient and study are those of the series that was segmented, element by element as they stand there, and of nothing else.
"""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.dicom.header import Slice
from nnunetv2_cdpd.volumes.dicom.series import read_series
from nnunetv2_cdpd.volumes.dicom.source_slices import SourceSlices

LONG_STRING = 64  # letters that DICOM allows in most texts
_MOST_SERIES_NUMBER = 2**31 - 1
_UTF8 = "ISO_IR 192"
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
# The elements of the modules Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study; first those
# that an object must have, if only empty.
_REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_OPTIONAL = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "PatientBirthTime", "OtherPatientIDsSequence",
    "OtherPatientIDs", "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "StudyDescription", "IssuerOfAccessionNumberSequence",
    "PhysiciansOfRecord", "ReferencedStudySequence", "ProcedureCodeSequence", "AdmittingDiagnosesDescription", "PatientAge",
    "PatientSize", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies", "PregnancyStatus", "SmokingStatus",
    "PatientSexNeutered", "AdmissionID",
)  # fmt: skip
_OF_SOURCE = ("Modality", "SeriesInstanceUID", "SeriesNumber", "PositionReferenceIndicator", *LOSSY)
_PRIVATE = "99"  # begins the names of coding schemes that are nobody's standard
_THE_SAME = ("StudyInstanceUID", "PatientID")  # in all files of a series

Coded = tuple[str, str, str]  # value, scheme and meaning


class Algorithm(NamedTuple):
    """What made a segmentation.

    name: Of the program.
    version: Of it.
    model: Which model it ran.
    weights: Digest of that.
    """

    name: str
    version: str
    model: str
    weights: str


@dataclass(frozen=True)
class Segment:
    """A class of a label map.

    value: Of its voxels.
    values: Also those of what lies in it.
    name: For people, unique.
    category, kind, side, region, region_side: What it is, as DICOM codes it.
    colour: "#rrggbb".
    """

    value: int
    values: tuple[int, ...]
    name: str
    category: Coded
    kind: Coded
    side: Coded | None
    region: Coded | None
    region_side: Coded | None
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class SourceSeries:
    """A series that something is derived from.

    slices: Where it lies.
    header: Of the first slice's file: patient, study and series.
    """

    slices: SourceSlices
    header: pydicom.Dataset

    @classmethod
    def read(cls, files: Sequence[Path], modality: str | None = None) -> "SourceSeries":
        """Of the files of a series.

        Raises:
            UserError: As `read_series`; or identifiers that another object must name are missing, twice there, or differ.
        """
        slices = SourceSlices.of(read_series(files, modality))
        slices.frame_of_reference  # noqa: B018 -- raises
        first = slices.slices[0].path
        header = _header(first, ("SpecificCharacterSet", *_REQUIRED, *_OPTIONAL, *_OF_SOURCE))
        for path in dict.fromkeys(entry.path for entry in slices.slices):
            other = _header(path, _THE_SAME)
            if different := [name for name in _THE_SAME if header.get(name) != other.get(name)]:
                raise UserError(f"{first} and {path} are of one series but differ in their {different[0]}; export it again")
        if not header.get("StudyInstanceUID"):
            raise UserError(f"{first}: has no StudyInstanceUID, to which a result belongs; export the series again")
        uids: dict[str, Path] = {}
        for entry in slices.slices:
            if not entry.uid:
                raise UserError(f"{entry.path}: has no SOPInstanceUID, by which a result names it; export the series again")
            if (before := uids.setdefault(entry.uid, entry.path)) != entry.path:
                raise UserError(f"{before} and {entry.path}: are two files of one SOPInstanceUID; export the series again")
        return cls(slices, header)

    @property
    def instances(self) -> list[Slice]:
        """A slice of each file."""
        return list({entry.uid: entry for entry in self.slices.slices}.values())

    @cached_property
    def multi_frame(self) -> frozenset[str]:
        """Identifiers of files with several frames, of which a reference names one."""
        return frozenset(entry.uid for entry in self.slices.slices if entry.frame > 0)

    def series_number(self, number: int) -> int:
        """Of a series that is derived from this one: 3 gives 301, 302, ..."""
        with suppress(TypeError, ValueError):
            if 0 < (derived := 100 * int(self.header.get("SeriesNumber")) + number) <= _MOST_SERIES_NUMBER:
                return derived
        return number

    def copy_patient_and_study(self, target: pydicom.Dataset, texts: Iterable[str]) -> None:
        """Give an object the patient and the study of this series.

        They stay encoded as they are. Only where one of the object's own texts is beyond plain letters all are in UTF-8.
        """
        character_set = self.header.get("SpecificCharacterSet") if all(map(str.isascii, texts)) else _UTF8
        if character_set:
            target.SpecificCharacterSet = character_set
        for name in (*_REQUIRED, *_OPTIONAL):
            if name in self.header:
                target[name] = self.header[name]
            elif name in _REQUIRED:
                target.add_new(name, dictionary_VR(name), None)


def long_string(text: str, longest: int = LONG_STRING) -> str:
    """A text as DICOM allows it in an element: no control letters, no backslash, which parts values, and not too long."""
    allowed = "".join("_" if letter == "\\" or not letter.isprintable() else letter for letter in text)
    return " ".join(allowed.split())[:longest].strip() or "_"


def distinct_labels(names: Sequence[str]) -> list[str]:
    """Names as `long_string`s of which no two are the same; what falls together gets a number."""
    labels: list[str] = []
    for name in names:
        plain = long_string(name)
        numbered = (plain if number == 1 else f"{plain[: LONG_STRING - 5]} {number}" for number in itertools.count(1))
        labels.append(next(label for label in numbered if label not in labels))
    return labels


def check_values(labels: np.ndarray, segments: Sequence[Segment]) -> None:
    """Raise ValueError if a label map holds a value that no segment has; it would be lost."""
    found = {value for each in labels for value in np.flatnonzero(np.bincount(each.ravel())).tolist()}
    if others := sorted(found - {0, *(segment.value for segment in segments)}):
        raise ValueError(f"value {others[0]} of the label map is in no segment")


def add_own_scheme(target: pydicom.Dataset, segments: Sequence[Segment], by: Algorithm) -> None:
    """Say whose a coding scheme is that is not of the standard, where one is used."""
    target.CodingSchemeIdentificationSequence = []
    for scheme in sorted({segment.kind[1] for segment in segments if segment.kind[1].startswith(_PRIVATE)}):
        item = pydicom.Dataset()
        item.CodingSchemeDesignator, item.CodingSchemeName = scheme, f"Classes of models of {by.name}"
        item.CodingSchemeResponsibleOrganization = by.name
        target.CodingSchemeIdentificationSequence.append(item)
    if not target.CodingSchemeIdentificationSequence:
        del target.CodingSchemeIdentificationSequence


def code_item(code: Coded) -> pydicom.Dataset:
    """An item of a sequence of codes."""
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[0], code[1], long_string(code[2])
    return item


def save_object(dataset: pydicom.Dataset, path: Path) -> None:
    """Write an object beside and rename it.

    Raises:
        UserError: The disk is full, or the like.
    """
    with written_beside(path) as beside:
        try:
            dataset.save_as(beside, enforce_file_format=True)
        except OSError as error:  # pydicom's says in which element, and no more of the file
            raise UserError(f"{path}: cannot be written whole; is the disk full? ({reason(error)})") from error


def _header(path: Path, names: Sequence[str]) -> pydicom.Dataset:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(names))
        for element in header.iterall():  # decoded now, while the file is known
            _ = element.value
    except Exception as error:  # whatever an element that is none raises
        raise UserError(f"{path}: its patient and study cannot be read ({reason(error)}); export the series again") from error
    return header
