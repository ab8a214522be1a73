"""What `--dinov2 FILE_OR_NAME` means."""

from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.released.preset import PAPER_VISION_MODEL


def vision_choice(file_or_name: str | None) -> tuple[str, Path | None]:
    """timm's name of a ViT, and the file of its weights; None: to be looked for.

    Args:
        file_or_name: A file is one of the released model's; None: by the name of the released model.

    Raises:
        UserError: Neither a file nor a ViT that timm knows.
    """
    import timm

    if file_or_name is None:
        return PAPER_VISION_MODEL, None
    path = Path(file_or_name).expanduser()
    if path.is_file():
        return PAPER_VISION_MODEL, path
    if timm.is_model(file_or_name.split(".")[0]) and timm.get_pretrained_cfg(file_or_name) is not None:
        return file_or_name, None
    raise UserError(
        f"--dinov2 {file_or_name}: no such file, and no model of timm; the released network needs {PAPER_VISION_MODEL}"
    )
