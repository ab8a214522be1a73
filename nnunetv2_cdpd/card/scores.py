"""Scores of a model, from what its cross-validation left: nnU-Net's summary.json, its own or ours, of all folds or of each."""

import ast
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.card.folder import ModelFolder
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.jobs.shapes import SCORE, TEXT, check_shape, list_of, map_of, read_shaped, record

SUMMARY = "summary.json"
_JOINED = "crossval_results_folds_"  # begins the name of the folder of nnU-Net's accumulated predictions
_METRICS = map_of(record({"Dice": SCORE, "n_ref": SCORE, "n_pred": SCORE}), "an object of metrics")
_SHAPE = record({"metric_per_case": list_of(record({"metrics": _METRICS}, {"reference_file": TEXT, "source": TEXT}))})
_WAY_OUT = "validate the fold again (nnUNetv2_train ... --val), or remove the file"
_OURS = "each case is scored on what its source annotates"
_NNUNETS = "scored by nnU-Net's own function; only the classes that the source of a case annotates are counted here"


def scores_of_model(model: ModelFolder) -> dict[str, Any] | None:
    """What was measured, JSON-able; None: nothing was.

    The joined cross-validation where there is one (`cdpd accumulate`), of the most folds; else the validation of each fold.

    Raises:
        UserError: A summary.json is damaged.
    """
    files = _files(model)
    read = {path: read_shaped(path, _SHAPE, _WAY_OUT) for path in files}
    cases = [case for path, summary in read.items() for case in _cases(summary, model, path) if case.metrics]
    if not cases:
        return None
    annotation = model.annotation
    results = Results(annotation, annotation, tuple(cases), 0.0)
    blocks = [block for summary in read.values() if isinstance(block := summary.get("cdpd"), dict)]
    ours = len(blocks) == len(read)
    named = {str(block.get("protocol", NNUNET.name)) for block in blocks} or {NNUNET.name}
    protocol = f"cross-validation: each case predicted by the fold that did not train on it; {_OURS if ours else _NNUNETS}"
    if model.folds and all(fold.name == "all" for fold in model.folds):
        protocol = f"validation of fold all, on cases that it was trained on, so it says nothing of new ones; {_OURS}"
    scored = results.class_names
    return {
        "protocol": f"{protocol}; protocol {' and '.join(sorted(named & set(PROTOCOLS)))}; mean Dice, 95 % interval by bootstrap",
        "files": [{"name": path.relative_to(model.path).as_posix(), "sha256": checksum_of_json(path)} for path in files],
        "folds": list(dict.fromkeys(fold for path in files for fold in _folds(path))),
        "cases": len(cases),
        "classes": [_class(results, name, None) for name in scored if results.summary(name).cases],
        "sources": [
            {"name": source, "cases": len(results.cases_of(source)), **_mean(results, source)} for source in results.source_names
        ],
        **_mean(results, None),
    }


def checksum_of_json(path: Path) -> str:
    """SHA-256 of what a JSON file says, however it is laid out."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def ensembles_with(model: ModelFolder) -> list[dict[str, Any]]:
    """The ensembles that nnU-Net's cross-validation made of this model and another, with their mean Dice."""
    folder = model.path.resolve()
    found = []
    for path in sorted(folder.parent.glob(f"ensembles/ensemble___*/{SUMMARY}")):
        members = path.parent.name.split("___")[1:-1]
        if folder.name in members:
            summary = read_shaped(path, record(), _WAY_OUT)
            dice = (summary.get("foreground_mean") or {}).get("Dice")
            number = float(dice) if isinstance(dice, (int, float)) and math.isfinite(dice) else None
            found.append({"models": [model.plain.name(member) for member in members], "dice": number})
    return found


def _files(model: ModelFolder) -> list[Path]:
    joined = sorted(model.path.glob(f"{_JOINED}*/{SUMMARY}"), key=lambda path: (-path.parent.name.count("_"), path.parent.name))
    single = [path for fold in model.folds if (path := model.path / f"fold_{fold.name}/validation/{SUMMARY}").is_file()]
    return joined[:1] or single


def _folds(path: Path) -> list[str]:
    """Names of the folds whose predictions a summary scores, from its place."""
    folder = path.parent
    of = folder.parent.name.removeprefix("fold_") if folder.name == "validation" else folder.name.removeprefix(_JOINED)
    return of.split("_")


def _cases(summary: Mapping[str, Any], model: ModelFolder, path: Path) -> Iterator[CaseScores]:
    annotation = model.annotation
    block = summary.get("cdpd") if isinstance(summary.get("cdpd"), dict) else None
    names = _names(summary, model, block, path)
    sources = {source.name: index for index, source in enumerate(annotation.sources)}
    ending = str(model.dataset_json.content.get("file_ending", ""))
    for number, case in enumerate(summary["metric_per_case"]):
        file = str(case.get("reference_file", number)).replace("\\", "/").rpartition("/")[2]
        identifier = file.removesuffix(ending)
        try:
            index = sources[case["source"]] if case.get("source") in sources else annotation.source_index(identifier)
        except UserError:  # a case of an earlier state of the dataset
            continue
        scored = {name for name, its in zip(annotation.column_names, annotation.scored[index]) if its}
        metrics = {
            names[key]: {**dict.fromkeys(NNUNET.metrics, math.nan), **its}
            for key, its in case["metrics"].items()
            if names.get(key) in scored and not math.isnan(its["n_ref"])
        }
        yield CaseScores(identifier, annotation.sources[index].name, "", "", metrics)


def _names(summary: Mapping[str, Any], model: ModelFolder, block: Mapping[str, Any] | None, path: Path) -> dict[str, str]:
    """Key of the summary -> class or union."""
    if block is not None:
        check_shape(block, record({"classes": map_of(TEXT, "an object of classes")}), path, _WAY_OUT, "cdpd")
        return dict(block["classes"])
    labels = model.dataset_json.content["labels"]
    keys = {name: _values(labels[name]) for name in model.annotation.classes}
    by_values = {values: name for name, values in keys.items()}
    return {key: by_values[values] for key in _keys(summary) if (values := _values(_read(key))) in by_values}


def _keys(summary: Mapping[str, Any]) -> set[str]:
    return {key for case in summary["metric_per_case"] for key in case["metrics"]}


def _read(key: str) -> Any:
    """A label or region as nnU-Net's summary names it: "1", "(1, 2)"."""
    try:
        return ast.literal_eval(key) if len(key) < 1000 else None
    except (ValueError, SyntaxError):
        return None


def _values(label: Any) -> tuple[int, ...]:
    values: Sequence[Any] = label if isinstance(label, (list, tuple)) else (label,)
    return tuple(sorted({value for value in values if isinstance(value, int)}))


def _class(results: Results, name: str, source: str | None) -> dict[str, Any]:
    summary = results.summary(name, source)
    return {
        "name": name,
        "cases": summary.cases,
        "present": summary.present,
        "missed": summary.missed,
        "dice": _finite(summary.means["Dice"]),
        "interval": _interval(summary.dice_interval),
    }


def _mean(results: Results, source: str | None) -> dict[str, Any]:
    dice, interval = results.foreground_means(source)["Dice"], results.foreground_dice_interval(source)
    return {"dice": _finite(dice), "interval": _interval(interval)}


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _interval(limits: tuple[float, float]) -> list[float] | None:
    return [round(limit, 4) for limit in limits] if all(map(math.isfinite, limits)) else None
