"""Devices: where to compute, decided before there is any work that could be lost."""

import torch

from nnunetv2_cdpd.errors import UserError


def chosen_device(device: str | torch.device | None = None) -> torch.device:
    """The device that is asked for; None: a GPU if there is one, else the CPU.

    Raises:
        UserError: It is none of PyTorch's, or is not here.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(f"argument device {device}: no device; give cuda, cpu or mps") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("argument device cuda: this PyTorch finds no GPU here; give argument device cpu, or see cdpd doctor")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"argument device {chosen}: there are {torch.cuda.device_count()} GPUs here, counted from 0")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("argument device mps: this PyTorch finds no GPU of Apple's here; give argument device cpu")
    return chosen
