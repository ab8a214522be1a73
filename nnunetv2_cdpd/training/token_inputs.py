"""TokenTrainer: what vision tokens ask of a trainer: further inputs of the network, parts of training only, files of tokens."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunetv2_cdpd.host import exchanged, original
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.network.training_only import TrainingOnly
from nnunetv2_cdpd.network.vision_settings import needs_coordinates
from nnunetv2_cdpd.training.checkpoints import UntornTrainer
from nnunetv2_cdpd.training.coordinates import CoordinatePredictor
from nnunetv2_cdpd.training.token_files import TokenFiles, filled_token_files


class TokenTrainer(UntornTrainer):
    """nnU-Net's trainer for a CDPDNet, whatever its tokens are.

    Attributes:
        token_files: Of whole slices, if tokens are those; filled when the training starts.
    """

    token_files: TokenFiles | None = None
    network: nn.Module  # the host's, None before `initialize`
    _batch_inputs: Mapping[str, torch.Tensor] = {}  # of the batch that the network is called with, beside the image

    @property
    def cdpdnet(self) -> CDPDNet:
        """The network itself, without the wrappers of DDP and torch.compile."""
        raise NotImplementedError

    def initialize(self) -> None:
        super().initialize()
        # The host calls network(data). The hook sits on the outermost module, so that DDP and torch.compile see what it
        # passes as further inputs.
        self.network.register_forward_pre_hook(self._pass_inputs, with_kwargs=True)

    def _pass_inputs(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, {**kwargs, **self._batch_inputs}

    @contextmanager
    def inputs_of(self, batch: Mapping[str, Any], *names: str) -> Iterator[None]:
        """Pass these entries of a batch, those that it has, to the network when it is called."""
        self._batch_inputs = {name: batch[name].to(self.device, non_blocking=True) for name in names if name in batch}
        try:
            yield
        finally:
            self._batch_inputs = {}

    def attach_training_parts(self) -> Mapping[str, TrainingOnly]:
        """Make the parts of the network that are there in training only, for the optimizer."""
        return self.cdpdnet.attach_training_parts(self.cdpdnet.num_classes)

    def loader_settings(self) -> dict[str, Any]:
        """What the loader has to know of tokens."""
        coordinates = needs_coordinates(self.configuration_manager.network_arch_init_kwargs)
        return {"coordinates": coordinates, "token_files": self.token_files}

    def on_train_start(self) -> None:
        """The host's, when the tokens are there that batches are to hold; the network has its weights by now."""
        if self.cdpdnet.volume is not None:
            folder, patch_size = Path(self.preprocessed_dataset_folder), self.configuration_manager.patch_size
            encoder, datasets = self.cdpdnet.slice_encoder, super().get_tr_and_val_datasets()
            self.token_files = filled_token_files(folder, encoder, patch_size, datasets, self.print_to_log_file)
        super().on_train_start()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        predictor = CoordinatePredictor if self.cdpdnet.needs_coordinates else original("final_predictor")
        with exchanged("final_predictor", predictor):
            super().perform_actual_validation(save_probabilities)
