"""The choices that a user makes outside of nnU-Net's plans: which frozen encoders, and where their weights come from.

They are environment variables, as nnU-Net's own settings are, since nnU-Net's commands take no arguments of ours. They
matter when a training starts, the vision encoder when plans are made too; a trained model carries all and reads none.
"""

import os
from pathlib import Path

AUTO = "auto"  # the same as no choice
VISION_WEIGHTS = "CDPD_VISION_WEIGHTS"  # file of ViT weights, or "random"; unset: the cache, then a download
VISION_ENCODER = "CDPD_VISION_ENCODER"  # name of an encoder, of a ViT of timm, or a YAML file; unset: what the plans say
RANDOM = "random"  # explicit choice: the vision encoder is not pretrained
TEXT_WEIGHTS = "CDPD_TEXT_WEIGHTS"  # file of CLIP weights or of ready embeddings, or "learned"; unset: the cache, then a download

LEARNED = "learned"  # explicit choice: text embeddings are learned with the network, from no text


def weights_choice(variable: str) -> str | None:
    """The user's choice, of VISION_WEIGHTS or TEXT_WEIGHTS; None: find them."""
    choice = os.environ.get(variable)
    return None if choice in ("", AUTO) else choice


def is_there(variable: str, choice: str) -> bool:
    """Whether the file that a user chose exists; for text also a folder, as open_clip and the released tables have one."""
    path = Path(choice).expanduser()
    return path.is_file() or (variable == TEXT_WEIGHTS and path.is_dir())


def encoder_choice() -> str | None:
    """The vision encoder that the user named; None: the one of the plans, if they have one."""
    return os.environ.get(VISION_ENCODER) or None
