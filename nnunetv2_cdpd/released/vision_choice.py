"""VisionChoice: a file of the released ViT's weights, or a name of a ViT that timm knows."""

from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.released.preset import PAPER_VISION_MODEL


def vision_choice(dinov2: str | Path | None) -> tuple[str, Path | None]:
    """timm's name of a ViT, and the file of its weights; None: to be looked for.

    Args:
        dinov2: A file is one of the released model's; None: by the name of the released model.

    Raises:
        UserError: Neither a file nor a ViT that timm knows.
    """
    import timm

    if dinov2 is None:
        return PAPER_VISION_MODEL, None
    path = Path(dinov2).expanduser()
    if path.is_file():
        return PAPER_VISION_MODEL, path
    name = str(dinov2)
    if timm.is_model(name.split(".")[0]) and timm.get_pretrained_cfg(name) is not None:
        return name, None
    raise UserError(
        f"argument dinov2 {dinov2}: no such file, and no model of timm; the released network needs {PAPER_VISION_MODEL}"
    )
