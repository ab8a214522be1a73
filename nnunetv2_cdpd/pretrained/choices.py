"""The two choices that a user makes outside of nnU-Net's plans: where the frozen encoders' weights come from.

They are environment variables, as nnU-Net's own settings are, since nnU-Net's commands take no arguments of ours. They
matter when a training starts; a trained model carries its weights and reads neither.
"""

import os

AUTO = "auto"  # the same as no choice
VISION_WEIGHTS = "CDPD_VISION_WEIGHTS"  # file of ViT weights, or "random"; unset: the cache, then a download
RANDOM = "random"  # explicit choice: the vision encoder is not pretrained
TEXT_WEIGHTS = "CDPD_TEXT_WEIGHTS"  # file of CLIP weights or of ready embeddings, or "learned"; unset: the cache, then a download

LEARNED = "learned"  # explicit choice: text embeddings are learned with the network, from no text


def weights_choice(variable: str) -> str | None:
    """The user's choice, of VISION_WEIGHTS or TEXT_WEIGHTS; None: find them."""
    choice = os.environ.get(variable)
    return None if choice in ("", AUTO) else choice
