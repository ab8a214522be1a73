"""LowerStage: the label maps that a cascade's higher stage reads beside the images, checked to be of its classes.

nnU-Net makes a channel of each of the model's values in them. A class that is missing there, or has another value, would be
taken for background or for another class, and nothing would tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
from nnunetv2_cdpd.datasets.predictions import existing_folder
from nnunetv2_cdpd.datasets.roles import SETTINGS_FILE
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.outputs import made_by
from nnunetv2_cdpd.jobs import digest
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.jobs.shapes import OBJECT, read_shaped

_NAMED = 3  # of the classes that differ


@dataclass(frozen=True)
class LowerStage:
    """A folder of predictions.

    name: Configuration that predicts them, as 3d_lowres.
    made_by: Digest of how `cdpd predict` made them; None: it did not.
    note: What the user should know of them, in a line; None: nothing.
    """

    folder: Path
    name: str
    made_by: str | None = None
    note: str | None = None

    @classmethod
    def of(cls, folder: Path | None, name: str | None, annotation: Annotation) -> "LowerStage | None":
        """The lower stage of a model; None: it is no cascade.

        Args:
            folder: With the predictions; None: there is none.
            name: Configuration of the lower stage; None: the model is no cascade.
            annotation: Of the model.

        Raises:
            UserError: A cascade lacks the folder, another model has one, there is no such folder, or its label maps are of other
                classes or values than the model's.
        """
        if name is None and folder is not None:
            raise UserError(
                "argument previous_stage: this model is no cascade and reads no predictions of a lower stage; leave it out"
            )
        if name is None:
            return None
        if folder is None:
            raise UserError(f"this model is a cascade; give the predictions of {name} as argument previous_stage")
        settings_file = existing_folder(folder) / SETTINGS_FILE
        settings = None
        if settings_file.exists():
            settings = read_shaped(settings_file, OBJECT, f"predict {name} again, into another folder")
        note = _checked(folder, name, annotation, settings or {})
        return cls(folder, name, None if settings is None else digest(made_by(settings)), note)

    @property
    def settings(self) -> dict[str, Any]:
        """What predictions depend on, JSON-able."""
        return {"previous_stage": {"folder": str(real_path(self.folder)), "made_by": self.made_by}}

    def label_map(self, file_name: str) -> Path:
        """That of a case.

        Raises:
            UserError: There is none.
        """
        path = self.folder / file_name
        if not path.is_file():
            raise UserError(f"{path}: missing; predict {self.name} first")
        return path


def _checked(folder: Path, name: str, annotation: Annotation, settings: Mapping[str, Any]) -> str | None:
    """Raise UserError unless a folder's label maps have the model's classes; a note where nothing tells of them."""
    chosen = [key for key in ("classes", "task") if settings.get(key)]
    words = " and ".join(f"argument {key}" for key in chosen)
    of_chosen = (
        f"{folder / SETTINGS_FILE}: these predictions are of chosen classes only ({words}), and this model reads all of its "
        f"classes from them; predict {name} without {words}, into another folder"
    )
    path = folder / FILE_NAME
    if not path.exists():
        if chosen:
            raise UserError(of_chosen)
        return f"note: {folder}: no {FILE_NAME} that tells what the values are, which are taken for those of this model"
    found, expected = (dict(zip(of.classes, of.values)) for of in (read_dataset_json(path).annotation, annotation))
    if found == expected:
        return None
    if chosen and found.items() <= expected.items():
        raise UserError(of_chosen)
    raise UserError(
        f"{path}: these predictions are of other classes than the model ({_difference(found, expected)}); predict {name} by a "
        "model of the same dataset, or give another folder as argument previous_stage"
    )


def _difference(found: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """In a few words, between two maps of class -> value that differ."""
    missing, more = ([name for name in one if name not in other] for one, other in ((expected, found), (found, expected)))
    moved = [f"{name} is {found[name]}, not {value}" for name, value in expected.items() if found.get(name, value) != value]
    told = [f"no {listed(missing, _NAMED)}"] if missing else []
    told += [f"{listed(more, _NAMED)} in addition"] if more else []
    return "; ".join([*told, *([listed(moved, _NAMED)] if moved else [])])
