"""The volume whose windows a network sees, shown to it as a whole where its tokens are of whole slices."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from nnunetv2_cdpd.network.cdpdnet import CDPDNet


class ShownVolume:
    """The tokens of a volume's whole slices, computed once for each vision encoder of the folds; nothing for other networks.

    Args:
        network: Which sees the volume's windows.
        image: (C, x, y, z), preprocessed.
        weights: Of each fold; what folds have in common is one tensor.
    """

    def __init__(self, network: CDPDNet, image: Tensor, weights: Sequence[Mapping[str, Tensor]]) -> None:
        self.network = network
        self.image = image
        self.encoders = [tuple(id(fold[key]) for key in sorted(fold) if key.startswith("slice_encoder.")) for fold in weights]
        self.tokens: dict[tuple[int, ...], Tensor | None] = {}

    def to_fold(self, fold: int) -> None:
        """Have the network, which has the weights of this fold, see the volume."""
        if self.network.volume is None:
            return
        encoder = self.encoders[fold]
        if encoder not in self.tokens:
            self.network.show(self.image)
            self.tokens[encoder] = self.network.volume.tokens
        self.network.volume.tokens = self.tokens[encoder]
