"""cdpd demo: the main job on data made on the spot."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_device, add_output

DESCRIPTION = """
Run the whole workflow on CT-like volumes that are made on the spot: merge, plan, train, predict, evaluate, and a page
report.html with scores and pictures.

Three sources label different structures, one of them without telling left from right. nnU-Net's commands are printed as they
run, to be copied, and how long all of it still takes: some minutes on two CPU cores. Needs no internet. Without
pretrained weights at hand, text embeddings are learned with the network, and it says so.
"""
EXAMPLES = (
    "cdpd demo",
    "cdpd demo --quick",
    "cdpd demo -o /tmp/demo -device cpu",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "new folder for data, model and page (default: %(default)s)", dest="out", default=Path("cdpd_demo"))
    parser.add_argument(
        "--quick", action="store_true", help="two minutes: whether every step works here; not how well such a network segments"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.demo.workflow import QUICK, DemoSize, run_demo

    run_demo(args.out, QUICK if args.quick else DemoSize(), device=args.device)
