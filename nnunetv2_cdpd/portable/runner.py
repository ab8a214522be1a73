"""OnnxModel: an exported model on images, with onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.portable.description import INPUT, KEY, OUTPUT, Description
from nnunetv2_cdpd.portable.images import OpenedImage
from nnunetv2_cdpd.portable.labels import LayeredLabels
from nnunetv2_cdpd.portable.preprocessing import preprocessed
from nnunetv2_cdpd.portable.windows import WindowSettings, layers_of_logits

_ERRORS_ONLY = 3  # of onnxruntime's levels of what it logs


class OnnxModel:
    """A model that `cdpd export-onnx` wrote.

    Args:
        file: .onnx.
        num_threads: None: onnxruntime's choice, a thread per core.

    Attributes:
        description: What the model says of itself.

    Raises:
        UserError: onnxruntime is not there; the file is missing, damaged, none of ours, of a newer version, or contradicts
            itself.
    """

    def __init__(self, file: Path, num_threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"onnxruntime cannot be imported ({reason(error)}); pip install onnxruntime") from error
        if not file.is_file():
            raise UserError(f"{file}: no such file; give a model that cdpd export-onnx wrote")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = num_threads or 0
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's have no common class but this
            raise UserError(f"{file}: onnxruntime cannot read it ({reason(error)}); is it a whole .onnx file?") from error
        described = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if described is None:
            raise UserError(f"{file}: no model of cdpd export-onnx (its metadata has no {KEY!r}); give one that it wrote")
        self.description = Description.from_json(described, str(file))
        self._check_graph(file)

    def predict(
        self,
        image: OpenedImage,
        *,
        step_size: float = 0.5,
        use_mirroring: bool = True,
        windows_per_batch: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """The label map of an image, (Z, Y, X) stored values.

        Args:
            step_size: Of the windows, as a share of their size.
            use_mirroring: Average over mirrored images, where the model was trained so.
            windows_per_batch: Run at a time.
            progress: Hears how many windows of how many are done.

        Raises:
            UserError: The image does not suit the model, or its logits are no finite numbers.
        """
        description = self.description
        if not 0 < step_size <= 1:
            raise UserError(f"a step of {step_size} windows: give a number above 0 up to 1, of which 1 is no overlap")
        if windows_per_batch < 1:
            raise UserError(f"{windows_per_batch} windows at a time: give 1 or more")
        seen = preprocessed(image.array, image.spacing, description)
        labels = LayeredLabels(seen, description)
        mirrored = description.mirror_axes if use_mirroring else ()
        settings = WindowSettings(description.patch_size, step_size, windows_per_batch, mirrored)
        for layer in layers_of_logits(seen.data, self.logits, settings, progress):
            labels.add(layer)
        return labels.array

    def logits(self, windows: np.ndarray) -> np.ndarray:
        """(B, C, ...) -> (B, n, ...), float32."""
        try:
            return self._session.run([OUTPUT], {INPUT: windows})[0]
        except Exception as error:  # see above
            raise UserError(f"onnxruntime cannot run the network ({reason(error)}); is there too little memory?") from error

    def _check_graph(self, file: Path) -> None:
        description = self.description
        wanted = {
            INPUT: (self._session.get_inputs(), len(description.channels)),
            OUTPUT: (self._session.get_outputs(), len(description.outputs)),
        }
        for name, (found, channels) in wanted.items():
            shape = [channels, *description.patch_size]
            if [(each.name, each.type, list(each.shape[1:])) for each in found] != [
                (name, "tensor(float)", shape)
            ] or not _is_free(found[0].shape[0]):
                told = ", ".join(f"{each.name} {each.shape}" for each in found)
                raise UserError(
                    f"{file}: its graph has {told or 'nothing'}, and its description says {name} [batch, "
                    f"{', '.join(map(str, shape))}]; export the model again"
                )


def _is_free(length: Any) -> bool:
    """Whether a batch may hold any number of windows."""
    return not isinstance(length, int)
