"""report_folder: the page of a folder of predictions that `cdpd evaluate` has scored."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError, check_at_least, one_line
from nnunetv2_cdpd.evaluation.evaluate import COMPARISON_JSON, SUMMARY_FILE
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.pages.template import check_page
from nnunetv2_cdpd.report.cases import ReportCase
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.tables import worst_first
from nnunetv2_cdpd.report.training import TrainingCurves, read_training


def report_folder(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    images: str | Path | None = None,
    title: str = "Evaluation",
    intro_lines: Sequence[str] = (),
    num_pictures: int = 8,
    volumes: Sequence[str] = (),
    training: Sequence[str | Path] = (),
    window: tuple[float, float] | None = None,
    num_processes: int = 1,
) -> Path:
    """Write the page of a folder with the results of `cdpd evaluate`.

    Args:
        folder: With summary.json, and comparison.json where predictions were compared.
        output: HTML file; None: report.html in the folder.
        images: Folder of the images, named as nnU-Net names them; None: contours on black.
        num_pictures: How many cases get pictures, the worst first, about 0.1 MB each.
        volumes: Identifiers of cases whose volume can be scrolled through; they get pictures too.
        training: Training logs, fold folders or model folders.
        num_processes: That draw cases.

    Raises:
        UserError: No results there, an unknown case, no log in a training folder, or a file of others is there.
    """
    folder = Path(folder)
    results = read_results(folder / SUMMARY_FILE)
    check_at_least(0, num_pictures=num_pictures)
    check_at_least(1, num_processes=num_processes)
    scores = {case.case: case for case in results.cases}
    unknown = [case for case in volumes if case not in scores]
    if unknown:
        raise UserError(
            f"argument volumes {' '.join(unknown)}: not among the {len(scores)} scored cases of {folder / SUMMARY_FILE}"
        )
    if images is not None and not Path(images).is_dir():
        raise UserError(f"{images}: no such folder; give the folder of the images that were predicted")
    shown = dict.fromkeys([*(case.case for case in worst_first(results)[:num_pictures]), *volumes])
    curves: dict[str, TrainingCurves] = {}
    for place in training:
        found = read_training(place)
        path = Path(place).resolve()
        model = path.parent if path.name in found else path  # the folder of a fold, or a log, says less than the model's
        if len(training) > 1:
            found = {f"{model.name}/{name}": its for name, its in found.items()}
        if twice := sorted(set(curves) & set(found)):
            raise UserError(
                f"argument training {place}: there is a {twice[0]} already; give each once, from folders of other names"
            )
        curves |= found
    output = folder / "report.html" if output is None else Path(output)
    if not output.parent.is_dir():
        raise UserError(f"{output}: no folder {output.parent}; make it or give another file")
    check_page(output)
    return write_report(
        output,
        title=title,
        intro_lines=intro_lines,
        results=results,
        cases=[ReportCase.of(scores[case], images) for case in shown],
        volumes=volumes,
        training=curves,
        comparison=_comparison(folder / COMPARISON_JSON, results),
        window=window,
        num_processes=num_processes,
    )


def _comparison(path: Path, results: Results) -> dict[str, Any] | None:
    """A comparison.json that belongs to the results; None: there is no file."""
    if not path.is_file():
        return None
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
        classes = {*comparison["counts"], *(name for its in comparison["metrics"].values() for name in its)}
        belongs = (
            comparison["protocol"] == results.protocol.name
            and {case.case for case in results.cases}.issuperset(comparison["cases"])
            and classes.issubset(results.class_names)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({one_line(error)}); run `cdpd evaluate --compare` again, or remove it") from error
    if not belongs:
        raise UserError(f"{path}: not of the results beside it; run `cdpd evaluate --compare` again, or remove it")
    return comparison
