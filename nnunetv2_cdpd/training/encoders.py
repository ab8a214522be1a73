"""The frozen encoders at the start of a training: what the user chose is read, unless a checkpoint has brought it."""

from collections.abc import Iterator, Mapping
from typing import Any

from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.pretrained.choices import TEXT_WEIGHTS, VISION_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.text import load_or_embed
from nnunetv2_cdpd.pretrained.vision import load_vision_weights


def fill_frozen_encoders(network: CDPDNet, arch_kwargs: Mapping[str, Any], embeddings_file: str) -> Iterator[str]:
    """Give the network its vision weights and text embeddings, and yield a line about each.

    Args:
        arch_kwargs: Those of the plans that the network was built from; they hold the prompts.
        embeddings_file: Beside the preprocessed data, where embeddings are kept.

    Raises:
        UserError: There are no weights to read.
    """
    encoder: Any = network.slice_encoder  # ours or the released network's
    if encoder is not None and not encoder.weights_set:
        origin = load_vision_weights(encoder, weights_choice(VISION_WEIGHTS))
        yield f"Vision encoder weights: {origin}"
    if network.text_embeddings_set:
        yield "Text embeddings: learned, or those that came with the network's weights"
        return
    embeddings = load_or_embed(
        embeddings_file,
        class_prompts=arch_kwargs["text"]["class_prompts"],
        task_prompts=arch_kwargs["task"]["prompts"] if arch_kwargs["task"] else [],
        encoder=arch_kwargs["text"]["encoder"],
        choice=weights_choice(TEXT_WEIGHTS),
    )
    network.set_text_embeddings(embeddings.class_embeddings, embeddings.task_embeddings)
    yield f"Text embeddings: {embeddings.encoder}"
