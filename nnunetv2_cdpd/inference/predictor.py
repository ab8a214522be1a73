"""Predictor: CDPDNet on images from Python: what is to be predicted, and one image's label map.

Classes compete by probability and nest (`nesting`), label maps are made block by block while the windows run (`label_map`);
the rest is `host_predictor`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.blocks import Block, written_to
from nnunetv2_cdpd.inference.decoding import with_dice_levels
from nnunetv2_cdpd.inference.decodings import DICE, HALF
from nnunetv2_cdpd.inference.export import Geometry, geometry_of, place_logits
from nnunetv2_cdpd.inference.formats import NIFTI, check_are_dicom, check_formats
from nnunetv2_cdpd.inference.host_predictor import HostPredictor, hosts_threads
from nnunetv2_cdpd.inference.label_map import LabelMap
from nnunetv2_cdpd.inference.prediction import Prediction, regions_among
from nnunetv2_cdpd.inference.preprocessing import PathLike, PreprocessedCase
from nnunetv2_cdpd.inference.selection import Selection
from nnunetv2_cdpd.place.applied import CTPlace
from nnunetv2_cdpd.place.files import INTO_MODEL, PLACE_FILE, has_place, is_carried
from nnunetv2_cdpd.place.images import ct_channel
from nnunetv2_cdpd.place.predicted import ImagePlace

Watch = Callable[[Block], None]


@dataclass(frozen=True)
class LabelledCase:
    """What the network says of an image, before any clean-up.

    labels: (Z, Y, X) stored values of the classes to tell of; for a clean-up, of all classes.
    logits: (n, x, y, z) of the needed classes; None unless they are kept.
    geometry: Where the logits belong in the image.
    properties: nnU-Net's, of the image.
    selection: What was to be predicted.
    place: Where classes can lie in the image; None: not known.
    """

    labels: np.ndarray
    logits: Tensor | None
    geometry: Geometry
    properties: Mapping[str, Any]
    selection: Selection
    place: ImagePlace | None = None


class Predictor(HostPredictor):
    """Predicts with one trained model folder.

    Takes the arguments of `HostPredictor`.

    Attributes:
        place_note: In one line, whether the selected clean-up uses place; None: the model folder has nothing of it.
    """

    selection: Selection  # set when a model is loaded
    place_note: str | None = None

    @classmethod
    def from_folder(
        cls,
        folder: PathLike,
        folds: Sequence[int | str] | None = None,
        *,
        checkpoint_name: str = "checkpoint_final.pth",
        **settings: Any,
    ) -> "Predictor":
        """Load a trained model.

        Args:
            folder: nnU-Net's, with plans.json, dataset.json and fold_X.
            folds: Their logits are averaged; None: all that have the checkpoint ("all" only where there is no other).
            settings: Of the constructor.

        Raises:
            UserError: A file is missing or damaged, or the model is no CDPDNet.
        """
        predictor = cls(**settings)
        predictor.initialize_from_trained_model_folder(str(folder), folds, checkpoint_name)
        return predictor

    def initialize_from_trained_model_folder(self, *args: Any, **kwargs: Any) -> None:
        super().initialize_from_trained_model_folder(*args, **kwargs)
        self.select()

    # ---- what to predict -------------------------------------------------------------------------------------------

    def select(
        self,
        classes: Collection[str] | None = None,
        *,
        task: str | None = None,
        clean: bool = False,
        probabilities: bool = False,
        decode: str = HALF,
        compute_all: bool = False,
    ) -> None:
        """Choose what the next predictions hold.

        Args:
            classes: Names; None: all that the task annotates. Where they are is what a prediction of all classes says, and
                no more classes are computed than that takes.
            task: Source whose task prompt stands in for the universal task; only classes that it annotates are predicted.
            clean: Clean up by anatomy (`nnunetv2_cdpd.cleanup`), for which all classes are computed; of images that are read
                from files also by place, where the model folder tells of it (`place`).
            probabilities: Keep the logits, for `Prediction.probabilities`.
            decode: Where a class begins, one of `DECODINGS`; probabilities stay as they are.
            compute_all: Compute all classes, also where the wanted ones do not take that; the prediction is the same.

        Raises:
            UserError: An unknown class, task or decoding, a class that the task does not annotate, or a place.json in the model
                folder that is damaged or of other classes.
        """
        self.place, self.place_note = self._learned_place() if clean else (None, None)
        self.selection = Selection.of(
            self.network.network,
            self.annotation,
            classes,
            task=task,
            clean=clean,
            probabilities=probabilities,
            decode=decode,
            compute_all=compute_all,
        )
        self.network.choose(self.selection.choices)

    def _learned_place(self) -> tuple[CTPlace | None, str | None]:
        """Where classes lie, by the model folder, and a line that tells whether that is used."""
        if self.model_folder is None:
            return None, None
        described = DatasetJson(self.model_folder / FILE_NAME, self.dataset_json)
        try:
            if not has_place(self.model_folder):
                return None, None
            ct_channel(described)
        except UserError as error:
            return None, f"note: the clean-up does without the {PLACE_FILE} of the model: {error}"
        place, note = CTPlace.read(self.model_folder, described), f"note: the clean-up uses the {PLACE_FILE} of the model"
        if not is_carried(self.model_folder):
            note += f", which nnU-Net's export would not take along; to mend: {INTO_MODEL}"
        return place, note

    @property
    def place_digest(self) -> str | None:
        """Of what the selected clean-up knows of place; None: nothing."""
        return None if self.place is None else self.place.digest

    def notes_of(self, case: PreprocessedCase) -> tuple[str, ...]:
        """What the user should know of an image before it is predicted."""
        if self.place is None or not (case.place is None or case.place.is_silent):
            return ()
        why = "its file does not say how it lies in the body, or it lies too obliquely"
        if case.place is not None:
            why = "it shows less than 4 cm of a body, or one unlike those that place was learned from"
        return (f"{why}, so the clean-up does without place",)

    # ---- one image -------------------------------------------------------------------------------------------------

    def predict(
        self,
        image: np.ndarray | PathLike | Sequence[PathLike],
        spacing_mm: Sequence[float] | None = None,
        *,
        classes: Collection[str] | None = None,
        task: str | None = None,
        clean: bool = False,
        probabilities: bool = False,
        decode: str = HALF,
        output: PathLike | Mapping[str, PathLike] | None = None,
    ) -> Prediction:
        """Predict one image.

        Args:
            image: (Z, Y, X), or (C, Z, Y, X) with several channels, in the units and the axis order of the training images
                as SimpleITK gives them; or a file, a folder of one DICOM series, or one file per channel.
            spacing_mm: Voxel size, in the order of the array's axes; of an array only.
            classes: As for `select`, like the next four.
            task: See there.
            clean: See there.
            probabilities: See there.
            decode: See there.
            output: File for the label map too, or format -> file, as {"dicom-seg": "scan_seg.dcm"} (`formats.FORMATS`); of an
                image that was read from files only, whose geometry it takes.

        Raises:
            UserError: The image cannot be read or does not suit the model, or is no DICOM as a format needs it; and as
                for `select`.
            ValueError: An array without spacing, a file with one, or an array that is to be written.
        """
        from nnunetv2_cdpd.inference.dicom_files import DicomFiles
        from nnunetv2_cdpd.inference.inputs import as_case, modality_of, opened, source_of

        files_out = {} if output is None else dict(output) if isinstance(output, Mapping) else {NIFTI: output}
        of_dicom = [name for name in files_out if name != NIFTI]
        check_formats(list(files_out) or [NIFTI])
        source = None
        self.select(classes, task=task, clean=clean, probabilities=probabilities, decode=decode)
        if isinstance(image, np.ndarray):
            if spacing_mm is None or output is not None:
                raise ValueError("an array needs its spacing_mm, and cannot be written: it has no place in space")
            preprocessed = self.preprocess_array(image, spacing_mm)
        else:
            if spacing_mm is not None:
                raise ValueError("an image file has its spacing in it; leave spacing_mm out")
            case = as_case(image, self.file_ending, self.num_channels, modality_of(self.dataset_json))
            check_are_dicom(of_dicom, [case])
            source = source_of(case) if of_dicom else None
            with opened(case, self.writer) as files:
                preprocessed = self.preprocess_files(files)
        prediction = replace(self.export(self.label(preprocessed)), source=source)
        DicomFiles(self).write_formats({name: files_out[name] for name in of_dicom}, prediction)
        if NIFTI in files_out:
            prediction.write_label_map(Path(files_out[NIFTI]), self.writer)
        return prediction

    def label(self, case: PreprocessedCase, watch: Watch | None = None) -> LabelledCase:
        """Run the network on an image, and label every part of it as soon as its logits are final.

        Logits are held as a whole only where they are kept for probabilities, or where the model's plans name another
        resampling of logits than linear; what they are made from, in half precision, where the image decides where its
        classes begin.

        Args:
            watch: Is given every block of logits too, as the network gives them.
        """
        shape = case.data.shape[1:]
        geometry = geometry_of(shape, self.plans_manager, self.configuration_manager, case.properties)
        if geometry is None:
            logits = self.predict_logits_from_preprocessed_data(case.data)
            if watch is not None:
                watch(Block.whole(logits))
            return self.label_logits(logits, case.properties, case.place)
        labels = self._label_map(geometry)
        kept = torch.empty((len(self.selection.needed), *shape), dtype=torch.half) if self.selection.probabilities else None
        with hosts_threads():
            blocks = self.logit_blocks(case.data)
            if watch is not None:
                blocks = _seen_by(watch, blocks)
            if kept is not None:
                blocks = written_to(kept, blocks)
            for block in with_dice_levels(blocks, len(self.selection.needed)) if self.selection.decode == DICE else blocks:
                labels.add(block)
        return LabelledCase(labels.array, kept, geometry, case.properties, self.selection, case.place)

    def label_logits(self, logits: Tensor, properties: Mapping[str, Any], place: ImagePlace | None = None) -> LabelledCase:
        """Label an image of whose needed classes all logits (n, x, y, z) are at hand.

        Args:
            place: Where classes can lie in it, for a clean-up; None: not known.
        """
        logits, geometry = place_logits(logits, self.plans_manager, self.configuration_manager, properties)
        labels = self._label_map(geometry)
        whole = [Block.whole(logits)]
        for block in with_dice_levels(whole, len(logits)) if self.selection.decode == DICE else whole:
            labels.add(block)
        kept = logits.cpu() if self.selection.probabilities else None
        return LabelledCase(labels.array, kept, geometry, properties, self.selection, place)

    def _label_map(self, geometry: Geometry) -> LabelMap:
        selection = self.selection
        written = selection.tree.classes if selection.clean else selection.wanted
        return LabelMap(selection.needed, geometry, selection.tree, written)

    def export(self, case: LabelledCase) -> Prediction:
        """The prediction of an image: cleaned up, if that was selected, and of the wanted classes only."""
        selection, annotation = case.selection, self.annotation
        labels = case.labels
        names = [annotation.classes[k] for k in selection.wanted]
        if selection.clean:
            labels = self._cleaned(labels, case)
            values = selection.tree.stored_values(selection.wanted).astype(labels.dtype)
            to_written = np.zeros(annotation.num_values, labels.dtype)
            # Where overlapping classes share a value, the innermost that is written decides.
            for k in sorted(selection.tree.classes, key=lambda k: len(selection.tree.ancestors[k])):
                to_written[annotation.values[k]] = values[k + 1] or to_written[annotation.values[k]]
            labels = to_written[labels]
        return Prediction(
            labels,
            {name: annotation.values[k] for name, k in zip(names, selection.wanted)},
            regions_among(annotation, names),
            case.properties,
            case.geometry,
            None if case.logits is None else {annotation.classes[k]: row for k, row in zip(selection.needed, case.logits)},
        )

    def _cleaned(self, labels: np.ndarray, case: LabelledCase) -> np.ndarray:
        from nnunetv2_cdpd.cleanup import clean_label_map
        from nnunetv2_cdpd.cleanup.clean import array_axes, nesting_of

        classes = {self.annotation.classes[k]: self.annotation.values[k] for k in case.selection.tree.classes}
        properties = case.properties
        cleaned, _ = clean_label_map(
            labels,
            properties["spacing"],
            classes,
            parents=nesting_of(self.annotation),
            axes=array_axes(labels.shape, properties),
            place=case.place,
        )
        return cleaned


def _seen_by(watch: Watch, blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        watch(block)
        yield block
