"""cdpd extend: a trained model with the classes of a further dataset, all that it knew kept."""

import argparse

from nnunetv2_cdpd.cli.options import add_device, add_output, add_place, add_processes, given

DESCRIPTION = """
Add the classes of a further dataset, of five cases or more, to a trained model. All weights of the model stay, and with them what
it says of its own classes; what is new is trained beside. The new model folder works with every command, and can be extended again.

A class that the model has already, by any name that the class table knows, is not learned again: its annotations tell where the
new ones are not. Called again after it was stopped, the command goes on.
"""
EXAMPLES = (
    "cdpd extend MODEL_FOLDER -d 410 -o Dataset500_Extended",
    "cdpd extend MODEL_FOLDER -d Dataset410_Esophagus -o NEW_MODEL_FOLDER --epochs 40 -f 0",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser, ("-m",), "model", "model folder, TRAINER__PLANS__CONFIGURATION", metavar="MODEL")
    parser.add_argument("-d", "--dataset", required=True, metavar="DATASET", help="id, name or folder of a raw dataset")
    add_output(
        parser, "new model folder, or DatasetXXX_NAME for its place in nnUNet_results", metavar="NEW_MODEL", required=True
    )
    parser.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="folds to extend (default: all that are trained)")
    parser.add_argument(
        "-chk", dest="checkpoint_name", metavar="FILE", default="checkpoint_final.pth", help="of each fold (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="of 50 iterations each (default: 20)")
    add_device(parser)
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.extension import extend_model

    options = given(args, "folds", "checkpoint_name", "epochs", "device", "num_processes")
    extend_model(args.model, args.dataset, args.output, **options, progress=not args.quiet)
