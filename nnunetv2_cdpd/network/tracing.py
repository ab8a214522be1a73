"""Whether a forward pass computes, or is only looked at: what is kept from one pass to the next is kept where it computes."""

import torch
from torch import Tensor

# not in every PyTorch that nnU-Net accepts; nothing is kept there
_compiling = getattr(torch.compiler, "is_compiling", lambda: True)
_exporting = getattr(torch.compiler, "is_exporting", lambda: False)


def is_traced(x: Tensor) -> bool:
    """Whether a tensor of a forward pass stands for values that are not there: in a compiler's trace, or a fake tensor."""
    return _compiling() or type(x) is not Tensor


def is_exported() -> bool:
    """Whether a forward pass is written down for another machine (torch.export), for batches of any size."""
    return _exporting()
