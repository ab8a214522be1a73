"""cdpd audit: what may be wrong with datasets, and which scans are in them twice."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_dataset_place, add_output, add_pictures, add_processes, reporter

DESCRIPTION = """
Read nnU-Net raw datasets, single or merged, and write audit.json and audit.html: volumes of each class per source with
outliers, intensities that are no HU, sizes and spacings, structures on the wrong side of the body, empty labels, and
pairs of cases that show the same scan, in one dataset or in two. Nothing in the datasets is changed. Example:

    cdpd audit 301 302 /data/Dataset310_ORGANS -o audit
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, "ids, names or folders", dest="datasets", nargs="+")
    add_output(parser, "for the results", default=Path("cdpd_audit"))
    parser.add_argument(
        "--min-score", type=float, metavar="SCORE", help="from which two images count as the same scan (docs/audit.md)"
    )
    add_pictures(parser, "cases and pairs with pictures (default: 12 each)")
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    from nnunetv2.configuration import default_num_processes

    from nnunetv2_cdpd.audit.audit import DEFAULT_PICTURES, audit_datasets
    from nnunetv2_cdpd.same_scan.pairs import SAME_SCAN

    audit_datasets(
        args.datasets,
        args.output,
        min_score=SAME_SCAN if args.min_score is None else args.min_score,
        num_pictures=DEFAULT_PICTURES if args.num_pictures is None else args.num_pictures,
        num_processes=default_num_processes if args.num_processes is None else args.num_processes,
        report=reporter(args.flags),
    )
