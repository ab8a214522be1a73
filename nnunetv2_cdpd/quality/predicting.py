"""QualityCompanion: `cdpd predict --quality`: the facts of every case while it is predicted, and what they mean, as tables."""

from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_cdpd.inference.blocks import Block
from nnunetv2_cdpd.inference.outputs import QUALITY, Outputs
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase
from nnunetv2_cdpd.inference.statistics import prediction_statistics
from nnunetv2_cdpd.jobs import write_json, write_text
from nnunetv2_cdpd.jobs.shapes import NUMBER, map_of, none_or, read_shaped, record
from nnunetv2_cdpd.quality.facts import FACTS, facts_of, network_spacing
from nnunetv2_cdpd.quality.model import QualityModel
from nnunetv2_cdpd.quality.sums import BlockSums
from nnunetv2_cdpd.quality.tables import quality_csv, quality_json

_CASE = record({"facts": FACTS, "volume_ml": map_of(none_or(NUMBER), "an object of volumes")})


@dataclass
class _Watched:
    """Adds up the blocks of a case."""

    sums: BlockSums
    spacing: list[float]

    def __call__(self, block: Block) -> None:
        self.sums(block)


@dataclass(frozen=True)
class QualityCompanion:
    """Goes along with a job of `inference.run.predict_cases`.

    calibrated: Put the calibration of probabilities into those that are written.
    """

    predictor: Predictor
    model: QualityModel
    outputs: Outputs
    calibrated: bool = False

    def watch(self, case: PreprocessedCase) -> _Watched:
        selection = self.predictor.selection
        forward = self.predictor.plans_manager.transpose_forward
        spacing = network_spacing(case.data.shape[1:], case.properties, forward)
        return _Watched(BlockSums(case.data, selection.needed, selection.tree), spacing)

    def complete(self, watch: _Watched, prediction: Prediction, identifier: str) -> Prediction:
        if self.outputs.quality:
            volumes = {name: its["volume_ml"] for name, its in prediction_statistics(prediction, None, "").items()}
            facts = facts_of(self.predictor, watch.sums, watch.spacing)
            write_json(self.outputs.folder / QUALITY / f"{identifier}.json", {"facts": facts, "volume_ml": volumes})
        if not self.calibrated or prediction.logits is None:
            return prediction
        return replace(prediction, logits=self.model.calibrated_logits(prediction.logits))

    def conclude(self) -> None:
        if not self.outputs.quality:
            return
        way_out = "remove it and predict its case again"
        files = sorted((self.outputs.folder / QUALITY).glob("[!.]*.json"))
        found = {file.stem: read_shaped(file, _CASE, way_out) for file in files}
        judged = {case: self.model.judge(its["facts"], its["volume_ml"]) for case, its in found.items()}
        as_json, as_csv = (Path(self.outputs.folder, f"{QUALITY}.{ending}") for ending in ("json", "csv"))
        write_json(as_json, quality_json(judged, self.model))
        write_text(as_csv, quality_csv(judged))
