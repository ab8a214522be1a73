"""cdpd train: nnUNetv2_train, also as one of several processes that a launcher starts, on one node or several."""

import argparse

DESCRIPTION = """
nnUNetv2_train, with its arguments (see its -h); -tr is nnUNetTrainerCDPD unless given. It differs where a launcher such as
torchrun starts several processes: they train together, on one node or on several that share nnU-Net's folders, with -device
cuda (one GPU for each process of a node) or -device cpu. On two nodes of four GPUs, on each:

  torchrun --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \\
      --no-python cdpd train 400 3d_fullres 0

The batch of the plans is shared out among all processes, so it must hold at least as many samples.
"""


NNUNET_FLAGS = {"device": "-device"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "cdpd train DATASET CONFIGURATION FOLD [any argument of nnUNetv2_train]"


def run(args: argparse.Namespace) -> None:
    from nnunetv2_cdpd.cli.nnunet_commands import train

    train(args.rest)
