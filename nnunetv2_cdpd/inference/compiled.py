"""torch.compile for a PredictionNetwork, as nnU-Net's predictor does where the variable nnUNet_compile asks for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_cdpd.inference.network import PredictionNetwork


def compile_parts(network: PredictionNetwork) -> None:
    """Compile what runs for every window: the vision encoder, the encoder with its fusions, and the decoder.

    What decides whether something needs to run at all (tokens of slices that are known, text terms) stays Python between them:
    traced, it would be compiled again whenever what is remembered changes.
    """
    inner = network.network
    inner.encode = torch.compile(inner.encode)
    if network.slice_tokens is not None:
        # As many slices as are new: one graph for any number.
        network.slice_tokens.encode = torch.compile(network.slice_tokens.encode, dynamic=True)
    eager_decode, compiled_decode = inner.decode, torch.compile(inner.decode)

    def decode(skips: Sequence[Tensor], task: Tensor | None) -> Tensor:
        """The first window with new weights computes the text terms, which the graph takes as given."""
        is_known = all(term.result is not None for term in network.text_terms)
        return (compiled_decode if is_known else eager_decode)(skips, task)

    inner.decode = decode
