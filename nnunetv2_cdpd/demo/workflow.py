"""The demo's workflow: made-up sources, then the commands that a user would type, then scores and a page.

Every command is printed before it runs, so that it can be copied; nothing of the training happens in this process.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES, MERGE_SPEC, MERGED_ID, MERGED_NAME, write_raw_dataset, write_test_set
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import NNUNET_FOLDERS
from nnunetv2_cdpd.jobs import output_folder, write_text

PLANNER, PLANS, TRAINER = "nnUNetPlannerCDPDSmall", "nnUNetCDPDSmallPlans", "nnUNetTrainerCDPDSmall_8epochs"
CONFIGURATION, FOLD = "3d_fullres", "0"
TARGET_SPACING_MM = "6"


@dataclass(frozen=True)
class DemoSize:
    """How much work the demo is."""

    training_cases_per_source: int = 16
    test_cases_per_scanner: int = 3
    trainer: str = TRAINER


def run_demo(out: Path, size: DemoSize = DemoSize(), device: str | None = None) -> Path:
    """Run the main job from data to report.

    Args:
        out: Working folder; must not exist, or be empty.
        size: Smaller for tests.
        device: "cuda", "cpu" or "mps"; None: a GPU where there is one.

    Returns:
        The page, `report.html` in `out`.

    Raises:
        UserError: `out` is in use, or a command failed.
    """
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"argument out: {out} is not empty; name another folder, or delete it")
    with output_folder(out):
        return _run_demo(out, size, device)


def _run_demo(out: Path, size: DemoSize, device: str | None) -> Path:
    started = time.time()
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    environment, pretraining = _environment(out, device)

    _say(f"Making {len(DEMO_SOURCES)} partially labelled sources and a fully labelled test set in {out}")
    for source in DEMO_SOURCES:
        write_raw_dataset(source, out / "nnUNet_raw", size.training_cases_per_source)
        print(f"  {source.folder_name}: {size.training_cases_per_source} volumes, labels {', '.join(source.labels)}")
    write_test_set(out / "test", size.test_cases_per_scanner)
    write_text(out / "merge.yaml", MERGE_SPEC)
    _say("These variables tell nnU-Net where its data lies, and the plugin which weights to use:")
    for name, value in environment.items():
        print(f"  export {name}={shlex.quote(value)}")
    for line in pretraining:
        print(f"  {line}")

    dataset, model = str(MERGED_ID), ["-tr", size.trainer, "-p", PLANS]
    predictions = out / "predictions"
    commands = (
        ("Merge", ["cdpd", "merge", "-d", *(str(s.dataset_id) for s in DEMO_SOURCES), "--id", dataset, "--name", MERGED_NAME]
         + ["--spec", "merge.yaml", "-np", "1"]),
        ("Plan and preprocess", ["nnUNetv2_plan_and_preprocess", "-d", dataset, "-pl", PLANNER, "-c", CONFIGURATION]
         + ["-overwrite_target_spacing", *[TARGET_SPACING_MM] * 3, "--verify_dataset_integrity", "-npfp", "2", "-np", "2"]),
        ("Train", ["nnUNetv2_train", dataset, CONFIGURATION, FOLD, *model, "-device", device]),
        ("Predict", ["nnUNetv2_predict", "-i", "test/images", "-o", "predictions", "-d", dataset, "-c", CONFIGURATION]
         + [*model, "-f", FOLD, "-device", device, "-npp", "1", "-nps", "1"]),
        ("Evaluate", ["cdpd", "evaluate", "predictions", "test/labels"]),
    )  # fmt: skip
    seconds = {title: _run(title, command, out, environment) for title, command in commands}

    from nnunetv2_cdpd.demo.page import write_demo_page

    page = write_demo_page(
        out / "report.html",
        predictions=predictions,
        test_set=out / "test",
        commands=[shlex.join(command) for _, command in commands],
        pretraining=pretraining,
        seconds={**seconds, "All": time.time() - started},
        device=device,
    )
    _say(f"Done in {(time.time() - started) / 60:.1f} minutes. Open {page}")
    return page


def _environment(out: Path, device: str) -> tuple[dict[str, str], list[str]]:
    """Variables for the commands, and which weights they will use, in a sentence each."""
    from nnunetv2_cdpd.demo.weights import choose_weights

    environment = {}
    for name in NNUNET_FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
        environment[name] = str(out / name)
    if device == "cpu":
        # one thread per core for torch, no worker processes beside it, and no pools of eight on a laptop
        environment |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "2", "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    settings, pretraining = choose_weights()
    return environment | settings, pretraining


def _run(title: str, command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Run a command as a user would; returns its seconds."""
    _say(title)
    print(f"$ {shlex.join(command)}", flush=True)
    executable = _executable(command[0])
    start = time.time()
    result = subprocess.run([executable, *command[1:]], cwd=folder, env={**os.environ, **environment})
    if result.returncode:
        raise UserError(f"{command[0]} failed with exit code {result.returncode}; its output above says why ({folder} is kept)")
    return time.time() - start


def _executable(name: str) -> str:
    """A command of this Python environment, also where the environment is not on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise UserError(f"{name} is not installed beside {sys.executable}; pip install nnunetv2-cdpd in this environment")
    return found


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
