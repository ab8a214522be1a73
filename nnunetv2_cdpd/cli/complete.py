"""cdpd complete: a partly annotated dataset as one that stock nnU-Net trains on, with what trained models say of the rest."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.flags import reporter
from nnunetv2_cdpd.cli.options import OUTPUT, add_dataset_place, add_device, add_processes, given

DESCRIPTION = """
Complete a dataset whose sources annotate some classes each: teachers, trained models of CDPDNet or of stock nnU-Net, say where
the other classes are, and four filters decide what of it is taken. What stays uncertain becomes nnU-Net's ignore label, never
background; what is annotated is never changed. The result is an ordinary raw dataset, which stock nnU-Net trains on.

Teachers know a class by its name. A case that a teacher was trained on is labelled by the folds that kept it back. Called again
after it was stopped, the command goes on.
"""
EXAMPLES = (
    "cdpd complete -d 400 -o 410 --teachers MODEL_FOLDER",
    "cdpd complete -d 400 -o 410 --name Complete --teachers LITS_MODEL KITS_MODEL ORGANS_MODEL",
    "cdpd complete -d 400 -o 411 --teachers MODEL_FOLDER --without outlier --low 0.1 --high 0.9",
)
_LEVELS = {  # of `CompletionSettings`, with their flags and what they say
    "low": ("--low", "P", "voxels less probable are not of a class", "0.25"),
    "high": ("--high", "P", "voxels more probable are; those between are ignored", "0.75"),
    "least_probability": ("--least-probability", "P", "mean probability of a structure that is taken", "0.7"),
    "least_agreement": ("--least-agreement", "DICE", "of any two networks on a structure that is taken", "0.6"),
    "most_outlying": ("--most-outlying", "SD", "of a structure that is taken, from the annotated cases", "4"),
    "least_dice": ("--least-dice", "DICE", "of a teacher's cross-validation on a class that is taken from it", "0.5"),
    "plausible": ("--plausible", "P", "a structure that is not taken may be where it is so probable", "0.05"),
    "margin_mm": ("--margin", "MM", "around it too", "5"),
    "border_mm": ("--border", "MM", "ignore voxels around a structure that is taken: teachers may draw it too narrow", "0"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_place(parser, "id, name or folder of the raw dataset, as `cdpd merge` makes it; it stays as it is")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument(*OUTPUT, type=int, dest="dataset_id", metavar="ID", help="of the completed dataset, 1 ... 999")
    output.add_argument("--id", type=int, dest="dataset_id", metavar="ID", help="the same, as in `cdpd merge`")
    parser.add_argument("--name", metavar="NAME", help="of the completed dataset (default: that of DATASET with _completed)")
    parser.add_argument(
        "--teachers",
        nargs="+",
        type=Path,
        required=True,
        metavar="MODEL",
        help="model folders, TRAINER__PLANS__CONFIGURATION: one of all classes, or one of each source, or more",
    )
    parser.add_argument(
        "-chk", dest="checkpoint_name", metavar="FILE", default="checkpoint_final.pth", help="of each fold (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-seen",
        action="store_true",
        help="take what a teacher says of cases that all its folds were trained on (fold all); dataset.json tells which",
    )
    filters = parser.add_argument_group("filters")
    named = "confidence, agreement, outlier, reliability"
    filters.add_argument("--filters", nargs="*", metavar="FILTER", help=f"use these only, of {named} (default: all)")
    filters.add_argument("--without", nargs="+", default=[], metavar="FILTER", help="do not use these")
    for name, (flag, metavar, what, default) in _LEVELS.items():
        filters.add_argument(flag, type=float, dest=name, metavar=metavar, help=f"{what} (default: {default})")
    teaching = parser.add_argument_group("how teachers predict")
    add_device(teaching)
    teaching.add_argument("-step_size", type=float, metavar="SHARE", help="of their windows (default: 0.5)")
    teaching.add_argument("--disable_tta", action="store_const", const=False, dest="tta", help="do not mirror images; faster")
    add_processes(parser, "for reading label maps; default: nnU-Net's")


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.completion.run import complete_dataset
    from nnunetv2_cdpd.completion.settings import CompletionSettings, chosen_filters

    settings = CompletionSettings(filters=chosen_filters(args.filters, args.without), **given(args, *_LEVELS, "step_size", "tta"))
    options = given(args, "checkpoint_name", "allow_seen", "device", "num_processes")
    folder = complete_dataset(
        args.dataset,
        args.teachers,
        args.dataset_id,
        args.name,
        settings=settings,
        progress=not args.quiet,
        report=reporter(args.flags),
        **options,
    )
    print(f"\n{folder}\n\nNext:\n  nnUNetv2_plan_and_preprocess -d {args.dataset_id} --verify_dataset_integrity")
    print(f"  nnUNetv2_train {args.dataset_id} 3d_fullres 0")
