"""cdpd doctor: a table of what works here."""

import argparse

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
    print(f"\nbroken: {', '.join(failed)}" if failed else "\nEverything needed works.")
    return 1 if failed else 0
