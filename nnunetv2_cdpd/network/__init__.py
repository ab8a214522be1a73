"""CDPDNet and its parts, one file each; `cdpdnet.py` assembles them and reads like the paper's figure."""

from nnunetv2_cdpd.network.cdpdnet import CDPDNet, default_fused_stages, default_slice_step

__all__ = ["CDPDNet", "default_fused_stages", "default_slice_step"]
