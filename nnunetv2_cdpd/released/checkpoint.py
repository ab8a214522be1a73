"""Reading the released checkpoint: a torch file of {net, optimizer, scheduler, epoch}, or of the network's state dict alone.

Nothing in the file is executed. All that can be wrong with it ends in one line that names the file and what is missing.
"""

from pathlib import Path

import torch
from torch import Tensor

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pretrained.torch_files import read_torch

_NETWORK = "net"
_FORM = "the released checkpoint is a dictionary of net, optimizer, scheduler and epoch"


def read_released(path: Path) -> dict[str, Tensor]:
    """The network's state dict, on the CPU, under the released names.

    Raises:
        UserError: No such file; truncated, not torch's, or only readable by executing code from it; without the network's
            weights; with weights that are no finite numbers.
    """
    content = read_torch(path, "fetch the file again", "give the released cdpdnet.pth")
    state_dict = content.get(_NETWORK, content) if isinstance(content, dict) else content
    if not isinstance(state_dict, dict) or not state_dict or not all(isinstance(value, Tensor) for value in state_dict.values()):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: no network weights under {_NETWORK!r}; {_FORM}, found {found}")
    broken = [key for key, value in state_dict.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"{path}: {len(broken)} weights hold nan or inf (first: {broken[0]}); fetch the file again")
    return state_dict
