"""cdpd import-official: the released checkpoint as an nnU-Net model folder."""

import argparse
from collections import Counter
from pathlib import Path

from nnunetv2_cdpd.cli.options import add_output, add_place

DESCRIPTION = """
Make an nnU-Net model folder of the released CDPDNet (cdpdnet.pth). The released checkpoint has everything but DINOv2, which
is read from a file, timm's cache or the model hub, and then travels in the model folder.

The images are CT in HU as NIfTI files (.nii.gz), in any orientation and spacing. docs/official.md tells what is the same as
in the released code and what is not.
"""
EXAMPLES = (
    """cdpd import-official cdpdnet.pth --dinov2 dinov2_vitb14_pretrain.pth -o MODEL_FOLDER
cdpd predict -i IMAGES -o PREDICTIONS -m MODEL_FOLDER --task KiTS""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser, ("-i",), "checkpoint", "the released cdpdnet.pth", metavar="CHECKPOINT")
    parser.add_argument(
        "--dinov2",
        metavar="FILE_OR_NAME",
        help="file of DINOv2 ViT-B/14 weights (timm's, Meta's or Hugging Face transformers'), or timm's name of the model, "
        "looked for in the cache, then downloaded (default: by the name of the released model)",
    )
    add_output(parser, "the new model folder, which must not exist yet", metavar="MODEL_FOLDER", required=True)


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.card.files import card_if_possible
    from nnunetv2_cdpd.released.model_folder import import_official

    def add_card(folder: Path) -> None:
        card_if_possible(folder, print, Path(args.output))

    imported = import_official(args.checkpoint, args.output, dinov2=args.dinov2, finish=add_card)
    print(f"DINOv2: {imported.vision_weights}")
    for reason, number in Counter(imported.dropped.values()).items():
        print(f"left out, {number} tensors: {reason}")
    print(f"written to {imported.folder}; predict with")
    print(f"  nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTIONS -m {imported.folder} -f all")
