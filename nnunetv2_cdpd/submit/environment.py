"""What a job takes along of the environment in which it was submitted, and what must be there before it is."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.configuration import default_n_proc_DA, default_num_processes
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results

from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.errors import UserError, is_text
from nnunetv2_cdpd.pretrained.choices import (
    LEARNED,
    RANDOM,
    TEXT_WEIGHTS,
    VISION_WEIGHTS,
    encoder_choice,
    is_there,
    weights_choice,
)
from nnunetv2_cdpd.pretrained.encoder_choice import find_encoder
from nnunetv2_cdpd.submit.steps import TRAINING, Submission
from nnunetv2_cdpd.training.save_interval import SAVE_MINUTES

_OURS = ("nnUNet_", "CDPD_")
_OTHERS = ("PYTHONPATH", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME")
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "KEY")  # in the name of a variable that no file should hold
_FOLDERS = {"nnUNet_raw": nnUNet_raw, "nnUNet_preprocessed": nnUNet_preprocessed, "nnUNet_results": nnUNet_results}
_NEEDS = {  # command -> the folders that it reads or writes
    "convert": ("nnUNet_raw",),
    "merge": ("nnUNet_raw",),
    "train": ("nnUNet_preprocessed", "nnUNet_results"),
    "find-best": ("nnUNet_preprocessed", "nnUNet_results"),
    "accumulate": ("nnUNet_preprocessed", "nnUNet_results"),
    "plan": ("nnUNet_raw", "nnUNet_preprocessed"),
    "nnUNetv2_plan_and_preprocess": ("nnUNet_raw", "nnUNet_preprocessed"),
    "nnUNetv2_extract_fingerprint": ("nnUNet_raw", "nnUNet_preprocessed"),
    "nnUNetv2_plan_experiment": ("nnUNet_raw", "nnUNet_preprocessed"),
    "nnUNetv2_preprocess": ("nnUNet_raw", "nnUNet_preprocessed"),
    "nnUNetv2_train": ("nnUNet_preprocessed", "nnUNet_results"),
    "nnUNetv2_predict": ("nnUNet_results",),
}
_NAME_ENCODERS = ("train", "plan", "nnUNetv2_train", "nnUNetv2_plan_and_preprocess", "nnUNetv2_plan_experiment")
_MINUTES = 15  # between the checkpoints of a training that may be stopped at any time


def check_environment(jobs: Sequence[Submission]) -> None:
    """Raise UserError, in one line, for what a job would miss on the cluster, hours from now."""
    for job in jobs:
        for name in _NEEDS.get(job.command, ("nnUNet_results",) if _is_by_id(job) else ()):
            folder = folder_of_nnunet(_FOLDERS[name])
            if folder is None:
                raise UserError(f"{name} is not set, which {job.command} needs; `export {name}=/path/to/folder` and submit again")
            if not folder.is_dir():
                raise UserError(f"{name}={folder}: no such folder, which {job.command} needs; make it, or set {name} to another")
        if job.command in _NAME_ENCODERS and (encoder := encoder_choice()) is not None:
            find_encoder(encoder)
        if job.command in ("train", "nnUNetv2_train"):
            for variable, word in ((VISION_WEIGHTS, RANDOM), (TEXT_WEIGHTS, LEARNED)):
                choice = weights_choice(variable)
                if choice not in (None, word) and not is_there(variable, choice):
                    raise UserError(f"{variable}={choice}: no such file; set it to a file of weights, to {word}, or unset it")
        program_of(job.command)


def _is_by_id(job: Submission) -> bool:
    return job.command == "predict" and "-d" in job.calls[0]


def program_of(command: str) -> tuple[str, ...]:
    """How a command is started with this Python, wherever the job runs.

    Raises:
        UserError: It is one of nnU-Net's that is not there.
    """
    if not command.startswith("nnUNetv2_"):
        return sys.executable, "-m", "nnunetv2_cdpd.cli.main", command
    if not re.fullmatch(r"nnUNetv2_\w+", command, re.ASCII):
        raise UserError(f"{command}: no command of nnU-Net; give one by its name, without its arguments, as nnUNetv2_train")
    beside = Path(sys.executable).with_name(command)
    found = str(beside) if beside.is_file() else shutil.which(command)
    if found is None:
        raise UserError(f"{command}: not there beside {sys.executable}, nor in PATH; install nnunetv2 in this environment")
    return (found,)


def carried(job: Submission) -> dict[str, str]:
    """Variables of a job: nnU-Net's and ours but no secrets, where Python looks for packages and weights; folders as absolute
    paths.
    """
    names = [name for name in os.environ if name.startswith(_OURS) or name in _OTHERS]
    kept = {name: os.environ[name] for name in sorted(names) if not any(word in name.upper() for word in _SECRET)}
    for name, variable in _FOLDERS.items():
        if (folder := folder_of_nnunet(variable)) is not None:
            kept[name] = str(folder)
    cpus = job.resources.cpus
    if cpus is not None:  # nnU-Net counts the cores of the machine, of which a job has a share
        kept.setdefault("nnUNet_def_n_proc", str(min(cpus, default_num_processes)))
        kept.setdefault("nnUNet_n_proc_DA", str(min(cpus, default_n_proc_DA)))
    if job.command in TRAINING:
        kept.setdefault(SAVE_MINUTES, str(_MINUTES))
    if bad := next((name for name, value in kept.items() if not is_text(value)), None):
        raise UserError(f"{bad}: holds bytes that are no UTF-8, which a script cannot take; set it to another value")
    return kept
