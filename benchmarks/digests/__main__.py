"""Digests: every command on tiny made-up data, and a digest of all it writes, to show that two versions do the same.

    PYTHONPATH=OLD_CLONE python benchmarks/digests before.json --work WORK_FOLDER
    PYTHONPATH=NEW_CLONE python benchmarks/digests after.json --work WORK_FOLDER
    python benchmarks/digests --compare before.json after.json     # what differs; exit code 1 if anything does

Takes a few minutes of one core. Both runs must be made on one machine in one environment: tensors and voxels are compared to
the last bit. Run it from a folder that is no clone, or Python may import that one. Nothing of nnunetv2_cdpd is imported here;
the commands run in processes of their own with the flags of their help texts. The work folder is emptied first and kept.

A training is seeded, on one thread, with deterministic algorithms. On a busy machine it was still seen to end in one of two ways,
which differ in the last bits of the second epoch, and with it all that is made with the model; one version does both. If
trainings differ and nothing before them does, run it again.
"""

import argparse
import difflib
import json
import os
import shutil
import sys
from pathlib import Path

from commands import run_all

SHOWN_LINES = 30  # of what differs in an entry
MARK = ".cdpd_digests"  # lies in a work folder of ours; no other folder is emptied


def compare(before, after):
    """Print what differs; returns whether anything does."""
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = [key for key in sorted(before.keys() & after.keys()) if before[key]["digest"] != after[key]["digest"]]
    for title, keys in (("added", added), ("removed", removed)):
        for key in keys:
            print(f"{title}: {key}")
    for key in changed:
        print(f"changed: {key}")
        texts = [entries[key].get("text", "").split("\n") for entries in (before, after)]
        lines = list(difflib.unified_diff(*texts, "before", "after", lineterm="", n=1))[2:]
        for line in lines[:SHOWN_LINES] or ["(not in what is kept of it)"]:
            print(f"    {line[:300]}")
        if len(lines) > SHOWN_LINES:
            print(f"    ... {len(lines) - SHOWN_LINES} more lines")
    print(f"{len(before)} entries before, {len(after)} after: {len(added)} added, {len(removed)} removed, {len(changed)} changed")
    return bool(added or removed or changed)


def empty_work_folder(folder):
    """Only a folder that is new, empty or of an earlier run is taken."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        sys.exit(f"{folder} holds something else; name another --work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, help="JSON file for the digests")
    parser.add_argument("--work", type=Path, default=Path("cdpd_digests"), help="folder for all data (default: cdpd_digests)")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="compare two such files instead")
    args = parser.parse_args()
    if args.compare:
        return int(compare(*(json.loads(path.read_text()) for path in args.compare)))
    if args.output is None:
        parser.error("name a file for the digests, or --compare")
    work = args.work.resolve()
    empty_work_folder(work)
    entries = run_all(work)
    args.output.write_text(json.dumps(entries, indent=1, sort_keys=True))
    print(f"{len(entries)} entries; CPU time {sum(os.times()[:4]):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
