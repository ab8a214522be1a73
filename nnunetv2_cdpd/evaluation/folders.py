"""LabelledFolder: label maps with the dataset.json that says what they mean, and the cases that two folders share."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson, dataset_json_of, read_dataset_json
from nnunetv2_cdpd.datasets.predictions import NEEDED, existing_folder, identifiers
from nnunetv2_cdpd.datasets.roles import Role, is_of_raw_dataset, role_of
from nnunetv2_cdpd.datasets.volume_files import of_another_ending
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.volumes.dicom.label_files import is_label_file

_LOOKED_AT = 1000  # files of a folder without dataset.json, to tell why there is none
FULLY_ANNOTATED = "fully annotated"  # source of the cases that no source of the dataset.json knows


@dataclass(frozen=True)
class LabelledFolder:
    """Label maps of cases.

    annotation: By which they are scored: that of the dataset.json, and what the user added.
    nested: What lies in what in it, though the dataset.json does not say so, see `nesting`.
    """

    folder: Path
    dataset_json: DatasetJson
    annotation: Annotation
    nested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_references(
        cls, folder: Path, dataset_json: str | int | Path | None = None, fully_annotated: bool = False
    ) -> "LabelledFolder":
        """References.

        Args:
            dataset_json: An id, name or folder of a raw dataset, or a file; None: the one in the folder or in the one above.
            fully_annotated: One source more, last, that annotates every class, for cases of no source.

        Raises:
            UserError: There is no dataset.json, or it is damaged.
        """
        found = dataset_json_of(_near(existing_folder(folder)) if dataset_json is None else dataset_json, NEEDED)
        annotation = found.annotation
        only_source = annotation.case_source is None and len(annotation.sources) == 1  # that of every case
        if fully_annotated and not only_source:
            sources = (*annotation.sources, Source(FULLY_ANNOTATED, annotation.classes))
            annotation = replace(annotation, sources=sources, case_source=annotation.case_source or {})
        return cls(folder, found, annotation)

    @classmethod
    def of_predictions(cls, folder: Path, reference: "LabelledFolder") -> "LabelledFolder":
        """Predictions, whose labels are those of the dataset.json beside them, else of the references.

        Label maps of a raw dataset, as those that DICOM predictions become, have theirs in the folder above.
        """
        path = (folder.parent if is_of_raw_dataset(folder) else folder) / FILE_NAME
        if not path.is_file():
            return replace(reference, folder=folder)
        found = read_dataset_json(path, NEEDED)
        return cls(folder, found, found.annotation)

    def source_index(self, case: str) -> int:
        """Index of a case's source.

        Raises:
            UserError: No source is told.
        """
        annotation = self.annotation
        if annotation.case_source is None or case in annotation.case_source:
            return annotation.source_index(case)
        if annotation.sources[-1].name == FULLY_ANNOTATED:
            return len(annotation.sources) - 1
        raise UserError(
            f"case {case!r} is in no source of {self.dataset_json.path}; give the one that lists it with argument dataset_json, "
            "or argument fully_annotated if the reference holds every class wherever it occurs"
        )


def check_roles(predictions: Path, references: Path) -> None:
    """Raise UserError if the folders of predictions and references are exchanged or one; nnU-Net takes references first.

    Two folders of references may be compared, and two of predictions.
    """
    if real_path(predictions) == real_path(references):
        raise UserError(f"argument gt_dir {references}: these are the predictions themselves; give the references")
    given = {"pred_dir": (predictions, role_of(predictions)), "gt_dir": (references, role_of(references))}
    for name, (folder, role) in given.items():
        if role is Role.IMAGES and is_of_raw_dataset(folder):  # by name alone, cases may be called scan_0000
            raise UserError(f"argument {name} {folder}: holds images, not label maps; give another folder")
    predicted, there = (role for _, role in given.values())
    if predicted is not there and (predicted is Role.REFERENCES or there is Role.PREDICTIONS):
        known = " and ".join(f"{folder} holds {role.value}" for folder, role in given.values() if role is not None)
        raise UserError(
            f"{known}: are the two folders exchanged? Predictions come first here: argument pred_dir {references} "
            f"argument gt_dir {predictions}; to compare such label maps all the same, copy them alone into a folder"
        )


def cases_to_score(
    predictions: Path,
    references: LabelledFolder,
    *,
    allow_missing: bool,
    known_missing: Collection[str] = (),
    report: Callable[[str], None],
) -> list[str]:
    """Identifiers of the cases with a reference and a prediction.

    Args:
        allow_missing: Go on though references without a prediction remain, or predictions without a reference.
        known_missing: Go on without these in any event.
        report: Called with each note.

    Raises:
        UserError: There is no reference or no prediction, or a case has one of the two only.
    """
    folder, ending = references.folder, references.dataset_json.file_ending
    predicted, there = identifiers(predictions, ending), identifiers(folder, ending)
    if not there:
        raise UserError(
            f"{folder}: no file ends in {ending}, the `file_ending` of {references.dataset_json.path}; give another folder or "
            "argument dataset_json"
        )
    for place in (predictions, folder):
        for line in of_another_ending(place, ending):
            report(f"note: {line}")
    of_prediction, of_reference = set(predicted), set(there)
    common = [case for case in there if case in of_prediction]
    if not common:
        raise UserError(f"{predictions}: no prediction {there[0]}{ending} or of another case of {folder}; give another folder")
    missing = [case for case in there if case not in of_prediction]
    extra = [case for case in predicted if case not in of_reference]
    if not allow_missing and (lacking := [case for case in missing if case not in known_missing]):
        raise UserError(
            f"{predictions}: {len(lacking)} of {len(there)} cases have no prediction: {listed(lacking)}; predict them, or give "
            "argument allow_missing to score the others"
        )
    if not allow_missing and (lacking := [case for case in extra if case not in known_missing]):
        raise UserError(
            f"{folder}: {len(lacking)} of {len(predicted)} predictions have no reference: {listed(lacking)}; add these, or give "
            "argument allow_missing to score the others"
        )
    if missing:
        report(f"note: {len(missing)} of {len(there)} cases have no prediction and are not scored: {listed(missing)}")
    if extra:
        report(f"note: {len(extra)} predictions have no reference and are not scored: {listed(extra)}")
    return common


def _near(folder: Path) -> Path:
    """The dataset.json in a folder or in the one above, where a raw or a preprocessed dataset has its own."""
    for path in (folder / FILE_NAME, folder.parent / FILE_NAME):
        if path.is_file():
            return path
    if _holds_labels_of_dicom(folder):
        raise UserError(
            f"{folder}: holds structure sets or segmentations; give argument spec, the YAML that names their structures "
            "(docs/conversion.md), and the folder in which the image series lie too, whose slices tell the grid"
        )
    raise UserError(f"{folder}: no dataset.json here or in the folder above; give it with argument dataset_json")


def _holds_labels_of_dicom(folder: Path) -> bool:
    for path in islice((path for path in folder.rglob("*") if path.is_file()), _LOOKED_AT):
        with suppress(UserError):  # a damaged one is no reason for another message
            if is_label_file(path):
                return True
    return False
