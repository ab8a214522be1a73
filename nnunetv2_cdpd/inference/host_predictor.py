"""HostPredictor: nnU-Net's predictor with our network, our sliding window, and checkpoints read without executing code.

What differs from nnUNetPredictor, whose preprocessing, windows and mirroring it uses:
    network         text terms once, slice tokens once, only the heads that are needed, any task (`network`)
    sliding window  windows in batches, constant windows once (`sliding_window`); all folds of a place one after the other,
                    so that a volume's logits are finished block by block (`blocks`)
    checkpoints     see `models`
    images          checked before and after nnU-Net's preprocessing, and resampled axis by axis (`preprocessing`)
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.configuration import default_num_processes
from nnunetv2.inference import predict_from_raw_data as host
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor
from torch._dynamo import OptimizedModule

from nnunetv2_cdpd.annotation import Annotation, read_annotation
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names
from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.inference.blocks import Block, Box, Readout, not_seen
from nnunetv2_cdpd.inference.devices import chosen_device
from nnunetv2_cdpd.inference.models import load_model
from nnunetv2_cdpd.inference.network import PredictionNetwork, on_device
from nnunetv2_cdpd.inference.preprocessing import CasePreprocessor, PathLike, PreprocessedCase
from nnunetv2_cdpd.inference.shown_volume import ShownVolume
from nnunetv2_cdpd.inference.sliding_window import Ensemble, ReportWindows, at_whole_steps, blocks_of_logits
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.network.coordinates import with_coordinates
from nnunetv2_cdpd.place.applied import CTPlace
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE
from nnunetv2_cdpd.volumes.reading import CheckedReader


class HostPredictor(host.nnUNetPredictor):
    """From images to logits with one trained model folder.

    Args:
        device: None: a GPU if there is one.
        tile_step_size: As nnUNetPredictor's, like the next three.
        use_gaussian: See there.
        use_mirroring: See there.
        perform_everything_on_device: See there.
        windows_per_batch: None: 2 on a GPU (nnU-Net plans no smaller batch for training), else 1.
        align_windows: Place windows along the slice axis at whole slice steps, so that overlapping windows share slices (see
            docs/prediction.md). Changes where windows lie by less than a step, and with that the result a little.
        allow_tqdm: Show the progress over the windows of a volume.
        report: Hears how many windows of a volume are done, of how many; what it raises ends the prediction.

    Raises:
        UserError: A batch of no windows, a step of none or of more than a window, or a GPU where there is none.
    """

    # Set when a model is loaded.
    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    dataset_json: dict[str, Any]
    annotation: Annotation
    network: PredictionNetwork
    writer: CheckedReader  # nnU-Net's reader and writer of the model's plans
    model_folder: Path | None = None
    place: CTPlace | None = None  # by which images are looked at when they are read

    def __init__(
        self,
        device: torch.device | str | None = None,
        *,
        tile_step_size: float = 0.5,
        use_gaussian: bool = True,
        use_mirroring: bool = True,
        perform_everything_on_device: bool = True,
        windows_per_batch: int | None = None,
        align_windows: bool = False,
        verbose: bool = False,
        allow_tqdm: bool = False,
        report: ReportWindows | None = None,
    ) -> None:
        check_at_least(1, windows_per_batch=windows_per_batch)
        if not 0 < tile_step_size <= 1:
            raise UserError(f"argument tile_step_size {tile_step_size}: give a number above 0 up to 1, of which 1 is no overlap")
        device = chosen_device(device)
        with contextlib.redirect_stdout(io.StringIO()):  # of a setting that it changes for the CPU
            super().__init__(
                tile_step_size, use_gaussian, use_mirroring, perform_everything_on_device, device, verbose, verbose, allow_tqdm
            )
        self.model_files: tuple[Path, ...] = ()
        self.windows_per_batch = windows_per_batch or (2 if device.type == "cuda" else 1)
        self.align_windows = align_windows
        self.report = report

    def initialize_from_trained_model_folder(
        self,
        model_training_output_dir: str,
        use_folds: Sequence[int | str] | None,
        checkpoint_name: str = "checkpoint_final.pth",
    ) -> None:
        """As nnUNetPredictor's.

        Raises:
            UserError: A file is missing or damaged, or the model is no CDPDNet.
        """
        folder = Path(model_training_output_dir)
        model = load_model(folder, use_folds, checkpoint_name)
        self.model_folder, self.model_files = folder, (folder / PLANS_FILE, folder / FILE_NAME)
        if not isinstance(model.network, CDPDNet):
            raise UserError(f"{folder}: a model of {model.trainer_name}, no CDPDNet; use nnUNetv2_predict_from_modelfolder")
        self.annotation = read_annotation(model.dataset_json, where=folder / FILE_NAME)
        network = PredictionNetwork(model.network)
        self.manual_initialization(*model._replace(network=network))
        if isinstance(self.network, OptimizedModule):  # nnUNet_compile
            network.compile()
        self.network = network
        self.list_of_parameters = on_device(model.weights, self.device)
        self.writer = CheckedReader(self.plans_manager.image_reader_writer_class())

    @property
    def file_ending(self) -> str:
        return self.dataset_json["file_ending"]

    @property
    def num_channels(self) -> int:
        """Images per case."""
        return len(channel_names(self.dataset_json))

    # ---- preprocessing -----------------------------------------------------------------------------------------------

    def preprocess_files(self, files: Sequence[PathLike], previous_stage: PathLike | None = None) -> PreprocessedCase:
        """See `CasePreprocessor.files`."""
        return self._preprocessor.files(files, previous_stage)

    def preprocess_array(self, image: np.ndarray, spacing_mm: Sequence[float]) -> PreprocessedCase:
        """See `CasePreprocessor.array`."""
        return self._preprocessor.array(image, spacing_mm)

    @property
    def _preprocessor(self) -> CasePreprocessor:
        how = self.verbose_preprocessing, self.place
        return CasePreprocessor(self.plans_manager, self.configuration_manager, self.dataset_json, self.writer, *how)

    # ---- from preprocessed image to logits ---------------------------------------------------------------------------

    def logit_blocks(self, data: Tensor) -> Iterator[Block]:
        """Logits of the chosen classes, the mean over folds, block by block as they are finished; every voxel comes once.

        Where the GPU has no memory for the sums of its blocks, they are made anew and held by the CPU; blocks that were
        finished before are not given again.

        Args:
            data: (C, x, y, z), preprocessed.

        Raises:
            UserError: The network gives values that are no finite numbers.
        """
        on_device = self.perform_everything_on_device and self.device.type != "cpu"
        self.network = self.network.to(self.device).eval()  # not in inference mode, whose tensors do not tell when they change
        given: set[Box] = set()
        if on_device:
            try:
                yield from not_seen(self._blocks(data, self.device), given)
                return
            except torch.cuda.OutOfMemoryError:
                pass  # the sums are held for as long as the error is: till here
            host.empty_cache(self.device)
        yield from not_seen(self._blocks(data, torch.device("cpu")), given)

    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """As nnUNetPredictor's: (C, x, y, z) -> logits (n, x, y, z) of all blocks, half precision, on the CPU."""
        logits = torch.empty((len(self.network.classes), *data.shape[1:]), dtype=torch.half)
        with hosts_threads():
            for block in self.logit_blocks(data):
                block.write_to(logits)
        return logits

    @torch.inference_mode()
    def _blocks(self, data: Tensor, sums_device: torch.device) -> Iterator[Block]:
        weights = self.list_of_parameters
        readout = self.network.readout(weights)
        channels = self.network.num_values(readout)

        shown = ShownVolume(self.network.network, data, weights)

        def run(fold: int, windows: Tensor) -> Tensor:
            self.network.load_state_dict(weights[fold])
            shown.to_fold(fold)
            self.network.features_only = readout is not None
            try:  # nnU-Net's precision; not around the blocks, whose logits are made and interpolated in single precision
                with torch.autocast("cuda") if self.device.type == "cuda" else contextlib.nullcontext():
                    return self._internal_maybe_mirror_and_predict(windows)
            finally:
                self.network.features_only = False

        padded, inside = host.pad_nd_image(data, self.configuration_manager.patch_size, "constant", {"value": 0}, True)
        slicers = self._internal_get_sliding_window_slicers(padded.shape[1:])
        if self.network.network.needs_coordinates:
            padded = with_coordinates(padded, inside[1:])
        ensemble = Ensemble(run, len(weights), channels, readout is not None, (readout or Readout()).to(sums_device))
        for block in self._blocks_of(padded.to(sums_device), slicers, ensemble):
            if (own := block.inside(inside[1:])) is not None:
                yield own

    def _blocks_of(self, data: Tensor, slicers: list, ensemble: Ensemble) -> Iterator[Block]:
        return blocks_of_logits(
            data,
            slicers,
            ensemble,
            third_axis=self._slice_axis,
            use_gaussian=self.use_gaussian,
            windows_per_batch=self.windows_per_batch,
            device=self.device,
            progress=self.allow_tqdm,
            report=self.report,
        )

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(self, data: Tensor, slicers: list, do_on_device: bool = True) -> Tensor:
        """nnU-Net's hook, for its own methods: of the network with the weights that it has."""
        data = data.to(self.device if do_on_device else "cpu")
        logits = torch.empty((len(self.network.classes), *data.shape[1:]), dtype=torch.half, device=data.device)
        ensemble = Ensemble(lambda _, x: self._internal_maybe_mirror_and_predict(x), 1, len(logits), False, Readout())
        for block in self._blocks_of(data, slicers, ensemble):
            block.write_to(logits)
        return logits

    @property
    def _slice_axis(self) -> int:
        """Along which windows follow each other that hold the same slices, so that few tokens need to be remembered."""
        encoder = self.network.network.slice_encoder
        return 2 if encoder is None or len(self.configuration_manager.patch_size) != 3 else encoder.slice_axis

    def _internal_get_sliding_window_slicers(self, image_size: tuple[int, ...]) -> list:
        slicers = super()._internal_get_sliding_window_slicers(image_size)
        encoder = self.network.network.slice_encoder
        if encoder is None or len(self.configuration_manager.patch_size) != 3 or not self.align_windows:
            return slicers
        along = 1 + encoder.slice_axis
        size = self.configuration_manager.patch_size[encoder.slice_axis]
        moved = at_whole_steps({slicer[along].start for slicer in slicers}, encoder.slice_step, size)
        windows = {start: slice(moved_to, moved_to + size) for start, moved_to in moved.items()}
        return [(*slicer[:along], windows[slicer[along].start], *slicer[along + 1 :]) for slicer in slicers]


@contextlib.contextmanager
def hosts_threads() -> Iterator[None]:
    """As many threads for torch as nnU-Net allows a prediction."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(min(num_threads, default_num_processes))
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
