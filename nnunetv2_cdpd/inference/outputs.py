"""Outputs: what a job of predictions writes, and what it leaves alone: images, a lower stage's predictions, foreign files.

A folder says in cdpd_predict.json how the predictions in it were made, and which ones were made otherwise, so that those of
other settings are never taken for those of this job.
"""

import glob
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.roles import NNUNET_SETTINGS_FILE, SETTINGS_FILE
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS, FORMATS, NIFTI
from nnunetv2_cdpd.inference.inputs import Case
from nnunetv2_cdpd.inference.origins import IMAGES, known_origins, of_other_images, origins_of
from nnunetv2_cdpd.inference.prediction import check_masks, mask_names
from nnunetv2_cdpd.jobs import read_json, remove, write_json
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE

_FORMATS = "formats"  # in the settings: of all files that are there
_OTHERWISE = "made_otherwise"  # in the settings: the cases whose predictions are of other settings
# Folders with a file per case, and the tables of all of them: what there is of each class, and how good it is likely to be.
STATISTICS, QUALITY = "statistics", "quality"


@dataclass(frozen=True)
class Outputs:
    """What is written for a case; as the record of a batch, they tell that a case is done, since they appear whole.

    folder: For everything.
    one_file_per_class: CASE/CLASS.nii.gz in place of the label map CASE.nii.gz.
    probabilities: CASE.npz and CASE.pkl too, as nnU-Net's --save_probabilities.
    statistics: statistics/CASE.json, and at the end statistics.json and statistics.csv of all cases in the folder.
    quality: The same of quality.
    formats: Of the label map, some of `FORMATS`: CASE.nii.gz, CASE_seg.dcm, ...
    """

    folder: Path
    file_ending: str
    one_file_per_class: bool = False
    probabilities: bool = False
    statistics: bool = False
    quality: bool = False
    formats: tuple[str, ...] = (NIFTI,)

    @property
    def flags(self) -> dict[str, bool]:
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "file_ending", "formats")}

    def segmentation(self, case: str) -> Path:
        return self.folder / (case if self.one_file_per_class else case + self.file_ending)

    @property
    def dicom_formats(self) -> list[str]:
        return [name for name in DICOM_ENDINGS if name in self.formats]

    def dicom_files(self, case: str) -> dict[str, Path]:
        """Format -> file of a case."""
        return {name: self.folder / (case + DICOM_ENDINGS[name]) for name in self.dicom_formats}

    def paths(self, case: str) -> list[Path]:
        """All that a case leaves; it is done when they exist."""
        paths = [self.segmentation(case)] if NIFTI in self.formats else []
        paths += self.dicom_files(case).values()
        paths += [self.folder / f"{case}.npz", self.folder / f"{case}.pkl"] if self.probabilities else []
        return paths + [self.folder / table / f"{case}.json" for table in self.with_tables]

    @property
    def with_tables(self) -> list[str]:
        """Names of what has a file per case, in a folder of that name, and tables of all cases."""
        return [name for name, wanted in ((STATISTICS, self.statistics), (QUALITY, self.quality)) if wanted]

    def holds(self, name: str, job: Case) -> bool:
        return all(path.exists() for path in self.paths(name))

    def enter(self, name: str, job: Case, result: None) -> None:
        """The files say it."""

    @property
    def tables(self) -> list[Path]:
        """Of all cases."""
        return [path for name in self.with_tables for path in self.tables_of(name)]

    def tables_of(self, name: str) -> tuple[Path, Path]:
        """JSON and CSV of one of `with_tables`."""
        return self.folder / f"{name}.json", self.folder / f"{name}.csv"


def prepare_folder(
    outputs: Outputs,
    cases: Sequence[Case],
    settings: Mapping[str, Any],
    *,
    classes: Collection[str],
    dataset_json: Mapping[str, Any],
    plans: Mapping[str, Any],
    read: Iterable[Path],
    resume: bool,
    alone: bool,
) -> list[str]:
    """Make the folder ready for a job, and write its settings; earlier predictions of these cases by other settings go, and those
    of other images of the same names.

    Predictions of other cases stay; where they are of other settings, that is noted, for a job to come that has these cases.

    Args:
        cases: Of all parts.
        classes: All of the model: a folder of their masks may be replaced.
        dataset_json: That of the predictions; another one that is there is a raw dataset's or a model's.
        plans: Likewise.
        read: Files that the job reads and that must stay as they are.
        resume: Earlier predictions of these cases stay, which takes the same settings.
        alone: No other job shares the folder.

    Returns:
        Cases whose predictions were of other images.

    Raises:
        UserError: An output would take the place of something else, or predictions are there that are not of these settings.
    """
    path = outputs.folder / SETTINGS_FILE
    written = json.loads(json.dumps({**settings, **outputs.flags}))
    before = read_json(path)
    if path.exists() and not (isinstance(before, dict) and outputs.flags.keys() & before.keys()):
        raise UserError(
            f"{path}: cannot be read as JSON of settings; delete it together with the predictions there, or use another folder"
        )
    otherwise = set(_made_otherwise(before))
    flags: dict[str, Any] = {flag: bool((before or {}).get(flag)) for flag in outputs.flags}
    former = outputs if before is None else replace(outputs, formats=_formats_of(before), **flags)
    of_cases = list(dict.fromkeys(file for kind in (former, outputs) for case in cases for file in kind.paths(case.identifier)))
    descriptions = [outputs.folder / name for name in (SETTINGS_FILE, FILE_NAME, PLANS_FILE)]
    _check_places([*of_cases, *outputs.tables, *descriptions], read)
    there = [file for file in of_cases if file.exists()]
    origins = origins_of(cases)
    exchanged = of_other_images(origins, before)
    stale_cases = [case.identifier for case in cases if case.identifier in {*otherwise, *exchanged}]
    left = {case: [file for kind in _all_kinds(outputs) for file in kind.paths(case) if file.exists()] for case in stale_cases}
    left = {case: files for case, files in left.items() if files}
    stale = [file for files in left.values() for file in files]
    names = mask_names(classes).values()
    for folder in (*there, *stale):
        check_masks(folder, names, outputs.file_ending)
    described = outputs.folder / FILE_NAME
    for there_already, content in ((described, dataset_json), (outputs.folder / PLANS_FILE, plans)):
        if before is None and there_already.is_file() and read_json(there_already) != json.loads(json.dumps(content)):
            raise UserError(f"{there_already}: describes something else than these predictions; use another folder")
    if before is None and (outputs.folder / NNUNET_SETTINGS_FILE).is_file():
        raise UserError(f"{outputs.folder}: holds predictions of nnUNetv2_predict ({NNUNET_SETTINGS_FILE}); use another folder")
    new = [*of_cases, *outputs.tables]  # the descriptions are those of these predictions, or there is none
    way_out = f"use another folder, or move it away (no {SETTINGS_FILE} here, which a prediction leaves)"
    check_may_write(new, made_here=before is not None, way_out=way_out, label_maps=True, where=outputs.folder)
    # A flag that an earlier release did not have was not set.
    changed = [key for key in written if before is not None and before.get(key, False if key in flags else None) != written[key]]
    if changed and (resume or (there and not alone)):
        raise UserError(
            f"{path}: the predictions there were made with other settings ({', '.join(changed)}); use the same ones, or "
            "another folder"
        )
    if stale and not alone:
        raise UserError(
            f"{path}: the predictions of {listed(stale_cases)} there were made with other settings, or of other images; predict "
            "these cases by one job first, or use another folder"
        )
    if changed and (others := _cases_in(former) - {case.identifier for case in cases}):
        if described.is_file() and read_json(described) != json.loads(json.dumps(dataset_json)):
            raise UserError(
                f"{described}: also describes the predictions of {listed(sorted(others))}, which were made with other settings "
                f"({', '.join(changed)}); predict these cases too, or use another folder"
            )
        otherwise |= others
    # Else this job, interrupted and resumed, would take them for its own.
    for old in (*(there if changed else ()), *stale, *(former.tables if there and (changed or stale) else ())):
        remove(old)
    if otherwise := otherwise - set(stale_cases) - ({case.identifier for case in cases} if changed else set()):
        written[_OTHERWISE] = sorted(otherwise)
    # No setting of predictions: a further format of the same ones may be asked for; all that may be there must be known.
    written[_FORMATS] = [name for name in FORMATS if name in {*outputs.formats, *former.formats}]
    written[IMAGES] = known_origins(before) | origins
    outputs.folder.mkdir(parents=True, exist_ok=True)
    for name in outputs.with_tables:
        (outputs.folder / name).mkdir(exist_ok=True)
    write_json(path, written)
    return [case for case in exchanged if case in left]


def made_by(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's settings say of how its label maps were made: all but the formats and images, of which more may come."""
    return {key: value for key, value in settings.items() if key not in (_FORMATS, IMAGES)}


def _made_otherwise(settings: Any) -> list[str]:
    """Cases of which a folder's settings say that their predictions are not of these settings."""
    cases = settings.get(_OTHERWISE) if isinstance(settings, dict) else None
    return [case for case in cases if isinstance(case, str)] if isinstance(cases, list) else []


def _formats_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Formats that a folder's settings name; those of before there were several name none."""
    named = settings.get(_FORMATS)
    return tuple(name for name in FORMATS if name in named) if isinstance(named, list) else (NIFTI,)


def _all_kinds(outputs: Outputs) -> list[Outputs]:
    """All that any job may have left for a case in a folder."""
    everything = replace(outputs, probabilities=True, statistics=True, quality=True, formats=FORMATS)
    return [replace(everything, one_file_per_class=masks) for masks in (False, True)]


def _cases_in(outputs: Outputs) -> set[str]:
    """Cases whose label maps, masks or DICOM files are in a folder."""
    ending, found = outputs.file_ending, set()
    for path in outputs.folder.iterdir() if outputs.folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        found |= {path.name[: -len(end)] for end in DICOM_ENDINGS.values() if path.is_file() and path.name.endswith(end)}
        if outputs.one_file_per_class and path.is_dir() and any(path.glob(f"*{glob.escape(ending)}")):
            found.add(path.name)
        elif not outputs.one_file_per_class and path.is_file() and path.name.endswith(ending):
            found.add(path.name[: -len(ending)])
    below = outputs.folder.glob(f"sub-*/**/*{glob.escape(ending)}")  # of a BIDS dataset, named by their places
    return found | {path.relative_to(outputs.folder).as_posix()[: -len(ending)] for path in below}


def _check_places(written: Iterable[Path], read: Iterable[Path]) -> None:
    """Raise UserError if a file or folder that is written is one that is read, or a folder above one."""
    # Of a link both the link and what it leads to must stay.
    places = {place: file for file in read for place in (real_path(file.parent) / file.name, real_path(file))}
    for folder, file in {place.parent: file for place, file in places.items()}.items():
        for above in (folder, *folder.parents):
            places.setdefault(above, file)
    for path in written:
        if (taken := places.get(real_path(path.parent) / path.name)) is not None:
            raise UserError(f"{path}: the prediction would take the place of {taken}, which is read; use another output folder")
