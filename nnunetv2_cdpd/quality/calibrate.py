"""calibrate_model: measures the validation cases of a trained model, fits its calibration, and writes it into its folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, amount
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.jobs import Outcome, output_folder
from nnunetv2_cdpd.pages.template import check_page
from nnunetv2_cdpd.quality.collect import CASES_FOLDER, PathSettings, collect_fold
from nnunetv2_cdpd.quality.facts import Facts
from nnunetv2_cdpd.quality.files import check_can_be_written, write_quality_model
from nnunetv2_cdpd.quality.fitting import fit_quality
from nnunetv2_cdpd.quality.page import CALIBRATION_PAGE, write_calibration_page


def calibrate_model(
    folder: Path,
    dataset: RawDataset,
    folds: Sequence[int],
    *,
    settings: PathSettings = PathSettings(),
    checkpoint_name: str = "checkpoint_final.pth",
    device: str | None = None,
    progress: bool = True,
    tell: Callable[[str], Any] = print,
) -> dict[str, str]:
    """Calibrate a model folder.

    Args:
        folder: With the folds, each with its validation.
        dataset: The raw dataset that it was trained on.
        settings: Those with which it will predict.
        tell: Hears what was found.

    Returns:
        Case -> why nothing could be learned of it.

    Raises:
        UserError: A fold is missing or has no validation, the dataset is another one, or there are too few cases.
    """
    records: list[Facts] = []
    digests: dict[str, str] = {}
    failed: dict[str, str] = {}
    check_can_be_written(folder)
    check_page(folder / CALIBRATION_PAGE)
    with output_folder(folder / CASES_FOLDER):
        for fold in folds:
            predictor = settings.predictor(folder, [fold], checkpoint_name, device=device)
            settings = replace(settings, place=predictor.place_digest)
            if (stage := predictor.configuration_manager.previous_stage_name) is not None:
                raise UserError(f"{folder}: a cascade, which needs predictions of {stage}; its quality cannot be calibrated")
            if predictor.annotation.classes != dataset.annotation.classes:
                raise UserError(f"{folder}: trained on other classes than those of {dataset.folder}; give its dataset")
            outcome: Outcome[Facts]
            outcome, its = collect_fold(predictor, fold, folder, dataset, settings, progress)
            records += its
            failed |= outcome.failed
            digests[str(fold)] = weights_digest(predictor.list_of_parameters)
            classes = predictor.annotation.classes
        try:
            model = fit_quality(records, classes, digests, settings)
        except UserError as error:
            if not failed:
                raise
            case, why = next(iter(failed.items()))
            raise UserError(f"{error} ({len(failed)} more could not be measured; case {case!r}: {why})") from error
        path = write_quality_model(model, folder)
        write_calibration_page(model, folder / CALIBRATION_PAGE)
    found, flags = model.found, model.flags
    mean_error = found["mean_absolute_error"]
    rank = "unknown" if found["spearman"] is None else f"{found['spearman']:.2f}"
    of = amount(model.cases, "validation case")
    tell(f"Quality, {of}: predicted and true Dice: Spearman {rank}, mean error {mean_error:.3f}")
    tell(f"Flags find {flags.caught:.0%} of the worst tenth of predictions, and {flags.false_alarms:.0%} of the others")
    tell(f"written to {path} and {folder / CALIBRATION_PAGE}")
    return failed
