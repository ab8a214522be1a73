"""extend_model: a trained model and the classes of a further dataset as a new model folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.datasets.carried import fingerprint_alone
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson
from nnunetv2_cdpd.datasets.output import results_in
from nnunetv2_cdpd.datasets.raw import RawDataset, read_dataset
from nnunetv2_cdpd.errors import UserError, amount, check_at_least, listed
from nnunetv2_cdpd.extension.comparing import change_table, compare_models
from nnunetv2_cdpd.extension.joining import Joined, join_labels, joined_dataset_json
from nnunetv2_cdpd.extension.preprocessing import PreprocessedFolder, preprocess
from nnunetv2_cdpd.extension.settings import extended_plans
from nnunetv2_cdpd.extension.work import dataset_name_of, place_of, work_folder
from nnunetv2_cdpd.host import DEBUG_FILE
from nnunetv2_cdpd.inference.devices import chosen_device
from nnunetv2_cdpd.inference.models import TrainedModel, check_of_model, folds_of, load_model, read_checkpoint, read_descriptions
from nnunetv2_cdpd.jobs import digest, file_state, read_json
from nnunetv2_cdpd.merge.collect import check_inputs
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDExtension import (
    nnUNetTrainerCDPDExtension,
    nnUNetTrainerCDPDExtensionUnfrozen,
)
from nnunetv2_cdpd.training.checkpoints import BEST, FINAL, LATEST

FoldName = int | str


@dataclass(frozen=True)
class Request:
    """What is extended, and how.

    checkpoints: Fold -> file.
    output: Where the extended model is going to be.
    """

    folder: Path
    plans: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    configuration: str
    checkpoints: Mapping[FoldName, Path]
    joined: Joined
    trainer: type[nnUNetTrainerCDPDExtension]
    epochs: int | None
    device: torch.device
    output: Path


def extend_model(
    model: Path,
    dataset: str | int | Path,
    output: Path,
    *,
    folds: Sequence[FoldName] | None = None,
    checkpoint_name: str = FINAL,
    epochs: int | None = None,
    unfreeze: bool = False,
    compare: Sequence[str | int | Path] = (),
    device: str | None = None,
    num_processes: int = default_num_processes,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Path:
    """Extend a trained model by the classes of a further dataset; a second call goes on where an earlier one was stopped.

    Args:
        model: Folder, as nnUNetv2_train writes it.
        dataset: Id, name or folder of a raw dataset.
        output: Folder of the new model, where nothing is yet; or DatasetXXX_NAME, for its place in nnUNet_results.
        folds: Those to extend; None: all that are trained.
        checkpoint_name: Of each fold.
        epochs: Of 50 iterations; None: the trainer's.
        unfreeze: Train the whole network further. What the dataset does not annotate keeps to the model's own answer; both models
            are compared on the dataset at the end.
        compare: Further datasets on which both models are compared.
        device: None: a GPU if there is one.
        num_processes: For preprocessing.
        progress: Show bars.
        report: Called with what is decided and done.

    Returns:
        The new model folder.

    Raises:
        UserError: Whatever the user can mend.
    """
    check_at_least(1, epochs=epochs, num_processes=num_processes)
    chosen = chosen_device(device)
    folder = Path(model)
    plans, content = read_descriptions(folder)
    used = folds_of(folder, folds, checkpoint_name)
    further, compared = read_dataset(dataset), [read_dataset(each) for each in compare]
    trainer = nnUNetTrainerCDPDExtensionUnfrozen if unfreeze else nnUNetTrainerCDPDExtension
    trained = load_model(folder, used[:1], checkpoint_name)
    checkpoints = {fold: folder / f"fold_{fold}" / checkpoint_name for fold in used}
    configuration = _check_extendable(folder, trained, checkpoints[used[0]])
    for file in list(checkpoints.values())[1:]:  # what they say would be that of the new plans afterwards
        check_of_model(folder, plans, content, file, read_checkpoint(file, mapped=True)["init_args"])
    output = place_of(Path(output), trainer.__name__, plans["plans_name"], configuration)
    _check_datasets(folder, content, further, compared, output)
    output.parent.mkdir(parents=True, exist_ok=True)  # now, since what forbids it should be told before the work
    joined = join_labels(folder, content, further)
    for line in _told(joined, further):
        report(line)

    new_plans = extended_plans(plans, configuration, joined)
    new_plans["dataset_name"] = dataset_name_of(output, plans["dataset_name"])
    history = (
        f"{plans['dataset_name']} trained by {trained.trainer_name}, extended by {listed(list(joined.new_classes))} from "
        f"{amount(len(joined.case_names), 'case')} of {further.name}"
    )
    new_json = joined_dataset_json(content, joined, history)
    request = Request(folder, new_plans, new_json, configuration, checkpoints, joined, trainer, epochs, chosen, output)
    preprocessed = preprocess(
        further, joined, new_plans, configuration, new_json, fingerprint_alone(folder),
        num_processes=num_processes, progress=progress, report=report,
    )  # fmt: skip
    files = [file_state(path) for path in checkpoints.values()]
    made_from = digest(new_plans, new_json, files, trainer.__name__, epochs, preprocessed.path.name)
    with work_folder(output, made_from) as work:
        with results_in(work):
            made, *_ = [_train(request, fold, preprocessed) for fold in used]
        if datasets := [*([further] if unfreeze else []), *compared]:
            options = {"folds": used, "checkpoint_name": checkpoint_name}
            report(change_table(compare_models(folder, made, datasets, chosen, report, **options)))
        made.rename(output)
    report(f"extended model: {output}")
    return output


def _check_extendable(folder: Path, trained: TrainedModel, checkpoint: Path) -> str:
    """The configuration of the model; raises UserError where it cannot be extended."""
    network = trained.network
    if not isinstance(network, CDPDNet):
        raise UserError(f"{folder}: a model of {trained.trainer_name}, no CDPDNet, which is all that can be extended")
    if network.task_prompt is not None and network.universal_task is None:
        raise UserError(
            f"{folder}: this network has no universal task, under which a new class would be asked for; train it further with "
            "nnUNetTrainerCDPDPaper first"
        )
    if trained.configuration_manager.previous_stage_name is not None:
        raise UserError(f"{folder}: the second stage of a cascade, which cannot be extended; extend a model of one stage")
    return read_checkpoint(checkpoint, mapped=True)["init_args"]["configuration"]


def _check_datasets(
    folder: Path, content: Mapping[str, Any], further: RawDataset, compared: Sequence[RawDataset], output: Path
) -> None:
    for dataset in (further, *compared):
        if dataset.problems:
            raise UserError(f"{dataset.name}: {dataset.problems[0]}")
    model = RawDataset(str(folder), DatasetJson(folder / FILE_NAME, content), (), ())
    check_inputs([model, further, *compared], output)


def _told(joined: Joined, further: RawDataset) -> list[str]:
    lines = [f"new: {listed(list(joined.new_classes))}, from {amount(len(joined.case_names), 'case')} of {further.name}"]
    known = [label if label == name else f"{label} ({name})" for label, name in joined.known.items()]
    if known:
        lines.append(f"known to the model already, used as what excludes the new ones: {listed(known)}")
    return [*lines, *(f"note: {note}" for note in joined.notes)]


def _train(request: Request, fold: FoldName, preprocessed: PreprocessedFolder) -> Path:
    """Train the extension of a fold, from where it was stopped; the model folder in the work folder."""
    trainer = _trainer(request, fold, preprocessed, resumed=False)
    place = Path(trainer.output_folder)
    if (place / FINAL).is_file():
        return place.parent
    latest = next((place / name for name in (LATEST, BEST) if (place / name).is_file()), None)
    if latest is not None:
        trainer = _trainer(request, fold, preprocessed, resumed=True)
    file = request.checkpoints[fold]
    trainer.begin_with(read_checkpoint(file), read_json(file.parent / DEBUG_FILE))
    if latest is not None:
        trainer.load_checkpoint(trainer.whole_checkpoint(str(latest)))
    trainer.run_training()
    return place.parent


def _trainer(request: Request, fold: FoldName, preprocessed: PreprocessedFolder, resumed: bool) -> nnUNetTrainerCDPDExtension:
    plans = {**request.plans, "continue_training": resumed}
    of_fold: Any = fold  # the host's annotation knows no "all"
    trainer = request.trainer(plans, request.configuration, of_fold, dict(request.dataset_json), request.device)
    trainer.base_folder = request.folder
    trainer.preprocessed_dataset_folder_base = str(preprocessed.path)
    trainer.preprocessed_dataset_folder = str(preprocessed.data)
    trainer.final_folder = request.output
    if request.epochs is not None:
        trainer.num_epochs = request.epochs
    return trainer
