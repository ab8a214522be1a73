"""no_waiting: fails where a GPU would be waited for; with tensors of the meta device, which stands for one."""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READ_BY_THE_HOST = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "bincount"}
COPIES = {"_to_copy", "copy_"}
INDEXED = {"index", "index_put", "index_put_"}


class _Operations(TorchDispatchMode):
    """Raises at operations that read values on the host, or whose tensors lie on two devices; counts the others."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        # a scalar of the host travels with the operation, unless it is copied
        devices = {tensor.device.type for tensor in tensors if tensor.ndim or tensor.is_meta or name in COPIES}
        devices |= {torch.device(kwargs["device"]).type} if kwargs.get("device") else set()
        if "meta" in devices:
            assert devices == {"meta"}, f"{name} copies between devices"
            assert name not in READ_BY_THE_HOST, f"{name} is read by the host"
            by_bool = name in INDEXED and any(tensor.dtype == torch.bool for tensor in tensors[1:])
            assert not by_bool, f"{name} by bool gives as many as are true"
            self.count += 1
        return operation(*args, **kwargs)


class _Lists(TorchFunctionMode):
    """Raises where Python's numbers are copied to the device, which PyTorch does below its operations."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            assert torch.device(kwargs["device"]).type != "meta", "torch.tensor copies to the device"
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list) for part in index), "an index of numbers is copied to the device"
        return function(*args, **kwargs)


@contextmanager
def no_waiting():
    """Yields what counts the operations on the device.

    Raises:
        AssertionError: Something would wait for it.
    """
    with _Lists(), _Operations() as operations:
        yield operations
