"""All that the project wants to know of a GPU, in one run of at most 8 minutes.

    python benchmarks/gpu.py OUT [--deadline 440] [--sections train loss ...]
    python benchmarks/gpu.py OUT --rehearse [--bare]     # the same code on a CPU at tiny sizes: its numbers say nothing
    python benchmarks/gpu.py FOLDER --pack               # what must travel to a machine without the internet

Needs one CUDA device, Python >= 3.10 with torch, triton, timm, einops and the scientific packages (numpy, scipy, pandas,
scikit-image, scikit-learn, matplotlib), this project's sources, and nnU-Net with its small packages, installed or as `--pack`
puts them beside the sources. Readers of files may be absent: they are stood in for (`gpu_sections/stand_ins.py`), and only the
writing of the label map is then not measured. Weights are random, so nothing is downloaded.

Every section runs by itself and is left out if the time that it is guessed to take is not left; one that still runs at the
deadline ends there. OUT/results.json is written after every row, the tables come last. Milliseconds are those of the device's
events, the median after a warm-up; seconds are wall time. A guess of a section's time is no measurement.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

CLONE = Path(__file__).parents[1]


class Section(NamedTuple):
    """function: A module of gpu_sections and its function, which yields rows. guess_s: Seconds on a GPU, guessed."""

    function: str
    guess_s: float


SECTIONS = {
    "machine": Section("machine.machine", 10),
    "train": Section("training.train", 70),
    "loss": Section("parts.loss", 15),
    "predict": Section("predicting.predict", 90),
    "resampling": Section("parts.resampling", 15),
    "parity": Section("parity.parity", 40),
    "loader": Section("loading.load", 70),
    "native": Section("predicting.native", 60),
    "planner": Section("parts.planner", 40),
    "compile": Section("training.compiled", 70),
    "stock": Section("predicting.stock_export", 50),
    "windows": Section("predicting.windows", 50),
}
ENVIRONMENT = {  # nothing is downloaded, and nnU-Net does not ask for a number of processes
    "CDPD_VISION_WEIGHTS": "random", "CDPD_TEXT_WEIGHTS": "learned", "HF_HUB_OFFLINE": "1", "nnUNet_def_n_proc": "4",
    "CDPD_VISION_ENCODER": "",  # each section names its own
}  # fmt: skip


def main() -> int:
    args = parse()
    begun = time.monotonic()
    if args.pack:
        from gpu_sections.pack import pack

        print(pack(args.out))
        return 0
    with tempfile.TemporaryDirectory() as work:
        absent = prepare(Path(work), args.bare)
        import torch

        if not args.rehearse and not torch.cuda.is_available():
            print("gpu.py: this PyTorch finds no GPU here; --rehearse runs the same on a CPU at tiny sizes", file=sys.stderr)
            return 1
        from gpu_sections.bench import FULL, TINY, Bench

        torch.backends.cudnn.benchmark = True  # as nnU-Net's training and prediction
        sizes, device = (TINY, "cpu") if args.rehearse else (FULL, "cuda")
        bench = Bench(sizes, device, Path(work), begun + args.deadline, absent)
        args.out.mkdir(parents=True, exist_ok=True)
        results = run(bench, args.sections, args.out / "results.json")
    print_tables(results)
    title = "a rehearsal, whose numbers say nothing; " if args.rehearse else ""
    print(f"\n{title}{time.monotonic() - begun:.0f} s in all")
    return 1 if any("error" in result for result in results.values()) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for results.json")
    parser.add_argument("--deadline", type=float, default=440, help="seconds after which nothing runs any more")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at tiny sizes")
    parser.add_argument("--bare", action="store_true", help="as if readers of files were not installed")
    parser.add_argument("--pack", action="store_true", help="make OUT a folder that holds what must travel, and measure nothing")
    return parser.parse_args()


def prepare(work: Path, bare: bool) -> tuple[str, ...]:
    """Where Python and nnU-Net find what they need; returns the packages that are stood in for."""
    sys.path[:0] = [str(CLONE / "benchmarks"), str(CLONE / "tests"), str(CLONE)]
    from gpu_sections import stand_ins
    from gpu_sections.pack import PACKAGES

    sys.path.append(str(CLONE / PACKAGES))  # last: what is installed wins
    os.environ |= ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": str(work / "inductor")}
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work / name)
    return stand_ins.install(bare)


def run(bench: Any, names: list[str], file: Path) -> dict[str, dict[str, Any]]:
    """Results by section: "rows", and "skipped" or "error"; written as they come."""
    results: dict[str, dict[str, Any]] = {}
    signal.signal(signal.SIGALRM, _out_of_time)
    for name in names:
        section, begun = SECTIONS[name], time.monotonic()
        result = results[name] = {"rows": {}}
        if lack := bench.lacks(section.guess_s):
            result["skipped"] = lack
        else:
            signal.setitimer(signal.ITIMER_REAL, max(bench.left_s, 0.01))
            try:
                for row, numbers in rows_of(section, bench):
                    result["rows"][row] = numbers
                    print(f"[{bench.left_s:5.0f} s left] {name}: {row}: {numbers}", flush=True)
                    write(file, results)
            except Exception as error:  # the other numbers still count
                result["error"] = f"{type(error).__name__}: {str(error)[:300]}"
                traceback.print_exc()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        result["seconds"] = round(time.monotonic() - begun, 1)
        write(file, results)
        gc.collect()
        bench.free()
    return results


def rows_of(section: Section, bench: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    module, function = section.function.split(".")
    measure: Callable = getattr(import_module(f"gpu_sections.{module}"), function)
    return measure(bench)


def _out_of_time(*_: object) -> None:
    raise TimeoutError("the deadline came while this section ran")


def write(file: Path, results: dict[str, Any]) -> None:
    """Whole or not at all, whenever the run is ended."""
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(results, indent=1))
    beside.replace(file)


def print_tables(results: dict[str, dict[str, Any]]) -> None:
    """A Markdown table for each section."""
    for name, result in results.items():
        print(f"\n### {name} ({result['seconds']:g} s)\n")
        columns = list(dict.fromkeys(column for numbers in result["rows"].values() for column in numbers))
        if columns:
            print(f"| what | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
        for row, numbers in result["rows"].items():
            print(f"| {row} | {' | '.join(cell(numbers.get(column, '')) for column in columns)} |")
        for ending in ("skipped", "error"):
            if ending in result:
                print(f"\n{ending}: {result[ending]}")


def cell(value: Any) -> str:
    return ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else str(value)


if __name__ == "__main__":
    sys.exit(main())
