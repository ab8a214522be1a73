"""A job of many cases: read ahead, predict, export behind; resumes, and goes on after a bad case.

Outputs are written beside and renamed: what is there is whole, and a resumed job leaves it alone.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from nnunetv2_cdpd.annotation import Source, dataset_json_entries
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names
from nnunetv2_cdpd.errors import check_at_least, check_part, listed
from nnunetv2_cdpd.inference.bids import BidsCase, begin_bids_dataset, write_bids_description, write_bids_labels
from nnunetv2_cdpd.inference.dicom_files import DicomFiles
from nnunetv2_cdpd.inference.formats import NIFTI, check_are_dicom, check_formats
from nnunetv2_cdpd.inference.inputs import Case, opened, source_of
from nnunetv2_cdpd.inference.lower_stage import LowerStage
from nnunetv2_cdpd.inference.outputs import STATISTICS, Outputs, prepare_folder
from nnunetv2_cdpd.inference.pipeline import pipeline
from nnunetv2_cdpd.inference.prediction import Prediction, file_name, mask_names, regions_among
from nnunetv2_cdpd.inference.predictor import LabelledCase, Predictor, Watch
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase
from nnunetv2_cdpd.inference.statistics import prediction_statistics, write_table
from nnunetv2_cdpd.jobs import Outcome, output_folder, run, write_json, written_beside
from nnunetv2_cdpd.jobs.shapes import OBJECT, map_of, read_shaped
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE
from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries


class Companion(Protocol):
    """Goes along with a job of many cases, and adds to what is written of each."""

    def watch(self, case: PreprocessedCase) -> Watch:
        """What is given every block of a case's logits, in the thread that predicts."""
        ...

    def complete(self, watch: Any, prediction: Prediction, identifier: str) -> Prediction:
        """Write what was seen of a case, in a thread that exports; returns what is to be written as its prediction."""
        ...

    def conclude(self) -> None:
        """Sum up all cases of the folder."""
        ...


def predict_cases(
    predictor: Predictor,
    cases: Sequence[Case],
    outputs: Outputs,
    *,
    settings: Mapping[str, Any],
    resume: bool = False,
    part_id: int = 0,
    num_parts: int = 1,
    num_readers: int = 1,
    num_exporters: int = 1,
    previous_stage: Path | None = None,
    companion: Companion | None = None,
    progress: bool = True,
) -> Outcome[None]:
    """Predict cases into a folder, with what was selected by `predictor.select`.

    Args:
        settings: What the predictions depend on besides the lower stage, JSON-able; a resumed job must have the same.
        resume: Leave cases alone whose outputs are all there.
        part_id: Of several jobs that share the cases: only every `num_parts`-th case from this one on.
        num_parts: How many jobs share the cases.
        num_readers: Cases read ahead; 0: none.
        num_exporters: Cases exported while the next ones are predicted; 0: none.
        previous_stage: Folder with the predictions of a cascade's lower stage.
        companion: Goes along with all cases.

    Raises:
        UserError: An output would take the place of a file that is read, or of one of unknown origin; a resumed job has other
            settings; a cascade lacks the previous stage, or has one of other classes (`lower_stage`); a case is no DICOM series
            as a format needs it; or an impossible number.
    """
    check_part(part_id, num_parts)
    check_at_least(0, num_readers=num_readers, num_exporters=num_exporters)
    lower = LowerStage.of(previous_stage, predictor.configuration_manager.previous_stage_name, predictor.annotation)
    check_formats(outputs.formats, outputs.one_file_per_class)
    check_are_dicom(outputs.formats, cases)
    images = [file for case in cases for file in case.files]
    read_files = [*images, *predictor.model_files, *(lower.folder.glob("*") if lower else ())]
    if lower is not None:
        settings = {**settings, **lower.settings}
        if lower.note is not None:
            tqdm.write(lower.note)
    work = _Work(predictor, outputs, lower, companion)
    dataset_json = predictions_dataset_json(predictor)
    is_bids = any(isinstance(case, BidsCase) for case in cases)
    with output_folder(outputs.folder, part_id, num_parts):
        if is_bids:
            begin_bids_dataset(outputs.folder, cases)
        exchanged = prepare_folder(
            outputs,
            cases,
            settings,
            classes=predictor.annotation.classes,
            dataset_json=dataset_json,
            plans=predictor.plans_manager.plans,
            read=read_files,
            resume=resume,
            alone=num_parts == 1,
        )
        if exchanged:
            tqdm.write(f"note: predictions in {outputs.folder} were of other images, and are made anew: {listed(exchanged)}")
        write_json(outputs.folder / FILE_NAME, dataset_json)
        write_json(outputs.folder / PLANS_FILE, predictor.plans_manager.plans)
        if is_bids:
            write_bids_description(outputs.folder)
        for name, file in mask_names(predictor.annotation.classes).items() if outputs.one_file_per_class else ():
            if file != file_name(name):
                tqdm.write(f"note: the masks of {name!r} are the files {file}{outputs.file_ending}; another class has its name")
        own = cases[part_id::num_parts]
        kept = [case for case in own if outputs.holds(case.identifier, case)] if resume else []
        if newer := [case.identifier for case in kept if _is_newer(case, outputs, lower)]:
            read = "images" if lower is None else f"images, or label maps of {lower.name},"
            told = f"note: {read} newer than their predictions, which are kept: {listed(newer)}"
            tqdm.write(f"{told}; to predict these anew, delete their predictions first")
        outcome = run(
            {case.identifier: case for case in own},
            pipeline(work.read, work.predict, work.export, num_readers=num_readers, num_exporters=num_exporters),
            title="cases",
            record=outputs if resume else None,
            progress=progress,
        )
        if outputs.statistics:
            _collect_statistics(outputs)
        if companion is not None:
            companion.conclude()
    return outcome


def _is_newer(case: Case, outputs: Outputs, lower: LowerStage | None) -> bool:
    """Whether what is read of a case was written after its prediction: maybe another image, maybe a copy of the same."""
    predicted = outputs.paths(case.identifier)[0].stat().st_mtime
    read = [*case.files, *([lower.folder / (case.identifier + outputs.file_ending)] if lower else ())]
    return any(file.stat().st_mtime > predicted for file in read if file.exists())


_Predicted = tuple[LabelledCase, SourceSeries | None, Watch | None]


@dataclass(frozen=True)
class _Work:
    """The steps of a case.

    lower_stage: Of a cascade; None: the model is none.
    """

    predictor: Predictor
    outputs: Outputs
    lower_stage: LowerStage | None
    companion: Companion | None = None

    def read(self, case: Case) -> tuple[PreprocessedCase, SourceSeries | None]:
        previous = None
        if self.lower_stage is not None:
            previous = self.lower_stage.label_map(case.identifier + self.outputs.file_ending)
        # Before the work: of a series that nothing could be derived from.
        source = source_of(case) if self.outputs.dicom_formats else None
        with opened(case, self.predictor.writer, tqdm.write) as files:
            preprocessed = self.predictor.preprocess_files(files, previous)
        for note in self.predictor.notes_of(preprocessed):
            tqdm.write(f"note: {case.files[0]}: {note}")
        return preprocessed, source

    def predict(self, read: tuple[PreprocessedCase, SourceSeries | None]) -> _Predicted:
        case, source = read
        watch = None if self.companion is None else self.companion.watch(case)
        return self.predictor.label(case, watch), source, watch

    def export(self, case: Case, predicted: _Predicted) -> None:
        labelled, source, watch = predicted
        prediction = replace(self.predictor.export(labelled), source=source)
        if self.companion is not None:
            prediction = self.companion.complete(watch, prediction, case.identifier)
        _write(self.predictor, prediction, case, self.outputs)


def predictions_dataset_json(predictor: Predictor) -> dict[str, Any]:
    """What the values of the predictions mean: the model's dataset.json, without classes that were not asked for."""
    annotation, wanted = predictor.annotation, predictor.selection.wanted
    if len(wanted) == len(annotation.classes):
        return dict(predictor.dataset_json)
    names = [annotation.classes[k] for k in wanted]

    def certain(name: str) -> tuple[str, ...]:
        return () if annotation.possible_parents.get(name) else annotation.lies_in(name)

    regions = regions_among(annotation, names)
    # Of some of its possible parents nobody can say that one of them holds it.
    parents = {name: possible for name, possible in annotation.possible_parents.items() if {name, *possible} <= set(names)}
    kept = replace(
        annotation,
        classes=tuple(names),
        values=tuple(annotation.values[k] for k in wanted),
        regions=tuple(regions[name] for name in names),
        sources=(Source("prediction", tuple(names)),),
        case_source=None,
        merged_labels=(),
        possible_parents=parents,
        compatible=frozenset(pair for pair in annotation.compatible if pair <= set(names)),
        ignore_value=None,
        unasked=tuple(name for name in annotation.classes if set(names).isdisjoint((name, *certain(name)))),
        class_prompts={name: words for name, words in annotation.class_prompts.items() if name in names},
    )
    return {**predictor.dataset_json, **dataset_json_entries(kept)}


def _write(predictor: Predictor, prediction: Prediction, case: Case, outputs: Outputs) -> None:
    """Everything about a case; the segmentation last, because it is what people look for."""
    path = outputs.segmentation(case.identifier)
    if isinstance(case, BidsCase):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bids_labels(path, prediction.values, predictor.annotation.classes)
    if outputs.statistics:
        with opened(case, predictor.writer, tell=lambda note: None) as files:  # told when it was read
            image = predictor.writer.read_images(files[:1])[0][0]
        found = prediction_statistics(prediction, image, channel_names(predictor.dataset_json)[0])
        write_json(outputs.folder / STATISTICS / f"{case.identifier}.json", found)
    if outputs.probabilities:
        prediction.write_probabilities(outputs.folder / f"{case.identifier}.npz")
        with written_beside(outputs.folder / f"{case.identifier}.pkl") as beside:
            beside.write_bytes(pickle.dumps(dict(prediction.properties)))
    DicomFiles(predictor, tqdm.write).write_formats(outputs.dicom_files(case.identifier), prediction)
    if NIFTI not in outputs.formats:
        return
    if outputs.one_file_per_class:
        prediction.write_masks(path, outputs.file_ending, predictor.writer, mask_names(predictor.annotation.classes))
    else:
        prediction.write_label_map(path, predictor.writer)


def _collect_statistics(outputs: Outputs) -> None:
    """Tables of all cases of the folder, whichever run or part predicted them."""
    files = sorted((outputs.folder / STATISTICS).glob("[!.]*.json"))
    way_out = "remove it and predict its case again"
    statistics = {file.stem: read_shaped(file, map_of(OBJECT, "an object of classes"), way_out) for file in files}
    as_json, as_csv = outputs.tables_of(STATISTICS)
    write_json(as_json, statistics)
    write_table(as_csv, statistics)
