"""The whole workflow on made-up CT volumes: merge, plan, train, predict, evaluate, and a page with scores and pictures.

Three sources that label different structures, one of them with a merged left/right label; nnU-Net's commands are printed as
they run. A few minutes on two CPU cores; no internet is needed.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("cdpd_demo"), help="folder for data, model and report.html, default %(default)s")
    parser.add_argument("-device", choices=["cpu", "cuda", "mps"], help="default: cuda where there is a GPU, else cpu")


def run(arguments: argparse.Namespace) -> None:
    from nnunetv2_cdpd.demo.workflow import run_demo

    run_demo(arguments.out, device=arguments.device)
