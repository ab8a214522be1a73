"""Labels: layers of logits to a label map on the grid of the image, tile by tile; `inference.label_map` is the same for tensors.

A tile of the image is made from those classes alone that can be above 0.5 in it: an interpolated value lies between the values
that it is made from, so that changes nothing.
"""

from itertools import product

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.description import Description
from nnunetv2_cdpd.portable.preprocessing import SeenImage
from nnunetv2_cdpd.portable.rivalry import winners_of
from nnunetv2_cdpd.portable.windows import Layer
from nnunetv2_cdpd.volumes.axes import Range, axis_resamplings, in_all_channels

_TILE = 32  # voxels of the image along each axis


class LayeredLabels:
    """The label map of an image, made of the layers of its logits, first to last."""

    def __init__(self, image: SeenImage, description: Description) -> None:
        kinds = description.logits_rule.linear_kinds(image.spacing, image.full_spacing)
        assert kinds is not None, "a description has no other rule"
        cropped = [part.stop - part.start for part in image.crop]
        self.axes = axis_resamplings(kinds, image.data.shape[1:], cropped)
        self.crop = image.crop
        self.transpose = description.transpose
        self.rivalry = description.rivalry
        self.stored = np.asarray(description.stored, np.uint8 if max(description.stored) < 255 else np.uint16)
        self.full = np.zeros(image.full_shape, self.stored.dtype)
        self.before = np.empty(0)  # last plane of the layer before

    @property
    def array(self) -> np.ndarray:
        """(Z, Y, X) stored values."""
        return self.full.transpose(np.argsort(self.transpose))

    def add(self, layer: Layer) -> None:
        """Label the voxels of the image of whose logits the last ones lie in a layer.

        Raises:
            UserError: A logit is no finite number.
        """
        if not np.isfinite(layer.logits.sum(dtype=np.float64)):
            raise UserError(
                "the network gave logits that are no finite numbers (nan or inf); was the model damaged? Export it again"
            )
        order = (layer.axis, *(axis for axis in range(3) if axis != layer.axis))
        axes = [self.axes[axis] for axis in order]
        stop = layer.start + layer.logits.shape[1]
        logits, first = layer.logits, layer.start
        if layer.start > 0:
            logits, first = np.concatenate([self.before, logits], 1), layer.start - 1
        self.before = logits[:, -1:].copy()
        ranges = [axes[0].outputs_of((layer.start, stop)), *((0, axis.num_outputs) for axis in axes[1:])]
        if ranges[0][0] >= ranges[0][1]:
            return
        target = self.full[self.crop].transpose(order)
        tiles = [axis.tiles(_TILE, part) for axis, part in zip(axes, ranges)]
        matrices = [{tile: axis.matrix(tile).astype(np.float32) for tile in some} for axis, some in zip(axes, tiles)]
        for tile in product(*tiles):
            inputs = [axis.inputs_of(part) for axis, part in zip(axes, tile)]
            inputs[0] = (inputs[0][0] - first, inputs[0][1] - first)
            box = logits[in_all_channels([slice(*part) for part in inputs])]
            self._label(box, [matrices[i][part] for i, part in enumerate(tile)], target, tile)

    def _label(self, box: np.ndarray, matrices: list[np.ndarray], target: np.ndarray, tile: tuple[Range, ...]) -> None:
        above = np.flatnonzero(box.reshape(len(box), -1).max(1) > 0).tolist()
        rows = list(self.rivalry.possible_winners(above))
        if not rows:
            return
        values = box[rows]
        for axis, matrix in enumerate(matrices, start=1):
            values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
        winners = winners_of(self.rivalry, values, rows)
        target[tuple(slice(*part) for part in tile)] = self.stored[winners.astype(np.intp)]
