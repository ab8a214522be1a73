"""The vision encoder that a user names: one of the table, a ViT of timm, or one of their own, told in a YAML file.

    model: vit_base_patch16_dinov3     # its architecture, by timm's name
    unit: HU                           # what mean and std are of: HU, or images in [0, 1] (`image`)
    mean: 65.1                         # one number, or three
    std: 178.0
    window: [-1000, 1000]              # in HU, to which its training images were clipped; needed with `unit: HU`

Nothing about its training images is guessed: timm takes ImageNet's statistics for a model of which it knows none.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.jobs.shapes import NAME, NUMBER, POSITIVE, check_shape, list_of, record
from nnunetv2_cdpd.jobs.yaml_files import known_mapping, load_yaml
from nnunetv2_cdpd.pretrained.choices import RANDOM, VISION_ENCODER, VISION_WEIGHTS, weights_choice
from nnunetv2_cdpd.pretrained.encoders import DINOV2, ENCODERS, VisionEncoder

_PAGE = "docs/training.md"
_SUFFIXES = (".yaml", ".yml")
_UNITS = {"HU": True, "image": False}
_THREE, _THREE_POSITIVE = list_of(NUMBER, 3, 3), list_of(POSITIVE, 3, 3)
_SHAPE = record(
    {"model": NAME, "unit": NAME, "mean": _THREE, "std": _THREE_POSITIVE}, {"window": list_of(NUMBER, 2, 2)}, "such an encoder"
)
_WAY_OUT = f"{_PAGE} has an example"


@cache
def find_encoder(name: str) -> VisionEncoder:
    """The encoder of a name, see the module.

    Raises:
        UserError: There is none, it is no ViT of patch tokens, or its statistics are not known.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if name.endswith(_SUFFIXES):
        return _of_file(Path(name).expanduser())
    import timm

    name = DINOV2.get(name, name)
    if not timm.is_model(name.split(".")[0]):
        raise UserError(
            f"{VISION_ENCODER}={name[:80]}: no encoder of this name; known are {listed([*DINOV2, *ENCODERS])}, the ViTs of timm, "
            f"and a YAML file that tells one ({_PAGE}); unset it for no vision tokens"
        )
    config = timm.get_pretrained_cfg(name) if _is_released(name) else None
    if config is None or not config.mean or not config.std:
        raise UserError(
            f"{VISION_ENCODER}={name[:80]}: timm knows of no images that it was trained on; tell their mean and std in a YAML "
            f"file ({_PAGE})"
        )
    _check_architecture(name, f"{VISION_ENCODER}={name}")
    weights = name if "." in name else f"{name}.{config.tag}"  # a name without a tag means timm's first one
    return VisionEncoder(weights, weights, tuple(config.mean), tuple(config.std))


def is_file(encoder: VisionEncoder) -> bool:
    """Whether an encoder is told by a file of the user's."""
    return encoder.name not in ENCODERS and encoder.name != encoder.model_name


def check_nothing_is_given_for_vision() -> None:
    """For a network without vision tokens: raise UserError where the user gives a file of weights for them."""
    choice = weights_choice(VISION_WEIGHTS)
    if choice not in (None, RANDOM):
        raise UserError(
            f"{VISION_WEIGHTS}={choice}: this network has no vision tokens; name the encoder that these weights are of in "
            f"{VISION_ENCODER} (as {' or '.join(DINOV2)}), before planning, or unset {VISION_WEIGHTS}"
        )


def _is_released(name: str) -> bool:
    """Whether timm has weights of this name, and with them statistics."""
    import timm

    return timm.is_model_pretrained(name) if "." in name else bool(timm.list_pretrained(f"{name}.*"))


def _of_file(path: Path) -> VisionEncoder:
    content: Mapping[str, Any] = known_mapping(load_yaml(path, _PAGE), ("model", "unit", "mean", "std", "window"), str(path))
    content = {
        key: [value] * 3 if key in ("mean", "std") and not isinstance(value, list) else value for key, value in content.items()
    }
    check_shape(content, _SHAPE, path, _WAY_OUT)
    if content["unit"] not in _UNITS:
        raise UserError(f"{path}: `unit` is {content['unit']!r}, not {' or '.join(_UNITS)}; {_WAY_OUT}")
    window = content.get("window")
    if window is not None and not window[0] < window[1]:
        raise UserError(f"{path}: `window` is {window}, not (low, high) in HU; {_WAY_OUT}")
    if _UNITS[content["unit"]] and window is None:
        raise UserError(f"{path}: `window` is missing, the HU to which the encoder's training images were clipped; {_WAY_OUT}")
    import timm

    name = path.stem
    if name in DINOV2 or name in ENCODERS or timm.is_model(name.split(".")[0]):
        raise UserError(f"{path}: {name} is the name of a known encoder; rename the file, whose name is the encoder's")
    _check_architecture(content["model"], f"{path}: `model`")
    mean, std = (tuple(map(float, content[key])) for key in ("mean", "std"))
    return VisionEncoder(
        name,
        content["model"],
        mean,
        std,
        _UNITS[content["unit"]],
        None if window is None else (float(window[0]), float(window[1])),
    )


def _check_architecture(model_name: str, where: str) -> None:
    """Raise UserError unless timm's model is a ViT of patch tokens; built without weights."""
    import timm
    import torch

    if not timm.is_model(model_name.split(".")[0]):  # of create_model's names some are of files to load
        raise UserError(f"{where}: {model_name[:80]} is no ViT of timm; give the name of one")
    try:
        with torch.device("meta"):
            vit = timm.create_model(model_name, pretrained=False, num_classes=0, dynamic_img_size=True)
        is_vit = all(hasattr(vit, name) for name in ("blocks", "patch_embed", "forward_intermediates", "num_prefix_tokens"))
        is_vit = is_vit and isinstance(vit.patch_embed, timm.layers.PatchEmbed)
        why = "it has no blocks with tokens of patches alone"
    except Exception as error:  # timm's models each meet what they do not know in their own way
        is_vit, why = False, reason(error)
    if not is_vit:
        raise UserError(f"{where}: {model_name[:80]} is no ViT of timm that can encode slices of any size ({why}); give another")
