"""The file of a calibration in a model folder, and in what nnU-Net's export of it takes along; read, it must be of this model."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.carried import carrier_of, carry, taken_along
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.decodings import HALF
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.jobs import write_json
from nnunetv2_cdpd.jobs.shapes import (
    FLAG,
    NAME,
    NUMBER,
    OBJECT,
    POSITIVE,
    check_shape,
    list_of,
    map_of,
    none_or,
    number_within,
    read_shaped,
    record,
    whole_number,
)
from nnunetv2_cdpd.place.files import PLACE_FILE
from nnunetv2_cdpd.quality.collect import PathSettings
from nnunetv2_cdpd.quality.facts import VERSION
from nnunetv2_cdpd.quality.features import FEATURES
from nnunetv2_cdpd.quality.model import QualityModel
from nnunetv2_cdpd.quality.unseen import check_has_unseen_cases

QUALITY_FILE = "cdpd_quality.json"
_KEY = "cdpd_quality"
_MAKE_ANEW = "make it anew: cdpd accumulate DATASET -c CONFIGURATION --quality"
_NUMBER = number_within(-1e6, 1e6)  # so that none of what is computed of them grows beyond all bounds
_LOGARITHM = number_within(-50, 50)
_SHARE = number_within(0, 1)
_PER_CLASS = map_of(_NUMBER, "an object of numbers")
_PER_FEATURE = list_of(_NUMBER, len(FEATURES), len(FEATURES))
_DIAGRAM = record({"probability": list_of(_SHARE), "share": list_of(_SHARE), "voxels": list_of(whole_number())})
_MODEL = record(
    {
        "version": whole_number(),
        "features": list_of(NAME),
        "classes": list_of(NAME, 1),
        "folds": map_of(NAME, "an object of digests", least=1),
        "settings": OBJECT,
        "cases": whole_number(),
        "flat": FLAG,
        "class_cases": map_of(whole_number(), "an object of whole numbers"),
        "usual": _PER_CLASS,
        "anatomy": map_of(
            record(
                {
                    "cases": whole_number(),
                    "log_volume": _LOGARITHM,
                    "log_volume_sd": POSITIVE,
                    "place_mm": none_or(list_of(_NUMBER, 3, 3)),
                    "place_sd_mm": POSITIVE,
                    "intensity": NUMBER,
                    "intensity_sd": POSITIVE,
                }
            ),
            "an object of classes",
        ),
        "regression": record(
            {
                "means": _PER_FEATURE,
                "scales": list_of(POSITIVE, len(FEATURES), len(FEATURES)),
                "slopes": _PER_FEATURE,
                "intercept": _NUMBER,
                "effects": list_of(_NUMBER),
            }
        ),
        "absent": record({"priors": _PER_CLASS, "usual": _PER_CLASS, "slope": _NUMBER}),
        "intervals": record(
            {
                "biases": map_of(_LOGARITHM, "an object of numbers"),
                "width": none_or(number_within(0, 1e6)),
                "spurious_below": _NUMBER,
            }
        ),
        "flags": record(
            {
                "worst_score": _SHARE,
                "threshold": _SHARE,
                "thresholds": map_of(_SHARE, "an object of numbers"),
                "caught": _SHARE,
                "false_alarms": _SHARE,
            }
        ),
        "platt": map_of(record({"scale": POSITIVE, "shift": _NUMBER}), "an object of classes"),
        "found": map_of(none_or(_NUMBER), "an object of numbers"),
        "reliability": map_of(list_of(_DIAGRAM, 2, 2), "an object of classes"),
    }
)


def write_quality_model(model: QualityModel, folder: Path) -> Path:
    """Write the calibration of a model folder; returns the file."""
    content = {"version": VERSION, "features": list(FEATURES), **model.as_json()}
    path = folder / QUALITY_FILE
    carry(folder, _KEY, content)
    write_json(path, content)
    return path


def check_can_be_written(folder: Path) -> None:
    """Raise UserError where a calibration could not be written into a model folder; to be asked before the work."""
    check_has_unseen_cases(folder)
    carrier_of(folder)


def read_quality_model(folder: Path) -> tuple[QualityModel, Path]:
    """The calibration of a model folder, and the file that it stands in.

    Raises:
        UserError: There is none, it is damaged, or of another release; or the model is an extended one, which can have none.
    """
    path = folder / QUALITY_FILE
    check_has_unseen_cases(folder)
    if path.is_file():
        content = read_shaped(path, _MODEL, _MAKE_ANEW)
    else:
        found = taken_along(folder, _KEY)
        if found is None:
            raise UserError(f"{path}: no such file, so nothing is known of the quality of this model's predictions; {_MAKE_ANEW}")
        content, path = found
        check_shape(content, _MODEL, path, _MAKE_ANEW, _KEY)
    if content["version"] != VERSION or tuple(content["features"]) != FEATURES:
        raise UserError(f"{path}: a calibration of another release; {_MAKE_ANEW}")
    _check_consistent(content, path)
    return QualityModel.of_json(content), path


def _check_consistent(content: Mapping[str, Any], path: Path) -> None:
    effects, classes = content["regression"]["effects"], content["classes"]
    same_lengths = all(
        len({len(column) for column in its.values()}) == 1 for two in content["reliability"].values() for its in two
    )
    absent = content["absent"]
    if len(effects) != len(classes) or not same_lengths or absent["priors"].keys() != absent["usual"].keys():
        raise UserError(f"{path}: its numbers do not belong together; {_MAKE_ANEW}")


def quality_model_of(predictor: Predictor, folder: Path, settings: PathSettings, task: str | None) -> QualityModel:
    """The calibration of a model folder for predictions with a predictor of it.

    Args:
        settings: Of the predictions.
        task: Of the predictions; None: the universal one.

    Raises:
        UserError: As `read_quality_model`, or it is of other networks, classes or settings.
    """
    model, path = read_quality_model(folder)
    if model.classes != predictor.annotation.classes:
        raise UserError(f"{path}: calibrated for the classes {listed(list(model.classes), 4)}, not this model's; {_MAKE_ANEW}")
    unknown = sum(weights_digest([weights]) not in model.folds.values() for weights in predictor.list_of_parameters)
    if unknown:
        raise UserError(
            f"{path}: is of the networks of folds {listed(list(model.folds))} as they were then; {unknown} of those that are to "
            f"predict are others; choose them by argument folds, or {_MAKE_ANEW}"
        )
    if task is not None:
        raise UserError(f"argument task {task}: {path} was calibrated without one; leave it out")
    if predictor.selection.decode != HALF:
        raise UserError(f"argument decode {predictor.selection.decode}: {path} was calibrated with {HALF}; leave it out")
    others = {name: value for name, value in asdict(settings).items() if model.settings.get(name) != value}
    if others:
        told = ", ".join(_told(name, model.settings.get(name)) for name in others)
        raise UserError(
            f"{path}: was calibrated {told}; predict with the same, or {_MAKE_ANEW}, with the flags of this prediction"
        )
    return model


def _told(setting: str, value: Any) -> str:
    """A setting of a calibration, to stand behind "was calibrated": by the flag of `cdpd predict` to be given or left out."""
    if setting == "place":  # a digest tells nobody anything
        return f"with another {PLACE_FILE}, or none"
    if setting == "step_size":
        return f"with -step_size {value}"
    flag, is_given = ("--disable_tta", not value) if setting == "tta" else (f"--{setting}", bool(value))
    return f"{'with' if is_given else 'without'} {flag}"
