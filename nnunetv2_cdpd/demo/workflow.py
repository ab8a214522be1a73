"""The demo's workflow: made-up sources, then the commands that a user would type, then scores and a page.

Every command is printed before it runs, so that it can be copied; nothing of the training happens in this process.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES, MERGE_SPEC, MERGED_ID, MERGED_NAME, write_raw_dataset, write_test_set
from nnunetv2_cdpd.demo.schedule import Schedule
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import NNUNET_FOLDERS
from nnunetv2_cdpd.jobs import output_folder, write_text
from nnunetv2_cdpd.training.time_left import about

PLANNER, PLANS, TRAINER = "nnUNetPlannerCDPDDemo", "nnUNetCDPDDemoPlans", "nnUNetTrainerCDPDDemo"
CONFIGURATION, FOLD = "3d_fullres", "0"
TARGET_SPACING_MM = "8"
DATA, MERGE, PLAN, TRAIN, PREDICT, EVALUATE, PAGE = (
    "Make data", "Merge", "Plan and preprocess", "Train", "Predict", "Evaluate", "Write the page"
)  # fmt: skip


@dataclass(frozen=True)
class DemoSize:
    """How much work the demo is.

    seconds: Of each step, about, on two idle cores with AVX2; its first steps tell how much faster or slower a machine is.
    warning: What the result is not; "" where there is nothing to say.
    """

    training_cases_per_source: int = 16
    test_cases_per_scanner: int = 3
    trainer: str = TRAINER
    seconds: Mapping[str, float] = field(
        default_factory=lambda: {DATA: 14, MERGE: 5, PLAN: 20, TRAIN: 330, PREDICT: 25, EVALUATE: 18, PAGE: 2}
    )
    warning: str = ""


QUICK = DemoSize(
    training_cases_per_source=5,
    test_cases_per_scanner=1,
    trainer=f"{TRAINER}_quick",
    seconds={DATA: 7, MERGE: 5, PLAN: 20, TRAIN: 38, PREDICT: 10, EVALUATE: 8, PAGE: 1},
    warning="Quick: this shows that every step works on this machine, not how well such a network segments. So little training "
    "teaches hardly more than the largest organs: low scores are no fault here. `cdpd demo` without --quick trains longer.",
)


def run_demo(out: Path, size: DemoSize = DemoSize(), device: str | None = None) -> Path:
    """Run the main job from data to report.

    Args:
        out: Working folder; must not exist, or be empty.
        size: `QUICK`, or smaller for tests.
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

    schedule = Schedule(size.seconds)
    if size.warning:
        _say(size.warning)
    _begin(DATA, schedule)
    print(f"Making {len(DEMO_SOURCES)} partially labelled sources and a fully labelled test set in {out}", flush=True)
    for source in DEMO_SOURCES:
        write_raw_dataset(source, out / "nnUNet_raw", size.training_cases_per_source)
        print(f"  {source.folder_name}: {size.training_cases_per_source} volumes, labels {', '.join(source.labels)}")
    write_test_set(out / "test", size.test_cases_per_scanner)
    write_text(out / "merge.yaml", MERGE_SPEC)
    schedule.done(DATA, time.time() - started)
    _say("These variables tell nnU-Net where its data lies, and the plugin which weights to use:")
    for name, value in environment.items():
        print(f"  export {name}={shlex.quote(value)}")
    for line in pretraining:
        print(f"  {line}")

    dataset, model = str(MERGED_ID), ["-tr", size.trainer, "-p", PLANS]
    predictions = out / "predictions"
    commands = (
        (MERGE, ["cdpd", "merge", "-d", *(str(s.dataset_id) for s in DEMO_SOURCES), "--id", dataset, "--name", MERGED_NAME]
         + ["--spec", "merge.yaml", "-np", "1"]),
        (PLAN, ["nnUNetv2_plan_and_preprocess", "-d", dataset, "-pl", PLANNER, "-c", CONFIGURATION]
         + ["-overwrite_target_spacing", *[TARGET_SPACING_MM] * 3, "--verify_dataset_integrity", "-npfp", "2", "-np", "2"]),
        (TRAIN, ["nnUNetv2_train", dataset, CONFIGURATION, FOLD, *model, "-device", device]),
        (PREDICT, ["nnUNetv2_predict", "-i", "test/images", "-o", "predictions", "-d", dataset, "-c", CONFIGURATION]
         + [*model, "-f", FOLD, "-device", device, "-npp", "1", "-nps", "1"]),
        (EVALUATE, ["cdpd", "evaluate", "predictions", "test/labels"]),
    )  # fmt: skip
    for step, command in commands:
        _begin(step, schedule)
        schedule.done(step, _run(command, out, environment))

    _begin(PAGE, schedule)
    from nnunetv2_cdpd.demo.page import write_demo_page

    page = write_demo_page(
        out / "report.html",
        predictions=predictions,
        test_set=out / "test",
        commands=[shlex.join(command) for _, command in commands],
        notes=[*pretraining, *([size.warning] if size.warning else [])],
        seconds={**schedule.taken, "All": time.time() - started},
        device=device,
    )
    schedule.done(PAGE, time.time() - started - sum(schedule.taken.values()))
    print(", ".join(f"{step.lower()} {seconds:.0f} s" for step, seconds in schedule.taken.items()))
    _say(f"Done in {(time.time() - started) / 60:.1f} minutes. Open {page}")
    if size.warning:
        print(size.warning)
    return page


def _environment(out: Path, device: str) -> tuple[dict[str, str], list[str]]:
    """Variables for the commands, and which weights they will use, in a sentence each."""
    from nnunetv2_cdpd.demo.weights import choose_weights

    settings, pretraining = choose_weights()  # what it refuses leaves no folder behind
    environment = {}
    for name in NNUNET_FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
        environment[name] = str(out / name)
    if device == "cpu":
        # one thread per core for torch, no worker processes beside it, and no pools of eight on a laptop
        environment |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "2", "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    return environment | settings, pretraining


def _begin(step: str, schedule: Schedule) -> None:
    _say(f"{step} (step {schedule.place(step)}, {about(schedule.left())} left)")


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Run a command as a user would; returns its seconds."""
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
