"""Which weights the demo uses: pretrained ones at hand, else random and learned ones, said plainly."""

import os

from nnunetv2_cdpd.planning.small_planner import SmallPlanning
from nnunetv2_cdpd.pretrained.choices import (
    LEARNED,
    RANDOM,
    TEXT_WEIGHTS,
    VISION_ENCODER,
    VISION_WEIGHTS,
    encoder_choice,
    weights_choice,
)
from nnunetv2_cdpd.pretrained.encoder_choice import check_nothing_is_given_for_vision
from nnunetv2_cdpd.pretrained.text import locate_text_weights
from nnunetv2_cdpd.pretrained.vision import locate_vision_weights


def choose_weights() -> tuple[dict[str, str], list[str]]:
    """Settings to add to the environment of commands, which may run in another folder, and each choice in a sentence.

    What the user has set stays. Nothing is downloaded: the demo works the same with and without internet.

    Raises:
        UserError: Vision weights without an encoder, which the training would refuse.
    """
    network = SmallPlanning.network_settings
    encoder = network.with_chosen_encoder().vision_weights_name
    text_encoder = network.text_encoder
    if encoder is None:
        check_nothing_is_given_for_vision()
    choices = {variable: weights_choice(variable) for variable in (VISION_WEIGHTS, TEXT_WEIGHTS)}
    vision = encoder and (choices[VISION_WEIGHTS] or locate_vision_weights(encoder) or RANDOM)
    text = choices[TEXT_WEIGHTS] or locate_text_weights(text_encoder) or LEARNED
    settings = {}
    if (chosen := encoder_choice()) is not None and os.path.isfile(os.path.expanduser(chosen)):
        settings[VISION_ENCODER] = os.path.abspath(os.path.expanduser(chosen))
    for (variable, choice), weights in zip(choices.items(), (vision, text)):
        if choice is None and weights in (RANDOM, LEARNED):
            settings[variable] = str(weights)
        elif choice not in (None, RANDOM, LEARNED):
            settings[variable] = os.path.abspath(os.path.expanduser(choice))
    return settings, [_told_vision(encoder, vision), _told_text(text_encoder, text)]


def _told_vision(encoder: str | None, weights: object) -> str:
    if encoder is None:
        return f"Vision: none, since no encoder is named ({VISION_ENCODER})."
    if weights == RANDOM:
        return f"Vision: no pretrained weights at hand, or not wanted; random weights ({encoder}), which are frozen."
    return f"Vision: pretrained {encoder} from {weights}."


def _told_text(encoder: str, weights: object) -> str:
    if weights == LEARNED:
        return "Text: no pretrained weights at hand; text embeddings are learned with the network, from no text."
    return f"Text: {encoder} from {weights}."
