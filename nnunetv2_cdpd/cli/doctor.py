"""cdpd doctor: a table of what works here."""

import argparse
import sys

from nnunetv2_cdpd.doctor import FAIL, examine

DESCRIPTION = """
Show what works on this machine: versions, whether nnU-Net finds CDPDNet, nnU-Net's folders, device, pretrained weights.
Links to nnU-Net (see cdpd link) where that is not done yet.

Rows are ok, note (works, or not everybody needs it) or FAIL (needed and broken). Exit code 1 if any row is FAIL.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    failed = []
    for row in examine():
        print(row, flush=True)
        if row.status == FAIL:
            failed.append(row.name)
    if failed:
        print(f"\ncdpd: error: broken: {', '.join(failed)}; the rows above say how to mend each", file=sys.stderr)
        return 1
    print("\nEverything needed works.")
    return 0
