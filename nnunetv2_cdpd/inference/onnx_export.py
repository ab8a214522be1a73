"""A model folder as one ONNX file that carries all that a prediction takes, and the runner beside it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.models import folds_of
from nnunetv2_cdpd.inference.onnx_description import onnx_description_of
from nnunetv2_cdpd.inference.onnx_graph import FoldMean, write_graph
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.runner_file import write_runner
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.portable.description import Description

MODEL_ENDING, RUNNER_ENDING = ".onnx", ".pyz"


@dataclass(frozen=True)
class ExportedModel:
    """description: What the file says of itself. difference: Of its logits from the model's, the largest that was found."""

    description: Description
    difference: float


def export_onnx(
    model: Path,
    output: Path,
    *,
    folds: Sequence[int | str] | None = None,
    classes: Collection[str] | None = None,
    task: str | None = None,
    checkpoint_name: str = "checkpoint_final.pth",
    runner: Path | None = None,
) -> ExportedModel:
    """Write a model as one ONNX file. It gets its name when it is whole and has given the logits of the model.

    Args:
        model: Folder, as nnUNetv2_train writes it.
        output: .onnx, where nothing is yet.
        folds: Their logits are averaged in the graph; None: all that are trained.
        classes: Names; None: all. What else decides where these are is computed too.
        task: Source whose task prompt stands in for the universal task.
        checkpoint_name: Of each fold.
        runner: .pyz for the runner, where nothing is yet; None: none is written.

    Raises:
        UserError: The model cannot be read or exported, a class is unknown, or a file is there already.
    """
    for file, ending, name in ((output, MODEL_ENDING, "output"), (runner, RUNNER_ENDING, "runner")):
        if file is not None:
            _check_new(file, ending, name)
    predictor = Predictor.from_folder(model, folds, device="cpu", checkpoint_name=checkpoint_name)
    if predictor.network.network.needs_coordinates:
        raise UserError(f"{model}: its tokens depend on a window's place in the image, which the runner does not tell; no ONNX")
    predictor.select(classes, task=task)
    used = [str(fold) for fold in folds_of(model, folds, checkpoint_name)]
    description = onnx_description_of(predictor, model, used)
    Description.from_json(description.to_json(), str(model))
    with written_beside(output) as beside:
        difference = write_graph(FoldMean(predictor), description, beside)
    if runner is not None:
        write_runner(runner)
    return ExportedModel(description, difference)


def _check_new(file: Path, ending: str, argument: str) -> None:
    if file.suffix.lower() != ending:
        raise UserError(f"argument {argument} {file}: name it {ending}")
    if file.exists() or file.is_symlink():
        raise UserError(f"argument {argument} {file}: is there already, and stays; remove it, or give another name")
    if not file.absolute().parent.is_dir():
        raise UserError(f"argument {argument} {file}: no folder {file.absolute().parent}; make it first")
