"""CDPDNet and its parts, one file each; `cdpdnet.py` assembles them and reads like the paper's figure.

`CDPDNet` is the default; `PaperCDPDNet` (paper.py) is the released network exactly.
"""

from nnunetv2_cdpd.network.cdpdnet import CDPDNet, default_fused_stages, default_slice_step
from nnunetv2_cdpd.network.paper import PaperCDPDNet

__all__ = ["CDPDNet", "PaperCDPDNet", "default_fused_stages", "default_slice_step"]
