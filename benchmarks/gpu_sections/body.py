"""A body to predict."""

import numpy as np
import torch


def body(shape: tuple[int, ...], device: str = "cpu") -> np.ndarray:
    """A made-up CT (z, y, x) in HU, int16: smooth tissue in an ellipse, air around it."""
    generator = torch.Generator(device).manual_seed(0)
    coarse = torch.randn((1, 1, *(max(2, n // 12) for n in shape)), generator=generator, device=device)
    tissue = torch.nn.functional.interpolate(coarse, tuple(shape), mode="trilinear")[0, 0] * 90 + 40
    y, x = (torch.linspace(-1, 1, n, device=device) for n in shape[1:])
    air = (y[:, None] / 0.75) ** 2 + (x[None] / 0.95) ** 2 > 1
    return torch.where(air, -1000.0, tissue).clamp(-1000, 1500).to(torch.int16).cpu().numpy()
