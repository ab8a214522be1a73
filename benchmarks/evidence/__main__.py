"""Evidence: what training on partial labels brings, on patients that were kept back; and the tables of all benchmarks.

    python benchmarks/evidence run STUDY DATA WORK [--arms ours complete] [--splits 0 1] [--seeds 0 1 2] [--threads 1]
    python benchmarks/evidence decode DATA MODEL VISIBLE
    python benchmarks/evidence show [TABLE]        # the tables of what is finished
    python benchmarks/evidence write               # into README.md, docs/ and benchmarks/README.md

DATA: images/, labels/ and annotated.json of OpenKBP. WORK: datasets, models and predictions. Each run is one arm on one split
(which fifth of the patients is kept back) with one seed, through the stock commands; its result is a file in
benchmarks/results, and a run that has one is passed over. A training that was stopped goes on. Two of these commands may share
WORK when they have no split in common. Prior to it: pip install .
"""

import argparse
import os
from itertools import product
from pathlib import Path

from decoding import measure_decoding
from patients import NUM_SPLITS, Patients
from results import path_of
from runs import Run
from studies import STUDIES
from tables import PAGES, tables, with_tables
from values import values, with_values

from nnunetv2_cdpd.demo.weights import choose_weights


def main() -> None:
    parser = argparse.ArgumentParser(prog="evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do the runs that have no result yet")
    run.add_argument("study", choices=STUDIES)
    run.add_argument("data", type=Path)
    run.add_argument("work", type=Path)
    run.add_argument("--arms", nargs="+", help="default: all of the study")
    run.add_argument("--splits", type=int, nargs="+", choices=range(NUM_SPLITS), default=list(range(NUM_SPLITS)))
    run.add_argument("--seeds", type=int, nargs="+", default=[0])
    run.add_argument("--threads", type=int, help="of a training on the CPU; default: nnU-Net's, one for each core")
    run.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    show = commands.add_parser("show", help="print tables")
    show.add_argument("table", nargs="?")
    decode = commands.add_parser("decode", help="predict with both decodings")
    decode.add_argument("data", type=Path)
    decode.add_argument("model", type=Path, help="cross-validated on the complete patients of split 0")
    decode.add_argument("visible", type=Path, help="folder of the cut images and label maps: WORK/STUDY/split0/visible")
    commands.add_parser("write", help="write tables and values into the pages")
    args = parser.parse_args()
    if args.command == "run":
        do_runs(args)
    elif args.command == "show":
        for name, table in tables().items():
            if args.table in (None, name):
                print(f"{name}{f': {STUDIES[name].words}' if name in STUDIES else ''}\n\n{table}\n")
    elif args.command == "decode":
        measure_decoding(args.model, args.visible, Patients.read(args.data))
    else:
        made, said = tables(), values()
        for page in PAGES:
            page.write_text(with_values(with_tables(page.read_text(), made), said))


def do_runs(args: argparse.Namespace) -> None:
    arms = args.arms or list(STUDIES[args.study].arms)
    if unknown := set(arms) - set(STUDIES[args.study].arms):
        raise SystemExit(f"{args.study} has no arm {', '.join(sorted(unknown))}; it has {', '.join(STUDIES[args.study].arms)}")
    set_weights()
    for seed, split, arm in product(args.seeds, args.splits, arms):
        if not path_of(args.study, arm, split, seed).exists():
            work = args.work.resolve() / args.study / f"split{split}"
            Run(args.study, arm, split, seed, args.data.resolve(), work, args.device, args.threads).do()


def set_weights() -> None:
    """The weights that are at hand, as `cdpd demo` chooses them."""
    choices, words = choose_weights()
    os.environ.update(choices)
    print(*words, sep="\n", flush=True)


if __name__ == "__main__":
    main()
