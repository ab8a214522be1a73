"""cdpd pretrain: the slice encoder, on CTs without labels."""

import argparse
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_device, add_output, add_processes, given

DESCRIPTION = """
Train the slice encoder (a ViT) on CTs without their labels, by DINOv2's recipe, from DINOv2's weights or from nothing. What comes
out is a file of weights for CDPD_VISION_WEIGHTS, beside CDPD_VISION_ENCODER, which names the ViT. Needs nnunetv2-cdpd[pretrain].

Of each image the slices that show a body are read once, along the axis of the largest spacing, and kept beside the output until
the run has ended. A run that was stopped, also by kill -9, goes on with the same call and --continue, as if it had not been
stopped. Under torchrun the processes share the batch. Beside the output a CSV tells losses, and how far the embeddings spread: a
warning says where the encoder collapses.
"""
EXAMPLES = (
    "cdpd pretrain -d 400 -o ct_vit.safetensors",
    """cdpd pretrain -d 400 -i more_cts/ -o ct_vit_s.safetensors \\
    --encoder dinov2-small --from dinov2_vit_s.safetensors""",
    "cdpd pretrain -d 400 -o ct_vit.safetensors --continue    # go on",
    "torchrun --nproc_per_node 4 --no-python cdpd pretrain -d 400 -o ct_vit.safetensors --batch-size 256",
)
_SETTINGS = ("encoder", "epochs", "iterations", "batch_size", "lr", "seed", "window_hu", "slices_per_image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    images = parser.add_argument_group("images, of at least one of these")
    images.add_argument(
        "-d",
        "--datasets",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="ids, names or folders of raw datasets; imagesTs is not looked at",
    )
    images.add_argument(
        "-i", "--folders", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders of CTs, also of DICOM series"
    )
    add_output(parser, "file of weights to be, .safetensors", metavar="FILE", required=True)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="weights",
        metavar="FILE",
        help="weights to begin with (default: CDPD_VISION_WEIGHTS, then the cache, then a download)",
    )
    start.add_argument("--from-nothing", action="store_true", help="begin with random weights")
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="timm's name of the ViT, dinov2 (ViT-B/14) or dinov2-small (ViT-S/14) (default: CDPD_VISION_ENCODER's, or dinov2)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--iterations", type=int, metavar="N", help="how long (default: 10000)")
    length.add_argument("--epochs", type=int, metavar="N", help="the same, by how often each slice is seen")
    parser.add_argument("--batch-size", type=int, metavar="N", help="slices per iteration, of all processes (default: 64)")
    parser.add_argument("--lr", type=float, metavar="LR", help="highest learning rate (default: batch size / 256 x 5e-4)")
    parser.add_argument(
        "--window",
        dest="window_hu",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="HU between which the encoder sees differences, as later in a training (default: -175 250)",
    )
    parser.add_argument("--slices-per-image", type=int, metavar="N", help="at most, evenly spread (default: 128)")
    parser.add_argument("--seed", type=int, metavar="N", help="of all that is random (default: 0)")
    parser.add_argument("--slices", type=Path, metavar="FOLDER", help="keep the slices there, for other runs too")
    parser.add_argument(
        "--continue", dest="resume", action="store_true", help="go on where the same run was stopped, or begin it"
    )
    add_device(parser)
    add_processes(parser, "that read images; default: nnU-Net's")


def run(args: argparse.Namespace) -> int:
    from nnunetv2_cdpd.cli.flags import report_failed, reporter
    from nnunetv2_cdpd.pretrained.choices import encoder_choice
    from nnunetv2_cdpd.pretrained.encoder_choice import find_encoder
    from nnunetv2_cdpd.pretrained.encoders import DINOV2
    from nnunetv2_cdpd.pretraining import pretrain
    from nnunetv2_cdpd.pretraining.settings import PretrainingSettings

    chosen = given(args, *_SETTINGS)
    if "window_hu" in chosen:
        chosen["window_hu"] = tuple(chosen["window_hu"])
    if "encoder" in chosen:
        chosen["encoder"] = DINOV2.get(chosen["encoder"], chosen["encoder"])
    elif (named := encoder_choice()) is not None:
        chosen["encoder"] = find_encoder(named).model_name
    failed = pretrain(
        args.output,
        datasets=args.datasets,
        folders=args.folders,
        weights=args.weights,
        from_nothing=args.from_nothing,
        settings=PretrainingSettings(**chosen),
        resume=args.resume,
        progress=not args.quiet,
        report=reporter(args.flags),
        **given(args, "device", "slices", "num_processes"),
    )
    return report_failed(failed.items(), args.flags)
