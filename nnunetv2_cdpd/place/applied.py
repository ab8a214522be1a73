"""CTPlace: what was learned of a dataset, applied to its images, one channel of which is a CT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.jobs import digest
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import body_slices
from nnunetv2_cdpd.place.files import read_place
from nnunetv2_cdpd.place.images import ct_channel, read_body
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.predicted import ImagePlace
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader


@dataclass(frozen=True)
class CTPlace:
    """Where classes lie, for images of one dataset.

    channel: Index of the CT among the channels.
    """

    model: PlaceModel
    channel: int

    @classmethod
    def read(cls, given: Path, dataset_json: DatasetJson) -> "CTPlace":
        """Of place.json, or a folder that holds it.

        Args:
            dataset_json: Of the label maps to which it is to be applied.

        Raises:
            UserError: As `read_place`, or none of the channels is a CT.
        """
        return cls(read_place(given, dataset_json.annotation).model, ct_channel(dataset_json))

    @property
    def digest(self) -> str:
        """Of all that decides what is said of an image."""
        return digest(self.model.as_json())

    def of_image(self, image: np.ndarray, properties: Mapping[str, Any]) -> ImagePlace | None:
        """Where classes can lie in an image that was read.

        Args:
            image: (C, Z, Y, X) in HU.
            properties: Those of nnU-Net's readers.

        Returns:
            None: its file does not say where its axes lead, or they lie too obliquely.
        """
        axes = BodyAxes.of(Grid.of_properties(image.shape[1:], properties))
        if axes is None:
            return None
        slices = body_slices(axes.turned(image[self.channel]), axes.spacing)
        return ImagePlace(self.model, axes, self.model.image_says(slices))

    def of_files(
        self, images: Sequence[Path], reader: CheckedReader, shape: Sequence[int], properties: Mapping[str, Any]
    ) -> ImagePlace | None:
        """Where classes can lie in a label map whose image is to be read.

        Args:
            images: A file per channel, or one with all.
            shape: (Z, Y, X) of the label map.
            properties: Of the label map, those of nnU-Net's readers.

        Returns:
            As `of_image`.

        Raises:
            UserError: As `read_body`.
        """
        axes = BodyAxes.of(Grid.of_properties(shape, properties))
        if axes is None:
            return None
        return ImagePlace(self.model, axes, self.model.image_says(read_body(images, self.channel, reader, shape, axes)))
