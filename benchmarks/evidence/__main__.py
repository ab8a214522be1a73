"""Evidence: what training on partial labels brings, on patients that were kept back; and the tables of all benchmarks.

    python benchmarks/evidence run STUDY DATA WORK [--arms ours complete] [--splits 0 1] [--seeds 0 1 2] [--threads 1]
    python benchmarks/evidence clean STUDY DATA WORK --arms ours [--splits 0] [--seeds 0]   # after their runs
    python benchmarks/evidence decode STUDY DATA WORK --arms ours [--splits 0] [--seeds 0]  # after their runs
    python benchmarks/evidence filters DATA WORK [--splits 0] [--seeds 0] [--threads 1]   # after per_source, masked_longer
    python benchmarks/evidence scanners DATA       # voxels and noise of the patients, for the study vision_shifted
    python benchmarks/evidence contours DATA       # how large organs are drawn
    python benchmarks/evidence show [TABLE]        # the tables of what is finished
    python benchmarks/evidence write               # into README.md, docs/ and benchmarks/README.md

DATA: images/, labels/ and annotated.json of OpenKBP. WORK: datasets, models and predictions. Each run is one arm on one split
(which fifth of the patients is kept back) with one seed, through the stock commands; its result is a file in
benchmarks/results, and a run that has one is passed over. A training that was stopped goes on. Two of these commands may share
WORK when they have no split in common. Vision tokens are of a random ViT, but where an arm says that they are pretrained: these
need --vision-weights. Text embeddings are learned. Prior to it: pip install .
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from cleaning import measure_cleaning
from contours import measure_contours
from decoding import measure_decoding
from filters import ARM, STUDY, measure_filters
from patients import NUM_SPLITS
from results import path_of
from runs import Run
from scanners import measure_scanners
from studies import STUDIES
from tables import PAGES, tables, with_tables
from values import values, with_values


def main() -> None:
    parser = argparse.ArgumentParser(prog="evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do the runs that have no result yet")
    clean = commands.add_parser("clean", help="clean the predictions of runs and score them again")
    decode = commands.add_parser("decode", help="predict with both decodings")
    for runs in (run, clean, decode):
        runs.add_argument("study", choices=STUDIES)
        runs.add_argument("data", type=Path)
        runs.add_argument("work", type=Path)
        runs.add_argument("--arms", nargs="+", help="default: all of the study")
        runs.add_argument("--splits", type=int, nargs="+", choices=range(NUM_SPLITS), help="default: all of the study")
        runs.add_argument("--seeds", type=int, nargs="+", default=[0])
    run.add_argument("--vision-weights", type=Path, metavar="FILE", help="of DINOv2 ViT-S/14, for arms with pretrained tokens")
    run.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    filters = commands.add_parser("filters", help="complete with each filter, and compare with the truth")
    filters.add_argument("data", type=Path)
    filters.add_argument("work", type=Path)
    filters.add_argument("--splits", type=int, nargs="+", choices=range(NUM_SPLITS), default=[0])
    filters.add_argument("--seeds", type=int, nargs="+", default=[0])
    filters.set_defaults(study=STUDY, arms=[ARM])
    for trained in (run, filters):
        trained.add_argument("--threads", type=int, help="of a training on the CPU; default: nnU-Net's, one for each core")
    show = commands.add_parser("show", help="print tables")
    show.add_argument("table", nargs="?")
    scanners = commands.add_parser("scanners", help="measure voxels and noise")
    scanners.add_argument("data", type=Path)
    contours = commands.add_parser("contours", help="measure what is drawn")
    contours.add_argument("data", type=Path)
    commands.add_parser("write", help="write tables and values into the pages")
    args = parser.parse_args()
    if args.command == "run":
        do_runs(args)
    elif args.command == "clean":
        for one in runs_of(args):
            measure_cleaning(one)
    elif args.command == "filters":
        for one in runs_of(args):
            measure_filters(replace(one, threads=args.threads))
    elif args.command == "show":
        for name, table in tables().items():
            if args.table in (None, name):
                print(f"{name}{f': {STUDIES[name].words}' if name in STUDIES else ''}\n\n{table}\n")
    elif args.command == "decode":
        for one in runs_of(args):
            measure_decoding(one)
    elif args.command == "contours":
        measure_contours(args.data)
    elif args.command == "scanners":
        measure_scanners(args.data)
    else:
        made, said = tables(), values()
        for page in PAGES:
            page.write_text(with_values(with_tables(page.read_text(), made), said))


def do_runs(args: argparse.Namespace) -> None:
    weights = args.vision_weights and args.vision_weights.resolve(strict=True)
    for one in runs_of(args):
        if not path_of(one.study, one.arm, one.split, one.seed).exists():
            replace(one, device=args.device, threads=args.threads, vision_weights=weights).do()


def runs_of(args: argparse.Namespace) -> Iterator[Run]:
    """The runs that were named.

    Raises:
        SystemExit: The study has no such arm or split.
    """
    study = STUDIES[args.study]
    arms = args.arms or list(study.arms)
    if unknown := set(arms) - set(study.arms):
        raise SystemExit(f"{args.study} has no arm {', '.join(sorted(unknown))}; it has {', '.join(study.arms)}")
    splits = args.splits or list(range(study.splits))
    if max(splits) >= study.splits:
        raise SystemExit(f"{args.study} has no split {max(splits)}; it has {study.splits}, the first is 0")
    for seed, split, arm in product(args.seeds, splits, arms):
        yield Run(args.study, arm, split, seed, args.data.resolve(), args.work.resolve() / args.study / f"split{split}")


if __name__ == "__main__":
    main()
