"""place.json: what was learned of a raw dataset, in nnUNet_preprocessed and in model folders; read, it is matched by class names.

nnU-Net's export of a model takes a fixed list of files, so what a prediction needs of it is carried along too (`carried`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.carried import carrier_of, carry, taken_along
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.host import FINGERPRINT_FILE, PLANS_FILE
from nnunetv2_cdpd.jobs import read_json, write_json
from nnunetv2_cdpd.jobs.shapes import (
    NAME,
    check_shape,
    list_of,
    map_of,
    none_or,
    number_within,
    read_shaped,
    record,
    whole_number,
)
from nnunetv2_cdpd.place.body import NUM_FEATURES
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.references import CASES_NEEDED, Reference

PLACE_FILE = "place.json"
_KEY = "cdpd_place"  # in what nnU-Net's export takes along
_VERSION = 1
INTO_MODEL = "cdpd place DATASET -o MODEL_FOLDER"
_MAKE_ANEW = f"remove it and make it anew: cdpd place DATASET, or {INTO_MODEL}"
_PUT_BESIDE = f"put a {PLACE_FILE} beside it, which goes first: {INTO_MODEL}"  # where it stands in another file
_MISSING = f"make it: cdpd place DATASET; a model folder has it if it was there when the training began, or by `{INTO_MODEL}`"
# Far more than any body or feature has, and far less than what overflows when it is squared.
_MOST = 1e12
_NUMBER, _POSITIVE = number_within(-_MOST, _MOST), number_within(1 / _MOST, _MOST)
_OR_NULL = none_or(_NUMBER)
_ENDS = list_of(list_of(_OR_NULL, 2, 2))
_SPREAD = none_or(_POSITIVE)
_SPREADS = list_of(list_of(_SPREAD, 2, 2))
_AXIS = record({"positions": _ENDS, "spreads": _SPREADS, "beyond": _ENDS, "image_spread": _SPREAD})
_FEATURES = list_of(_NUMBER, NUM_FEATURES, NUM_FEATURES)
_REFERENCE = none_or(list_of(_NUMBER, 2, 2))
_SHAPE = record(
    {
        "version": whole_number(),
        "dataset": NAME,
        "place": record(
            {
                "classes": list_of(NAME, 1),
                "cases": list_of(whole_number()),
                "heights": none_or(
                    record(
                        {
                            "means": _FEATURES,
                            "scales": list_of(_POSITIVE, NUM_FEATURES, NUM_FEATURES),
                            "coefficients": _FEATURES,
                            "lows": _FEATURES,
                            "highs": _FEATURES,
                            "most_disagreement": _NUMBER,
                        }
                    )
                ),
                "extents": list_of(list_of(_OR_NULL, 2, 2), 2, 2),
                "axes": list_of(_AXIS, 3, 3),
            }
        ),
        "cases": map_of(list_of(_REFERENCE, 3, 3), "an object, which gives each case its reference point"),
    }
)


@dataclass(frozen=True)
class LearnedPlace:
    """What place.json holds.

    dataset: Name of the raw dataset.
    cases: Case -> its reference point along each axis, None: not known.
    """

    dataset: str
    model: PlaceModel
    cases: Mapping[str, tuple[Reference | None, ...]]


def preprocessed_file(dataset_name: str) -> Path:
    """Where place.json of a dataset belongs.

    Raises:
        UserError: nnUNet_preprocessed is not set.
    """
    folder = folder_of_nnunet(nnUNet_preprocessed)
    if folder is None:
        raise UserError(f"nnUNet_preprocessed is not set, so there is no place for {PLACE_FILE}; set it, or give argument output")
    return folder / dataset_name / PLACE_FILE


def write_place(place: LearnedPlace, path: Path) -> None:
    """Write what was learned."""
    cases = {
        case: [None if its is None else [its.position, its.spread] for its in references]
        for case, references in place.cases.items()
    }
    content = {
        "version": _VERSION,
        "dataset": place.dataset,
        "place": place.model.as_json(),
        "cases": cases,
    }
    write_json(path, content)


def is_place_file(path: Path) -> bool:
    """Whether a file is one that `write_place` wrote, of whatever release."""
    content = read_json(path)
    return isinstance(content, dict) and {"version", "place", "cases"} <= content.keys()


def read_place(given: Path, annotation: Annotation) -> LearnedPlace:
    """What was learned of a dataset, of the classes of another: of those that it lacks nothing is known.

    Args:
        given: The file, or a folder that holds it, such as a model folder, also one that was installed from nnU-Net's export.
        annotation: Of the label maps to which it is to be applied.

    Raises:
        UserError: There is none, it is damaged or of another release, or has none of the classes.
    """
    content, path, way_out = _content_of(given)
    if content["version"] != _VERSION:
        raise UserError(f"{path}: of another release; {way_out}")
    model = PlaceModel.of_json(content["place"])
    counts = {len(model.cases), *(len(ends) for axis in model.axes for ends in _ends_of(axis))}
    if counts != {len(model.classes)}:
        raise UserError(f"{path}: its numbers do not belong together; {way_out}")
    if set(model.classes).isdisjoint(annotation.classes):
        raise UserError(
            f"{path}: is of {content['dataset']} with the classes {listed(list(model.classes), 4)}, none of which is in "
            f"{annotation.where}; give that of the same dataset"
        )
    cases = {case: tuple(map(_reference_of, references)) for case, references in content["cases"].items()}
    return LearnedPlace(content["dataset"], model.of_classes(annotation.classes), cases)


def placed_classes(path: Path) -> list[str]:
    """Classes of which a place.json says something, or what a model folder took along in its stead.

    Raises:
        UserError: There is none, or it is damaged.
    """
    place = _content_of(path.parent if is_of_model(path) else path)[0]["place"]
    return [name for name, count in zip(place["classes"], place["cases"]) if count >= CASES_NEEDED]


def has_place(folder: Path) -> bool:
    """Whether a model folder holds something of where classes lie, whole or not.

    Raises:
        UserError: It has no place.json, and what exports take along is damaged, so that nobody knows.
    """
    return os.path.lexists(folder / PLACE_FILE) or _KEY in carrier_of(folder)


def is_carried(folder: Path) -> bool:
    """Whether nnU-Net's export of a model folder takes along what its place.json says; True where it has none."""
    path = folder / PLACE_FILE
    return not path.exists() or taken_along(folder, _KEY) == (_without_cases(path), folder / FINGERPRINT_FILE)


def copy_place(source: Path, folder: Path, annotation: Annotation) -> list[str]:
    """Have place.json, where there is one, in a model folder too, and in what nnU-Net's export of it takes along.

    Args:
        source: The folder that holds it, such as a model folder, also one that was installed from nnU-Net's export.
        annotation: Of the model.

    Returns:
        What should be known of it, a line each.

    Raises:
        UserError: As `read_place`, or what exports take along is damaged; the model folder stays as it is.
    """
    if not has_place(source):
        return []
    read_place(source, annotation)
    carrier_of(folder)
    content, path, _ = _content_of(source)
    own = folder / PLACE_FILE
    told = []
    if own.is_file() and read_json(own) != content:
        told.append(f"{own}: was another one; {path} has taken its place")
    if lacking := [name for name in annotation.classes if name not in content["place"]["classes"]]:
        told.append(
            f"{own}: knows nothing of where {listed(lacking)} can lie; `{INTO_MODEL}` learns it from a dataset that has all"
        )
    write_json(own, content)
    carry_place(folder)
    return told


def carry_place(folder: Path) -> None:
    """Put what a prediction needs of a model folder's place.json into what nnU-Net's export takes along: no case."""
    carry(folder, _KEY, _without_cases(folder / PLACE_FILE))


def is_of_model(path: Path) -> bool:
    """Whether a file is a model folder's place.json, there or to be; folders of predictions have plans and classes too."""
    folder = path.parent
    described = all((folder / name).is_file() for name in (PLANS_FILE, FILE_NAME))
    return path.name == PLACE_FILE and described and ((folder / FINGERPRINT_FILE).is_file() or any(folder.glob("fold_*")))


def check_is_of_model(path: Path, annotation: Annotation) -> list[str]:
    """Classes of a model, of which a file is or is to be the place.json, that the annotation lacks; none of other files.

    Raises:
        UserError: The model shares no class with it, or could not carry it.
    """
    if not is_of_model(path):
        return []
    its = read_dataset_json(path.parent / FILE_NAME).annotation.classes
    lacking = [name for name in its if name not in annotation.classes]
    if len(lacking) == len(its):
        raise UserError(f"{path.parent}: a model of other classes than those of {annotation.where}; give its dataset")
    carrier_of(path.parent)
    return lacking


def _without_cases(path: Path) -> dict[str, Any]:
    return {**read_shaped(path, _SHAPE, _MAKE_ANEW), "cases": {}}


def _content_of(given: Path) -> tuple[dict[str, Any], Path, str]:
    """Content of a place.json, the file in which it stands, and the way out where that is no good."""
    path = given / PLACE_FILE if given.is_dir() else given
    if given.is_dir() and not os.path.lexists(path) and (taken := taken_along(given, _KEY)) is not None:
        check_shape(taken[0], _SHAPE, taken[1], _PUT_BESIDE, _KEY)
        return *taken, _PUT_BESIDE
    return read_shaped(path, _SHAPE, _MAKE_ANEW, _MISSING), path, _MAKE_ANEW


def _ends_of(axis: Any) -> tuple[Any, ...]:
    return axis.positions, axis.spreads, axis.beyond


def _reference_of(content: Any) -> Reference | None:
    return None if content is None else Reference(float(content[0]), float(content[1]))
