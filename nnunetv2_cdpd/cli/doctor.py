"""cdpd doctor: a table of what works here."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from nnunetv2_cdpd.cli.terminal import print_json
from nnunetv2_cdpd.doctor import Row, broken, examine

DESCRIPTION = """
Show what works on this machine: versions, whether nnU-Net finds CDPDNet, nnU-Net's folders, device, pretrained weights.
Links to nnU-Net (see cdpd link) where that is not done yet.

Rows are ok, note (works, or not everybody needs it) or FAIL (needed and broken). Exit code 1 if any row is FAIL.
"""
EXAMPLES = (
    "cdpd doctor",
    "cdpd doctor --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the rows and what is broken as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    rows: list[Row] = []

    def examined() -> dict[str, Any]:
        rows.extend(examine())
        return {"rows": [asdict(row) for row in rows], "broken": broken(rows)}

    if args.json:
        print_json(examined)
    else:
        for row in examine():
            print(row, flush=True)
            rows.append(row)
        if not broken(rows):
            print("\nEverything needed works.")
    if broken(rows):
        told = f"broken: {', '.join(broken(rows))}; the rows above say how to mend each"
        print(f"\ncdpd: error: {told}", file=sys.stderr)
    return 1 if broken(rows) else 0
