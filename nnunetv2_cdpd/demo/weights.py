"""Which weights the demo uses: pretrained ones at hand, else small random and learned ones, said plainly."""

from nnunetv2_cdpd.planning.small_planner import SmallPlanning
from nnunetv2_cdpd.pretrained.choices import LEARNED, RANDOM, TEXT_WEIGHTS, VISION_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.text import locate_text_weights
from nnunetv2_cdpd.pretrained.vision import locate_vision_weights


def choose_weights() -> tuple[dict[str, str], list[str]]:
    """Settings to add to the environment, and the choice in words.

    What the user has set stays. Nothing is downloaded: the demo works the same with and without internet.
    """
    settings = SmallPlanning.network_settings
    assert settings.vision_model is not None, "the small network has vision tokens"
    added, words = {}, []
    vision = weights_choice(VISION_WEIGHTS) or locate_vision_weights(settings.vision_model)
    if vision is None:
        added[VISION_WEIGHTS] = vision = RANDOM
    if vision == RANDOM:
        words.append(f"Vision: no pretrained weights at hand; small random weights ({settings.vision_model}), which are frozen.")
    else:
        words.append(f"Vision: pretrained {settings.vision_model} from {vision}.")
    text = weights_choice(TEXT_WEIGHTS) or locate_text_weights(settings.text_encoder)
    if text is None:
        added[TEXT_WEIGHTS] = text = LEARNED
    if text == LEARNED:
        words.append("Text: no pretrained weights at hand; text embeddings are learned with the network, from no text.")
    else:
        words.append(f"Text: {settings.text_encoder} from {text}.")
    return added, words
