"""Checks of what is handed on to nnU-Net's own commands, which would answer with a traceback: datasets, plans, folds, models."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.cli.preprocessed_checks import check_fold, check_preprocessed
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
from nnunetv2_cdpd.datasets.names import dataset_name
from nnunetv2_cdpd.datasets.output import folder_of_nnunet, raw_folder
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.models import COPY_AGAIN, read_checkpoint
from nnunetv2_cdpd.link import DEFAULT_PLANNER, DEFAULT_PLANS, own_class
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE, read_plans

_DEVICES = ("cuda", "cpu", "mps")


def peeked(rest: Sequence[str], *positions: str, **options: str | None) -> argparse.Namespace | None:
    """What the arguments for a command of nnU-Net say of these, or None where it is to say itself what is wrong, or its help.

    Args:
        positions: Its positional arguments.
        options: Its options without the dash -> how many values one takes, as argparse's nargs.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for name in positions:
        parser.add_argument(name)
    for name, nargs in options.items():
        parser.add_argument(f"-{name}", nargs=nargs)
    if {"-h", "--help"} & set(rest):
        return None
    try:
        return parser.parse_known_args(list(rest))[0]
    except (argparse.ArgumentError, SystemExit):
        return None


def preprocessed_folder(given: str) -> Path:
    """Of a dataset, in nnUNet_preprocessed.

    Raises:
        UserError: nnUNet_preprocessed is not set, or there is no such dataset.
    """
    place = folder_of_nnunet(nnUNet_preprocessed)
    if place is None:
        raise UserError("nnUNet_preprocessed is not set; `export nnUNet_preprocessed=/path/to/folder` and call again")
    return place / dataset_name(given)


def plans_in(folder: Path, plans: str, configurations: Sequence[str] = (), networks: bool = True) -> Mapping[str, Any]:
    """The plans of a preprocessed dataset, checked; and its dataset.json is.

    Args:
        configurations: That the plans have to have.
        networks: See `read_plans`.

    Raises:
        UserError: They are not there, damaged, or lack a configuration.
    """
    number = folder.name.removeprefix("Dataset")[:3].lstrip("0")
    there = sorted(path.stem for path in folder.glob("*Plans*.json"))
    planned = f"-p chooses one of {listed(there)}, or plan anew:" if there else "plan first:"
    planner, its_plans = _planner_of(plans)
    way_out = f"{planned} nnUNetv2_plan_and_preprocess -d {number} -pl {planner}, whose plans are {its_plans}"
    found = read_plans(folder / f"{plans}.json", way_out, networks=networks)
    if lacking := [name for name in configurations if name not in found["configurations"]]:
        raise UserError(
            f"{folder / plans}.json: no configuration {', '.join(lacking)}; give one of {listed(list(found['configurations']))}"
        )
    read_dataset_json(folder / FILE_NAME)
    return found


def _planner_of(plans: str) -> tuple[str, str]:
    """Our planner whose plans have this name, and the name; the default where none has."""
    planner = f"nnUNetPlanner{plans.removeprefix('nnUNet').removesuffix('Plans')}"
    return (planner, plans) if own_class(planner) is not None else (DEFAULT_PLANNER, DEFAULT_PLANS)


def check_trained(rest: Sequence[str], trainer: str, configurations: Sequence[str], written: bool = False) -> None:
    """Check what nnU-Net's commands of cross-validation are to join: models, and the validations of their folds.

    Args:
        rest: The arguments for the command.
        trainer: Where they give none.
        configurations: The same.
        written: Whether something is written into the model folders.

    Raises:
        UserError: A dataset, its plans, a model or the validation of a fold is not there, or damaged; or a model cannot be
            written to.
    """
    args = peeked(rest, "dataset", p="+", c="+", tr="+", f="+", np=None, o=None)
    if args is None:
        return
    if folder_of_nnunet(nnUNet_results) is None:
        raise UserError("nnUNet_results is not set; `export nnUNet_results=/path/to/models` and call again")
    folder, folds = preprocessed_folder(args.dataset), args.f or ["0", "1", "2", "3", "4"]
    for plans in args.p or [DEFAULT_PLANS]:
        known = plans_in(folder, plans, args.c or (), networks=False)["configurations"]
        for name in args.tr or [trainer]:
            for configuration in [entry for entry in args.c or configurations if entry in known]:
                model = Path(get_output_folder(folder.name, name, plans, configuration))
                _check_validated(model, folds)
                if written and not os.access(model, os.W_OK):
                    raise UserError(f"{model}: cannot be written to, where results go; make it writable, or copy it")


def _check_validated(model: Path, folds: Sequence[str]) -> None:
    if not model.is_dir():
        there = sorted(path.name for path in model.parent.glob("*__*__*")) if model.parent.is_dir() else []
        raise UserError(f"{model}: not trained; train it, or choose by -tr, -p and -c of {listed(there) or 'none that is there'}")
    read_plans(model / PLANS_FILE, COPY_AGAIN, networks=False)
    ending = read_dataset_json(model / FILE_NAME, ("labels", "file_ending")).content["file_ending"]
    missing = [fold for fold in folds if not (model / f"fold_{fold}" / "validation").is_dir()]
    if missing:
        there = sorted(path.parent.name.removeprefix("fold_") for path in model.glob("fold_*/validation"))
        raise UserError(
            f"{model}: no validation of fold {', '.join(missing)}; train them to the end, or give -f {' '.join(there) or 'FOLDS'}"
        )
    fold_of: dict[str, str] = {}
    for fold in folds:
        for case in identifiers(model / f"fold_{fold}" / "validation", ending):
            if case in fold_of:
                raise UserError(
                    f"{model}: fold {fold_of[case]} and fold {fold} both predicted case {case!r}, of which there may be "
                    "one only; give each fold once by -f, and folds of one split"
                )
            fold_of[case] = fold


def check_training(rest: Sequence[str]) -> None:
    """Check what nnUNetv2_train would stumble over before it calls the trainer.

    Raises:
        UserError: No such device, or options that exclude each other.
    """
    args = peeked(rest, device=None)
    if args is not None and args.device not in (None, *_DEVICES):
        raise UserError(f"-device {args.device}: give one of {', '.join(_DEVICES)}")
    for one, other in (("--c", "--val"), ("--val_best", "--disable_checkpointing")):
        if one in rest and other in rest:
            raise UserError(f"{one} and {other} exclude each other; give one of them")


def check_training_inputs(
    dataset: str, configuration: str, fold: str | int, plans: str, trainer: str, pretrained: str | None, validate: bool
) -> None:
    """Check what a training reads.

    Raises:
        UserError: An unknown dataset, configuration or fold, plans or preprocessed cases that are missing or damaged,
            weights that could run code, or no finished training to validate.
    """
    if str(fold) != "all" and not str(fold).isdecimal():
        raise UserError(f"fold {fold}: give a number, 0 ... 4, or all")
    folder = preprocessed_folder(dataset)
    found = plans_in(folder, plans, [configuration])
    if pretrained is not None:
        read_checkpoint(Path(pretrained))
    if validate:
        finished = Path(get_output_folder(folder.name, trainer, plans, configuration, fold)) / "checkpoint_final.pth"
        if not finished.is_file():
            raise UserError(f"{finished}: no such file, so there is nothing to validate; train to the end first, or go on by --c")
    identifier = PlansManager(dict(found)).get_configuration(configuration).data_identifier
    command = f"nnUNetv2_preprocess -d {dataset} -plans_name {plans} -c {configuration}"
    check_fold(folder, str(fold), check_preprocessed(folder, identifier, command))


def check_planning(rest: Sequence[str]) -> None:
    """Check what nnUNetv2_plan_experiment reads of each dataset.

    Raises:
        UserError: No dataset is given, one is not there, or lacks its fingerprint or a readable dataset.json.
    """
    args = peeked(rest, d="*")
    if args is None:
        return
    if not args.d:
        raise UserError("cdpd plan takes -d DATASET_ID; see cdpd plan -h")
    for given in args.d:
        if not given.isdecimal():
            raise UserError(f"-d {given}: nnU-Net takes the ids of datasets here, like 400")
        folder = preprocessed_folder(given)
        if not (folder / "dataset_fingerprint.json").is_file():
            raise UserError(
                f"{folder}: no dataset_fingerprint.json; make it: nnUNetv2_extract_fingerprint -d {given} "
                "--verify_dataset_integrity"
            )
        read_dataset_json(raw_folder() / folder.name / FILE_NAME)
