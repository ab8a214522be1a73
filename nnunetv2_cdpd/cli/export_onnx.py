"""cdpd export-onnx: a model as one ONNX file, which runs without PyTorch and nnU-Net."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_output, add_place, given

DESCRIPTION = """
Write a trained model as one ONNX file: the network, with its frozen vision encoder if it has one, and as metadata how images
are preprocessed and how logits become a label map. It is written only if onnxruntime gives the same logits as PyTorch. Needs
nnunetv2-cdpd[onnx].

--runner writes a file beside it that makes label maps with it, where numpy, onnxruntime, SimpleITK and filelock are all that
is installed:
  python runner.pyz model.onnx scan.nii.gz labels.nii.gz
"""
EXAMPLES = (
    "cdpd export-onnx MODEL_FOLDER -o model.onnx --runner runner.pyz",
    "cdpd export-onnx MODEL_FOLDER -o liver.onnx --classes liver liver_tumor -f 0",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser, ("-m",), "model", "model folder, TRAINER__PLANS__CONFIGURATION", metavar="MODEL")
    add_output(parser, "the file to write, .onnx", metavar="FILE", required=True)
    parser.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="folds to average (default: all that are trained)")
    parser.add_argument(
        "-chk", dest="checkpoint_name", metavar="FILE", default="checkpoint_final.pth", help="of each fold (default: %(default)s)"
    )
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="these only, as in cdpd predict")
    parser.add_argument("--task", metavar="SOURCE", help="use this source's task prompt, as in cdpd predict")
    parser.add_argument("--runner", type=Path, metavar="FILE", help="write the runner, too, .pyz")


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.inference.onnx_export import export_onnx

    exported = export_onnx(args.model, args.output, **given(args, "folds", "classes", "task", "checkpoint_name", "runner"))
    told = exported.description
    print(
        f"written to {args.output}: {args.output.stat().st_size / 2**20:.1f} MiB, {len(told.outputs)} channels, fold "
        f"{', '.join(told.about['folds'])}; logits as PyTorch's but for {exported.difference:.1g}"
    )
    if args.runner:
        print(f"written to {args.runner}")
