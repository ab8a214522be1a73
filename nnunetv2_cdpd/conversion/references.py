"""Label maps to compare, of structure sets and segmentations: references by the declaration of a hospital's export, predictions
by the names of its structures. They stay in the folder of the results, where a second call and `cdpd report` find them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_cdpd.classes import class_key
from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.conversion.layout import files_by_case, find_downloaded_cases
from nnunetv2_cdpd.conversion.run import Conversion, convert_labels
from nnunetv2_cdpd.conversion.summary import summary
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.errors import UserError, by_reason, is_blank, listed
from nnunetv2_cdpd.volumes.dicom.label_files import read_label_object

_ENDING = ".nii.gz"
_DICOM_PREDICTIONS = ("{case}_labelmap.dcm", "{case}_seg.dcm", "{case}_rtstruct.dcm", "{case}.dcm")  # as cdpd predict names them


@dataclass(frozen=True)
class LabelMaps:
    """Where label maps of references and predictions are.

    predictions: A folder for each that was given: the same, or where its segmentations were made label maps.
    failed: Case identifier -> why it has no label map.
    without: Cases that lack a reference or a prediction, and that is told: those of `failed`, and those that were left out.
    """

    references: Path
    predictions: tuple[Path, ...]
    failed: dict[str, str]
    without: frozenset[str]


def label_maps_to_compare(
    dataset: SourceDataset,
    source_folder: Path,
    predictions: Sequence[Path],
    output: Path,
    *,
    allow_missing: bool = False,
    num_processes: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> LabelMaps:
    """Make label maps of what is there as DICOM.

    Args:
        dataset: How the export is laid out and what its structures are called.
        source_folder: The export, images too: their slices tell the grid.
        predictions: Folders of label maps, or of segmentations and structure sets that `cdpd predict` wrote.
        output: Below it the label maps go.
        allow_missing: Go on though some predictions are of no case of the export.

    Raises:
        UserError: The folder is not laid out as declared, no case has a reference, predictions are of both kinds or of no case.
    """
    if not dataset.rois:
        raise UserError(
            f"{dataset.where}: argument spec tells of references that are structure sets or segmentations; add `rois: true`, or "
            "give a folder of label maps without it"
        )
    cases = find_downloaded_cases(dataset, source_folder, report)
    files = [_predicted(dataset, folder) for folder in predictions]
    named = {name for folder, found in zip(predictions, files, strict=True) for name in (*found, *identifiers(folder, _ENDING))}
    dataset = replace(dataset, num_cases=None, prefixed=not named.intersection(case.case for case in cases))
    made = convert_labels(dataset, cases, output / "references", num_processes=num_processes, progress=progress, report=report)
    report(f"references: {summary(made)}")
    if not made.complete:
        raise UserError(f"{source_folder}: no case has a reference; {_first(made)}")
    failed = dict(made.failed)
    folders = []
    for number, (folder, found) in enumerate(zip(predictions, files, strict=True), start=1):
        if not found:
            folders.append(folder)
            continue
        own = [replace(case, label=found[name]) for case in cases if (name := dataset.identifier(case.case)) in found]
        if not own:
            raise UserError(f"{folder}: {min(found)} and the others are of no case of {source_folder}; give another folder")
        if strangers := sorted(found.keys() - {dataset.identifier(case.case) for case in cases}):
            told = (
                f"{folder}: {len(strangers)} of {len(found)} predictions are of no case of {source_folder}: {listed(strangers)}"
            )
            if not allow_missing:
                raise UserError(f"{told}; add these cases, or give argument allow_missing to score the others")
            report(f"note: {told}; they are not scored")
        place = output / ("predictions" if len(predictions) == 1 else f"predictions_{number}")
        converted = convert_labels(
            _as_predicted(dataset, (path for paths in found.values() for path in paths)),
            own,
            place,
            predicted=True,
            num_processes=num_processes,
            progress=progress,
            report=report,
        )
        lost = (
            (case, f"{name} counts as not predicted: {why}")
            for case, structures in converted.lost.items()
            for name, why in structures.items()
        )
        for why, lacking in by_reason(lost):
            report(f"note: {folder}: {listed(lacking)}: {why}")
        failed |= {case: why for case, why in converted.failed.items() if case not in failed}
        if not converted.complete:
            raise UserError(f"{folder}: no prediction can be read; {_first(converted)}")
        folders.append(place / "labelsTr")
    return LabelMaps(output / "references" / "labelsTr", tuple(folders), failed, frozenset({*failed, *made.skipped}))


def _predicted(dataset: SourceDataset, folder: Path) -> dict[str, tuple[Path, ...]]:
    """Case -> its file of DICOM in a folder of predictions; {} where label maps of all of them are there."""
    if not folder.is_dir():
        return {}
    download = Download(replace(dataset, foreign=(), case=r"[^/]+?"), folder)
    cases: dict[tuple[Path, ...], str] = {}
    for case, files in files_by_case(download, _DICOM_PREDICTIONS, "prediction").items():
        cases.setdefault(files, case)  # the last template finds all files once more
    found = {case: files for files, case in cases.items()}
    if not (label_maps := identifiers(folder, _ENDING)):
        return found
    if others := sorted(found.keys() - set(label_maps)):
        raise UserError(
            f"{folder}: holds label maps of some cases and DICOM files of others, {listed(others)}; put one kind into a "
            "folder of its own"
        )
    return {}


def _as_predicted(dataset: SourceDataset, files: Iterable[Path]) -> SourceDataset:
    """What predictions say: structures by the names in any of their files, each wherever it occurs, nested as the references'."""
    names: dict[str, None] = {}
    for path in files:
        with suppress(UserError):  # told when it is converted
            names |= dict.fromkeys(" ".join(name.split()) for name in read_label_object(path).structures.values())
    names = {name: None for name in names if name.isprintable() and not is_blank(name)}
    meant = {class_key(name): name for name in names}
    nested = {class_key(inner): class_key(outer) for inner, outer in dataset.nested.items()}
    return replace(
        dataset,
        values={f"(?-i:{re.escape(name)})": name for name in names},
        nested={meant[inner]: meant[outer] for inner, outer in nested.items() if {inner, outer} <= meant.keys()},
        unions={},
        merged_labels={},
        annotates=tuple(names),
        join_rois=True,
        fill_gaps=0,  # a slice without a contour is one where nothing was predicted
        where="",
    )


def _first(made: Conversion) -> str:
    """Why the first case that has no label map has none."""
    return next((f"{case}: {why}" for case, why in (made.failed | made.skipped).items()), "there is none")
