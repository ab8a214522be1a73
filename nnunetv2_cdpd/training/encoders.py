"""The frozen encoders at the start of a training: what the user chose is read, unless a checkpoint has brought it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.network.extension import Extension
from nnunetv2_cdpd.planning.architecture import PERMUTED
from nnunetv2_cdpd.pretrained.choices import LEARNED, RANDOM, TEXT_WEIGHTS, VISION_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.text import load_or_embed
from nnunetv2_cdpd.pretrained.vision import load_vision_weights
from nnunetv2_cdpd.text.permutation import permuted
from nnunetv2_cdpd.text.prompts import Wording
from nnunetv2_cdpd.training.encoder_facts import encoder_facts_of, told_facts
from nnunetv2_cdpd.training.provenance import (
    AT_RANDOM,
    BROUGHT,
    FROM_FILE,
    LEARNED_HERE,
    PRETRAINED,
    TEXT_PART,
    VISION_PART,
    WeightsOrigin,
    file_checksum,
)


def fill_frozen_encoders(network: CDPDNet, arch_kwargs: Mapping[str, Any], embeddings_file: str) -> Iterator[WeightsOrigin]:
    """Give the network its vision weights and text embeddings, and yield where each came from.

    Args:
        arch_kwargs: Those of the plans that the network was built from; they hold the prompts.
        embeddings_file: Beside the preprocessed data, where embeddings are kept.

    Raises:
        UserError: There are no weights to read.
    """
    encoder: Any = network.slice_encoder  # ours or the released network's
    if encoder is not None:
        yield _vision(encoder)
    yield _text(network, arch_kwargs, embeddings_file)
    for extension, settings in zip(network.all_extensions, arch_kwargs.get("extensions", ())):
        _text_of_extension(extension, settings["class_prompts"], arch_kwargs["text"]["encoder"], embeddings_file)


def _vision(encoder: Any) -> WeightsOrigin:
    if encoder.weights_set:
        line = "Vision encoder weights: those that came with the network's weights"
        return WeightsOrigin(VISION_PART, encoder.weights_name, BROUGHT, None, line)
    choice = weights_choice(VISION_WEIGHTS)
    origin = load_vision_weights(encoder, choice)
    kind = AT_RANDOM if choice == RANDOM else PRETRAINED if choice is None else FROM_FILE
    checksum = None if kind == AT_RANDOM else file_checksum(Path(origin))
    facts = encoder_facts_of(Path(origin)) if kind == FROM_FILE else None
    line, pretraining = f"Vision encoder weights: {origin}", None if facts is None else told_facts(facts)
    return WeightsOrigin(VISION_PART, encoder.weights_name, kind, checksum, line, pretraining)


def _text(network: CDPDNet, arch_kwargs: Mapping[str, Any], embeddings_file: str) -> WeightsOrigin:
    name = arch_kwargs["text"]["encoder"]
    if network.text_embeddings_set:
        kind = LEARNED_HERE if name == LEARNED else BROUGHT
        line = "Text embeddings: learned, or those that came with the network's weights"
        return WeightsOrigin(TEXT_PART, name, kind, None, line)
    embeddings = load_or_embed(
        embeddings_file,
        class_prompts=arch_kwargs["text"]["class_prompts"],
        task_prompts=arch_kwargs["task"]["prompts"] if arch_kwargs["task"] else [],
        encoder=name,
        choice=weights_choice(TEXT_WEIGHTS),
    )
    classes, line = embeddings.class_embeddings, f"Text embeddings: {embeddings.encoder}"
    if arch_kwargs["text"].get(PERMUTED):
        classes, line = classes[permuted(len(classes))], f"{line}, every class with that of another one"
    network.set_text_embeddings(classes, embeddings.task_embeddings)
    kind = PRETRAINED if embeddings.encoder == name else FROM_FILE
    return WeightsOrigin(TEXT_PART, name, kind, embeddings.checksum, line)


def _text_of_extension(extension: Extension, prompts: Sequence[Wording], encoder: str, embeddings_file: str) -> None:
    """Further prompts, embedded by the encoder of the former ones."""
    if extension.class_text is None or extension.class_text.embeddings_set:
        return
    choice = weights_choice(TEXT_WEIGHTS)
    if choice == LEARNED:
        raise UserError(
            f"{TEXT_WEIGHTS} is {LEARNED!r}, and this network's embeddings are of {encoder}; unset it, or set it to its weights"
        )
    embeddings = load_or_embed(
        embeddings_file, class_prompts=prompts, task_prompts=(), encoder=encoder, choice=choice, or_learned=False
    )
    extension.class_text.set(embeddings.class_embeddings)
