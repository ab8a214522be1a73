"""cdpd audit: what may be wrong with datasets, and which scans are in them twice."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.flags import report_failed, reporter
from nnunetv2_cdpd.cli.options import add_dataset_place, add_output, add_processes, given

DESCRIPTION = """
Read nnU-Net raw datasets, single or merged, and write audit.json and audit.html: volumes of each class per source with
outliers, intensities that are no HU, sizes and spacings, structures on the wrong side of the body, empty labels, and
pairs of cases that show the same scan, in one dataset or in two. Nothing in the datasets is changed.
"""
EXAMPLES = (
    "cdpd audit 301 302 /data/Dataset310_ORGANS -o audit",
    "cdpd audit -d Dataset400_MultiCT --pictures 30 -np 8",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, "ids, names or folders", dest="datasets", nargs="+")
    add_output(parser, "folder for the results (default: %(default)s)", default=Path("cdpd_audit"))
    parser.add_argument(
        "--min-score", type=float, metavar="SCORE", help="from which two images are the same scan (docs/audit.md)"
    )
    parser.add_argument(
        "--pictures", type=int, dest="num_pictures", metavar="N", help="cases and pairs with pictures (default: 12 each)"
    )
    add_processes(parser)


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.audit.audit import audit_datasets

    names = ("min_score", "num_pictures", "num_processes")
    audit = audit_datasets(args.datasets, args.output, report=reporter(args.flags), **given(args, *names))
    return report_failed(audit.unread.items(), args.flags)
