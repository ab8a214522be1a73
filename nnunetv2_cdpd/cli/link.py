"""cdpd link: let nnU-Net find our trainers, planners and resampling."""

import argparse

from nnunetv2_cdpd import link

DESCRIPTION = """
Let nnU-Net's own commands find nnUNetTrainerCDPD, nnUNetPlannerCDPD and their variants, and the resampling that plans of
nnUNetPlannerCDPDFastResampling name.

Writes three small files into the nnunetv2 package that Python imports, beside its trainers, planners and resampling.
They only hand our names on to this package; nnU-Net's own classes are looked up as before, also after this package is
uninstalled. Needed again after nnunetv2 was installed anew. convert, merge, demo, extend, import-official,
doctor, `cdpd train` on several GPUs and `cdpd submit` of nnU-Net's commands do it by themselves.
"""
EXAMPLES = (
    "cdpd link",
    'export nnUNet_extTrainer="$(cdpd link --path)"           # where nnunetv2 is read-only',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="only tell whether nnU-Net is linked; exit code 1 if not")
    action.add_argument("--remove", action="store_true", help="delete the files")
    action.add_argument(
        "--path",
        action="store_true",
        help="print a folder that serves as nnUNet_extTrainer where nnunetv2 is read-only (trainers only; "
        "`cdpd plan` finds the planners)",
    )


def run(args: argparse.Namespace) -> int:
    if args.path:
        print(link.EXT_TRAINER_FOLDER)
    elif args.check:
        return _check()
    elif args.remove:
        removed = link.unlink()
        for path in removed:
            print(f"removed {path}")
        if not removed:
            print(f"nothing to remove in {link.find_nnunetv2()}")
    else:
        written = link.link()
        for path in written:
            print(f"wrote {path}")
        if not written:
            print(f"already linked: {link.find_nnunetv2()}")
    return 0


def _check() -> int:
    states = {path: link.link_state(path) for path in link.link_paths(link.find_nnunetv2())}
    for path, state in states.items():
        print(f"{state:8}  {path}")
    if set(states.values()) == {"linked"}:
        return 0
    print("run: cdpd link")
    return 1
