"""Doctor: what works on this machine, and how to mend what does not.

Each check is a function that yields rows; a check that fails unexpectedly becomes a row too, so that one broken package
does not hide the state of the others.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd import __version__, link
from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.link import DEFAULT_PLANNER, DEFAULT_TRAINER, RESAMPLING
from nnunetv2_cdpd.pretrained.choices import (
    LEARNED,
    RANDOM,
    TEXT_WEIGHTS,
    VISION_ENCODER,
    VISION_WEIGHTS,
    is_there,
    weights_choice,
)

OK, NOTE, FAIL = "ok", "note", "FAIL"
DISTRIBUTION = "nnunetv2-cdpd"
_SHOWN_PACKAGES = ("nnunetv2", "dynamic-network-architectures", "torch", "timm", "open-clip-torch")
_WIDTH, _NAME_WIDTH = 100, 36

# Runs as nnU-Net's commands do: a process of its own, in a folder that is not ours. nnU-Net prints where it searches, so
# the answer is the last line.
_LOOK_UP = f"""
import json, os, pickle
import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

def trainer():
    return recursive_find_trainer_class_by_name({DEFAULT_TRAINER!r})

def planner():
    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    return recursive_find_python_class(folder, {DEFAULT_PLANNER!r}, current_module="nnunetv2.experiment_planning")

def resampling():
    folder = os.path.join(nnunetv2.__path__[0], "preprocessing", "resampling")
    return recursive_find_python_class(folder, {RESAMPLING!r}, current_module="nnunetv2.preprocessing.resampling")

answers = {{}}
for look_up in (trainer, planner, resampling):
    try:
        found = look_up()
        pickle.dumps(found)
        answers[look_up.__name__] = [found is not None, found.__module__ if found else "nnU-Net does not find it"]
    except Exception as error:
        answers[look_up.__name__] = [False, f"{{type(error).__name__}}: {{error}}"]
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    status: OK, NOTE (works, or is not needed by everybody) or FAIL (something needed does not work).
    """

    status: str
    name: str
    text: str

    def __str__(self) -> str:
        head = f"{self.status:5} {self.name:{_NAME_WIDTH}}"
        return textwrap.fill(
            head + self.text, _WIDTH, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
        )


def examine() -> Iterator[Row]:
    """Check everything, one row after the other."""
    for check in (_versions, _commands, _discovery, _folders, _device, _vision_weights, _text_weights):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield from check()
            except Exception as error:
                yield Row(FAIL, check.__name__.strip("_").replace("_", " "), one_line(error))


def broken(rows: Iterable[Row]) -> list[str]:
    """Names of what is needed and does not work."""
    return [row.name for row in rows if row.status == FAIL]


def _versions() -> Iterable[Row]:
    yield Row(OK, "python", f"{platform.python_version()}, {sys.executable}")
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Row(NOTE, DISTRIBUTION, f"{__version__}, not installed but imported from {Path(__file__).parent}")
        return
    yield Row(OK, DISTRIBUTION, f"{__version__}, {Path(__file__).parent}")
    yield from _packages(requirements)


def _packages(requirements: Iterable[str]) -> Iterator[Row]:
    """Compare what is installed with what our own metadata asks for."""
    from packaging.requirements import Requirement

    satisfied = []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name.replace("_", "-")
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Row(FAIL, name, f"not installed; run: pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield Row(FAIL, name, f"{version}, but {requirement.specifier} is needed; run: pip install '{requirement}'")
        elif name in _SHOWN_PACKAGES:
            yield Row(OK, name, version)
        else:
            satisfied.append(f"{name} {version}")
    yield Row(OK, "other packages", ", ".join(satisfied))


def _commands() -> Iterable[Row]:
    """Whether nnU-Net's commands in the shell are those of this Python."""
    command = shutil.which("nnUNetv2_train")
    if command is None:
        yield Row(NOTE, "nnUNetv2_train", f"not in PATH; activate the environment of {sys.executable}")
        return
    with open(command, "rb") as file:
        first_line = file.readline().decode(errors="replace")
    interpreter = Path(first_line[2:].strip()) if first_line.startswith("#!") else None
    if interpreter and "python" in interpreter.name and interpreter.parent != Path(sys.executable).parent:
        yield Row(
            NOTE, "nnUNetv2_train", f"{command} runs another Python, {interpreter}; what is checked here is {sys.executable}"
        )
    else:
        yield Row(OK, "nnUNetv2_train", command)


def _discovery() -> Iterable[Row]:
    """The link files, made now where they are missing, and nnU-Net's own look-ups."""
    try:
        written = link.link()
        linked = Row(OK, "link to nnU-Net", f"{'linked just now' if written else 'linked'}: {link.find_nnunetv2()}")
    except UserError as error:
        linked = Row(NOTE, "link to nnU-Net", str(error))
    yield linked

    answers = _look_up()
    trainer, text = answers["trainer"]
    yield Row(OK if trainer else FAIL, f"nnU-Net finds {DEFAULT_TRAINER}", text)
    for what, name, way_out in (
        ("planner", DEFAULT_PLANNER, "use: cdpd plan"),
        ("resampling", RESAMPLING, "which only plans of planners named ...FastResampling need"),
    ):
        found, text = answers[what]
        if trainer and not found and linked.status == NOTE:
            yield Row(NOTE, f"nnU-Net finds {name}", f"not without the link; {way_out}")
        else:
            yield Row(OK if found else FAIL, f"nnU-Net finds {name}", text)


def _look_up() -> dict[str, tuple[bool, str]]:
    with tempfile.TemporaryDirectory() as elsewhere:
        process = subprocess.run(
            [sys.executable, "-c", _LOOK_UP], cwd=elsewhere, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if process.returncode != 0:
        reason = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        return dict.fromkeys(("trainer", "planner", "resampling"), (False, reason))
    return json.loads(process.stdout.splitlines()[-1])


def _folders() -> Iterable[Row]:
    for variable, content in (
        ("nnUNet_raw", "raw datasets"),
        ("nnUNet_preprocessed", "preprocessed data"),
        ("nnUNet_results", "trained models"),
    ):
        value = os.environ.get(variable)
        if not value:
            yield Row(FAIL, variable, f"not set; run: export {variable}=FOLDER, where nnU-Net keeps {content} (demo needs none)")
        elif os.path.exists(value) and not os.path.isdir(value):
            yield Row(FAIL, variable, f"{value} is a file; run: export {variable}=FOLDER")
        elif not os.path.isdir(value):
            yield Row(NOTE, variable, f"{value} does not exist yet; run: mkdir -p '{value}'")
        elif not os.access(value, os.W_OK):
            only_read = variable == "nnUNet_raw"  # data that others prepared may well be trained on
            yield Row(NOTE if only_read else FAIL, variable, f"{value} cannot be written to")
        else:
            free = shutil.disk_usage(value).free / 2**30
            yield Row(OK, variable, f"{value}, {free:.0f} GiB free")


def _device() -> Iterable[Row]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Row(OK, f"device cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Row(OK, "device mps", "Apple GPU; give nnU-Net's commands -device mps")
    else:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        yield Row(
            NOTE,
            "device cpu",
            f"{os.cpu_count()} cores, no GPU that torch {torch.__version__} ({built}) can use; give nnU-Net's commands "
            "-device cpu (good for demo, prediction and small networks)",
        )


def _vision_weights() -> Iterable[Row]:
    from nnunetv2_cdpd.planning.architecture import NetworkSettings
    from nnunetv2_cdpd.pretrained.vision import locate_vision_weights, ways_to_vision_weights

    model = NetworkSettings().with_chosen_encoder().vision_weights_name
    if model is None:
        choice = weights_choice(VISION_WEIGHTS)
        if choice in (None, RANDOM):
            told = f"not needed, unless {VISION_ENCODER} names an encoder or plans have one, as the paper's"
            yield Row(OK, "vision weights", told)
        else:
            missing = "" if is_there(VISION_WEIGHTS, choice) else "no such file, and "
            told = f"{missing}{VISION_ENCODER} names no encoder; a training on plans without vision tokens refuses them"
            way_out = f"name the encoder before planning, or unset {VISION_WEIGHTS}"
            yield Row(NOTE, "vision weights", f"{choice} ({VISION_WEIGHTS}): {told}: {way_out}")
        return
    yield _weights_row("vision weights", VISION_WEIGHTS, RANDOM, model, locate_vision_weights, ways_to_vision_weights)


def _text_weights() -> Iterable[Row]:
    from nnunetv2_cdpd.planning.architecture import NetworkSettings
    from nnunetv2_cdpd.pretrained.text import locate_text_weights, ways_to_text_weights

    model = NetworkSettings().text_encoder
    yield _weights_row("text weights", TEXT_WEIGHTS, LEARNED, model, locate_text_weights, ways_to_text_weights)


def _weights_row(
    name: str, variable: str, without: str, model: str, locate: Callable[[str], Path | None], ways_out: Callable[[str], str]
) -> Row:
    """The row of one pretrained encoder.

    Args:
        variable: In which the user may choose its weights.
        without: The choice that does without pretrained weights.
        model: Of the encoder, as `locate` and `ways_out` know it.
    """
    choice = weights_choice(variable)
    if choice == without:
        return Row(NOTE, name, f"none, by your choice ({variable}={without})")
    if choice:
        if is_there(variable, choice):
            return Row(OK, name, f"{choice} ({variable})")
        return Row(FAIL, name, f"{choice}: no such file; {variable} takes a file or {without!r}")
    if located := locate(model):
        return Row(OK, name, f"{model}: {located}")
    from nnunetv2_cdpd.pretrained.hub import hub_reachable

    if hub_reachable():
        return Row(NOTE, name, f"{model}: not on this machine yet, downloaded when the first training starts")
    return Row(NOTE, name, f"{model}: not on this machine, and there is no internet; for training, {ways_out(model)}")
