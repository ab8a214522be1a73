"""A model as one ONNX graph: all folds, a frozen vision encoder once, what text says as constants.

    image (batch, C, X, Y(, Z)), preprocessed  ->  logits (batch, n, X, Y(, Z)), the mean over folds

PyTorch's exporter by torch.export ("dynamo") writes it: the older one, by tracing, keeps a batch's size in the attention, and
the masks of windows as constants of many times the weights' size. Single precision throughout: bfloat16, in which `cdpd predict`
runs a vision encoder on some CPUs, is slow or missing in onnxruntime on others.
"""

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.network import PredictionNetwork
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.network.cdpdnet import TextTerms
from nnunetv2_cdpd.network.text_modulation import Affine
from nnunetv2_cdpd.portable.description import INPUT, KEY, OUTPUT, Description
from nnunetv2_cdpd.portable.runner import OnnxModel

OPSET = 20  # the first with GELU; onnxruntime has it since 1.17
_MOST_BYTES = 2**31 - 2**26  # a file of protobuf ends at 2 GiB; what is not weights takes a part
_TOLERANCE = 1e-3  # of a logit, or of the largest


class FoldMean(nn.Module):
    """(B, C, X, Y(, Z)) -> logits (B, n, X, Y(, Z)), the mean over folds.

    Args:
        predictor: Whose folds and selection these are; it cannot predict afterwards.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        base, weights = predictor.network.network, predictor.list_of_parameters
        encoder = base.slice_encoder
        self.one_encoder = all(
            fold[key] is weights[0][key] for fold in weights for key in fold if key.startswith("slice_encoder.")
        )
        shared = {id(encoder): encoder} if encoder is not None and self.one_encoder else {}
        folds = []
        for state_dict in weights:
            network = copy.deepcopy(base, dict(shared)).eval().requires_grad_(False)
            network.load_state_dict(state_dict)
            if network.slice_encoder is not None:
                network.slice_encoder.bfloat16_on_cpu = False
            fold = PredictionNetwork(network)
            fold.choose(predictor.selection.choices)
            fold.fix_text(_detached(network.text_terms()))
            fold.slice_tokens = None  # which slices are alike only a run tells
            folds.append(fold)
        self.folds = nn.ModuleList(folds)

    def exchange_norms(self) -> None:
        """Put norms in place of the network's that onnxruntime computes as exactly as PyTorch does."""
        for part in list(self.modules()):
            for name, child in part.named_children():
                if isinstance(child, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
                    part.add_module(name, StepwiseNorm(child))

    @property
    def num_bytes(self) -> int:
        """Of all weights, those that folds share once; and of the text, which a graph does not hold."""
        return sum({id(tensor): tensor.nbytes for tensor in (*self.parameters(), *self.buffers())}.values())

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self.folds[0]
        tokens = first.network.token_grids(x) if self.one_encoder else None
        logits = [fold(x, tokens) for fold in self.folds]
        return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]


class StepwiseNorm(nn.Module):
    """An instance norm whose means are taken along one axis after the other.

    onnxruntime's own adds up all voxels of a channel in one sum of single precision, which in a window of 96^3 voxels is off in
    the third digit where the mean is large against the spread.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = x - _mean(x)
        scale = (_mean(x * x) + self.norm.eps).rsqrt()
        if self.norm.affine:
            weight, bias = (term.view(1, -1, *[1] * (x.ndim - 2)) for term in (self.norm.weight, self.norm.bias))
            return x * (scale * weight) + bias
        return x * scale


def _mean(x: Tensor) -> Tensor:
    for axis in range(x.ndim - 1, 1, -1):
        x = x.mean(axis, keepdim=True)
    return x


def write_graph(network: FoldMean, description: Description, path: Path) -> float:
    """Write the graph, and compare what onnxruntime makes of it with what PyTorch does.

    Returns:
        The largest difference of a logit.

    Raises:
        UserError: A package is missing, the weights are too many for one file, or the results differ.
    """
    onnx = _onnx()
    if network.num_bytes > _MOST_BYTES:
        raise UserError(
            f"argument folds: their weights take {network.num_bytes / 2**30:.1f} GiB, and a file of ONNX holds 2; give fewer"
        )
    shape = (len(description.channels), *description.patch_size)
    windows = _windows(shape)
    with torch.inference_mode():
        expected = [network(each).numpy() for each in windows]
    network.exchange_norms()
    with torch.no_grad(), _silent():
        program: Any = torch.onnx.export(
            network,
            (torch.randn(2, *shape),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        model = onnx.load_model_from_string(program.model_proto.SerializeToString())
    _strip(model)
    onnx.helper.set_model_props(model, {KEY: description.to_json()})
    onnx.save_model(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return _check(OnnxModel(path), windows, expected)


def _windows(shape: tuple[int, ...]) -> list[Tensor]:
    """To compare on: batches of one and of two; noise, and a window that is air in a half and of little contrast in the other."""
    generator = torch.Generator().manual_seed(0)
    noise, other = torch.randn(2, *shape, generator=generator)
    other = 1 + 0.05 * other
    other[:, : shape[1] // 2] = -1
    return [other[None], torch.stack([noise, other])]


def _check(exported: OnnxModel, windows: Sequence[Tensor], expected: Sequence[np.ndarray]) -> float:
    largest = 0.0
    for batch, logits in zip(windows, expected):
        found = exported.logits(batch.numpy())
        difference = float(np.abs(found - logits).max()) if found.shape == logits.shape else math.inf
        if not difference <= _TOLERANCE * max(1.0, float(np.abs(logits).max())):
            raise UserError(
                f"the exported network's logits differ from the model's by {difference:.3g}; nothing was written. Take other "
                f"versions of onnxruntime or torch (here {torch.__version__})"
            )
        largest = max(largest, difference)
    return largest


def _onnx() -> Any:
    if not hasattr(torch.compiler, "is_exporting"):
        raise UserError(f"this PyTorch ({torch.__version__}) cannot export the network; take 2.7 or later")
    try:
        import onnx
        import onnxruntime  # noqa: F401 - for the check
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install 'nnunetv2-cdpd[onnx]'") from error
    return onnx


def _strip(model: Any) -> None:
    """Take out what the exporter notes beside the graph: lines of our sources, paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, *model.functions):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]


def _detached(text: TextTerms) -> TextTerms:
    def own(affine: Affine) -> Affine:
        return Affine(*(term.detach().clone() for term in affine))

    extensions = tuple(tuple(map(own, stages)) for stages in text.extensions)
    return TextTerms(tuple(map(own, text.stages)), None if text.task is None else own(text.task), extensions)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what PyTorch's exporter tells of its own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
