"""Which weights the demo uses: pretrained ones at hand, else small random and learned ones, said plainly."""

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
from nnunetv2_cdpd.pretrained.text import locate_text_weights
from nnunetv2_cdpd.pretrained.vision import locate_vision_weights


def choose_weights() -> tuple[dict[str, str], list[str]]:
    """Settings to add to the environment of commands, which may run in another folder, and the choice in a sentence each.

    What the user has set stays. Nothing is downloaded: the demo works the same with and without internet.
    """
    network = SmallPlanning.network_settings
    encoder = network.with_chosen_encoder().vision_weights_name
    assert encoder is not None, "the small network has vision tokens"
    choices = {variable: weights_choice(variable) for variable in (VISION_WEIGHTS, TEXT_WEIGHTS)}
    vision = choices[VISION_WEIGHTS] or locate_vision_weights(encoder) or RANDOM
    text = choices[TEXT_WEIGHTS] or locate_text_weights(network.text_encoder) or LEARNED
    settings = {}
    if (chosen := encoder_choice()) is not None and os.path.isfile(os.path.expanduser(chosen)):
        settings[VISION_ENCODER] = os.path.abspath(os.path.expanduser(chosen))
    for (variable, choice), weights in zip(choices.items(), (vision, text)):
        if choice is None and weights in (RANDOM, LEARNED):
            settings[variable] = str(weights)
        elif choice not in (None, RANDOM, LEARNED):
            settings[variable] = os.path.abspath(os.path.expanduser(choice))
    told = [f"Vision: pretrained {encoder} from {vision}.", f"Text: {network.text_encoder} from {text}."]
    if vision == RANDOM:
        told[0] = f"Vision: no pretrained weights at hand; small random weights ({encoder}), which are frozen."
    if text == LEARNED:
        told[1] = "Text: no pretrained weights at hand; text embeddings are learned with the network, from no text."
    return settings, told
