"""CDPDNet and its parts, one file each; `cdpdnet.py` assembles them and reads like the paper's figure."""

import importlib
from typing import Any

from nnunetv2_cdpd.network.cdpdnet import CDPDNet, default_fused_stages, default_slice_step

__all__ = ["CDPDNet", "default_fused_stages", "default_slice_step"]


def __getattr__(name: str) -> Any:
    """The released network by the name that plans have for it; it stands on this package, so it is no part of it."""
    if name == "PaperCDPDNet":
        return importlib.import_module("nnunetv2_cdpd.released.network").PaperCDPDNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
