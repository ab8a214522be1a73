"""A job of many cases: read ahead, predict, export behind; resumes, and goes on after a bad case.

Reading and exporting run in threads of this process, so that no volume of logits is ever copied to another one. Outputs
are written beside and renamed: what is there is whole, and a resumed job leaves it alone.
"""

import json
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from nnunetv2_cdpd.annotation import Source, dataset_json_entries
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import Case, Tell, opened
from nnunetv2_cdpd.inference.outputs import STATISTICS, Outputs, prepare_folder
from nnunetv2_cdpd.inference.prediction import Prediction, regions_among
from nnunetv2_cdpd.inference.predictor import Predictor, PreprocessedCase
from nnunetv2_cdpd.inference.statistics import class_statistics, write_table
from nnunetv2_cdpd.jobs import write_json, written_beside


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
    progress: bool = True,
    tell: Tell = tqdm.write,
) -> dict[str, str]:
    """Predict cases into a folder, with what was selected by `predictor.select`.

    Args:
        settings: What the predictions depend on, JSON-able; a resumed job must have the same.
        resume: Leave cases alone whose outputs are all there.
        part_id, num_parts: Of several jobs that share the cases: only every `num_parts`-th case.
        num_readers: Cases read ahead; 0: none.
        num_exporters: Cases exported while the next ones are predicted; 0: none.
        previous_stage: Folder with the predictions of a cascade's lower stage.
        tell: Hears what is particular about an input.

    Returns:
        Case -> what was wrong with it.

    Raises:
        UserError: An output would take the place of a file that is read, or of one of unknown origin; a resumed job has other
            settings; a cascade lacks the previous stage; or an impossible number.
    """
    if not 0 <= part_id < num_parts:
        raise UserError(f"part {part_id} of {num_parts}: parts are counted from 0 to {num_parts - 1}")
    if min(num_readers, num_exporters) < 0:
        raise UserError(f"-npp {num_readers} and -nps {num_exporters} count threads; give 0 or more")
    lower_stage = predictor.configuration_manager.previous_stage_name
    if lower_stage is not None and previous_stage is None:
        raise UserError(f"this model is a cascade; give the predictions of {lower_stage} with -prev_stage_predictions")
    prepare_folder(
        outputs,
        cases,
        settings,
        classes=predictor.annotation.classes,
        dataset_json=dataset_json_of(predictor),
        read=[*(file for case in cases for file in case.files), *(previous_stage.glob("*") if previous_stage else ())],
        resume=resume,
        alone=num_parts == 1,
    )
    write_json(outputs.folder / "dataset.json", dataset_json_of(predictor))
    write_json(outputs.folder / "plans.json", predictor.plans_manager.plans)
    cases = cases[part_id::num_parts]
    if resume:
        cases = [case for case in cases if not all(path.exists() for path in outputs.paths(case.identifier))]

    def read(case: Case) -> PreprocessedCase:
        previous = None
        if lower_stage is not None:
            previous = previous_stage / (case.identifier + outputs.file_ending)
            if not previous.is_file():
                raise UserError(f"{previous}: missing; predict {lower_stage} first")
        with opened(case, predictor.writer, tell) as files:
            return predictor.preprocess_files(files, previous)

    def export(case: Case, logits: Tensor, properties: dict[str, Any]) -> None:
        _write(predictor, predictor.export(logits, properties), case, outputs)

    problems: dict[str, str] = {}
    with tqdm(total=len(cases), desc="cases", unit="case", disable=not progress) as bar:

        def settle(case: Case, outcome: Callable[[], Any]) -> Any:
            """What came out, or None after noting why nothing did: a bad case never stops the others."""
            try:
                return outcome()
            except Exception as error:
                problems[case.identifier] = told(error)
                bar.update()
                return None

        def settle_export(case: Case, future: Future) -> None:
            settle(case, future.result)
            if case.identifier not in problems:
                bar.update()

        with _Lane(read, num_readers) as reading, _Lane(export, num_exporters) as exporting:
            waiting = deque(cases)
            while waiting or reading.running:
                while waiting and len(reading.running) < max(1, num_readers):
                    reading.start(case := waiting.popleft(), case)
                case, future = reading.running.popleft()
                if waiting and num_readers:
                    reading.start(following := waiting.popleft(), following)
                preprocessed = settle(case, future.result)
                if preprocessed is None:
                    continue
                logits = settle(case, lambda: predictor.predict_logits_from_preprocessed_data(preprocessed.data))
                if logits is not None:
                    exporting.start(case, case, logits, preprocessed.properties)
                del preprocessed, logits
                while len(exporting.running) > num_exporters:
                    settle_export(*exporting.running.popleft())
            while exporting.running:
                settle_export(*exporting.running.popleft())
    if outputs.statistics:
        _collect_statistics(outputs)
    return problems


class _Lane:
    """Threads for one kind of work, and what runs there, in the order of starting."""

    def __init__(self, function: Callable[..., Any], num_threads: int) -> None:
        self.function = function
        self.running: deque[tuple[Case, Future]] = deque()
        self.pool = ThreadPoolExecutor(max(1, num_threads))

    def start(self, case: Case, *args: Any) -> None:
        self.running.append((case, self.pool.submit(self.function, *args)))

    def __enter__(self) -> "_Lane":
        return self

    def __exit__(self, *_: Any) -> None:
        self.pool.shutdown(cancel_futures=True)


def told(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}" if text else type(error).__name__


def dataset_json_of(predictor: Predictor) -> dict[str, Any]:
    """What the values of the predictions mean: the model's dataset.json, without classes that were not asked for."""
    annotation, wanted = predictor.annotation, predictor.selection.wanted
    if len(wanted) == len(annotation.classes):
        return dict(predictor.dataset_json)
    names = [annotation.classes[k] for k in wanted]
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
    )
    return {**predictor.dataset_json, **dataset_json_entries(kept)}


def _write(predictor: Predictor, prediction: Prediction, case: Case, outputs: Outputs) -> None:
    """Everything about a case; the segmentation last, because it is what people look for."""
    path = outputs.segmentation(case.identifier)
    if outputs.statistics:
        with opened(case, predictor.writer, tell=lambda note: None) as files:  # told when it was read
            image = predictor.writer.read_images([str(files[0])])[0][0]
        channel = next(iter((predictor.dataset_json.get("channel_names") or predictor.dataset_json["modality"]).values()))
        found = class_statistics(prediction, image, str(channel))
        write_json(outputs.folder / STATISTICS / f"{case.identifier}.json", found)
    if outputs.probabilities:
        prediction.write_probabilities(outputs.folder / f"{case.identifier}.npz")
        with written_beside(outputs.folder / f"{case.identifier}.pkl") as beside:
            beside.write_bytes(pickle.dumps(dict(prediction.properties)))
    if outputs.one_file_per_class:
        prediction.write_masks(path, outputs.file_ending, predictor.writer)
    else:
        prediction.write_label_map(path, predictor.writer)


def _collect_statistics(outputs: Outputs) -> None:
    """Tables of all cases of the folder, whichever run or part predicted them."""
    files = sorted((outputs.folder / STATISTICS).glob("[!.]*.json"))
    statistics = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    as_json, as_csv = outputs.tables
    write_json(as_json, statistics)
    write_table(as_csv, statistics)
