"""QualityCompanion: `cdpd predict --quality`: the facts of every case while it is predicted, and what they mean, as tables.

The facts of a case stand in a file of their own, which says of what networks and settings they are: a folder may hold cases
that were predicted otherwise, of which this calibration knows nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.blocks import Block
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.outputs import QUALITY, Outputs
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase
from nnunetv2_cdpd.inference.statistics import prediction_statistics
from nnunetv2_cdpd.jobs import read_sealed, write_json, write_sealed, write_text
from nnunetv2_cdpd.quality.collect import PathSettings
from nnunetv2_cdpd.quality.facts import VERSION, facts_of, network_spacing
from nnunetv2_cdpd.quality.model import QualityModel
from nnunetv2_cdpd.quality.sums import BlockSums
from nnunetv2_cdpd.quality.tables import quality_csv, quality_json


@dataclass
class _Watched:
    """Adds up the blocks of a case."""

    sums: BlockSums
    spacing: list[float]

    def __call__(self, block: Block) -> None:
        self.sums(block)


class QualityCompanion:
    """Goes along with a job of `inference.run.predict_cases`.

    Args:
        predictor: Which computes all classes (`Predictor.select`).
        model: The calibration of its networks.
        settings: Of the predictions.
        calibrated: Put the calibration of probabilities into those that are written.
    """

    def __init__(
        self, predictor: Predictor, model: QualityModel, outputs: Outputs, settings: PathSettings, *, calibrated: bool = False
    ) -> None:
        if outputs.quality and len(predictor.selection.needed) < len(predictor.selection.tree.classes):
            raise ValueError("the quality of a class is told from all classes; select them with compute_all")
        self.predictor, self.model, self.outputs, self.calibrated = predictor, model, outputs, calibrated
        networks = [weights_digest([weights]) for weights in predictor.list_of_parameters]
        self._made_by: Mapping[str, Any] = {"version": VERSION, "networks": networks, "settings": settings.as_json()}

    def watch(self, case: PreprocessedCase) -> _Watched:
        selection = self.predictor.selection
        forward = self.predictor.plans_manager.transpose_forward
        spacing = network_spacing(case.data.shape[1:], case.properties, forward)
        return _Watched(BlockSums(case.data, selection.needed, selection.tree), spacing)

    def complete(self, watch: _Watched, prediction: Prediction, identifier: str) -> Prediction:
        if self.outputs.quality:
            volumes = {name: its["volume_ml"] for name, its in prediction_statistics(prediction, None, "").items()}
            facts = facts_of(self.predictor, watch.sums, watch.spacing)
            write_sealed(self._file(identifier), {**self._made_by, "facts": facts, "volume_ml": volumes})
        if not self.calibrated or prediction.logits is None:
            return prediction
        return replace(prediction, logits=self.model.calibrated_logits(prediction.logits))

    def conclude(self) -> None:
        if not self.outputs.quality:
            return
        judged, others = {}, []
        for file in sorted(self._file("").parent.glob("[!.]*.json")):
            found = read_sealed(file)
            if found is None:
                raise UserError(f"{file}: is not as it was written; remove it and predict its case again")
            if self._knows(found):
                judged[file.stem] = self.model.judge(found["facts"], found["volume_ml"])
            else:
                others.append(file.stem)
        if others:
            tqdm.write(
                f"note: {QUALITY}.json leaves out {listed(others)}, predicted by other networks, settings or releases than those "
                "of this calibration; predict them again for theirs"
            )
        as_json, as_csv = self.outputs.tables_of(QUALITY)
        write_json(as_json, quality_json(judged, self.model))
        write_text(as_csv, quality_csv(judged))

    def _file(self, identifier: str) -> Path:
        return self.outputs.folder / QUALITY / f"{identifier}.json"

    def _knows(self, found: Mapping[str, Any]) -> bool:
        """Whether the facts of a case are of networks and settings that the calibration is of."""
        same = all(found.get(key) == self._made_by[key] for key in ("version", "settings"))
        return same and set(found["networks"]) <= set(self.model.folds.values())
