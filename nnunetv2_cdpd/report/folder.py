"""report_folder: the page of a folder of predictions that `cdpd evaluate` has scored, or whose quality was predicted."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.evaluation.evaluate import COMPARISON_JSON, SUMMARY_FILE
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.jobs.shapes import read_shaped
from nnunetv2_cdpd.pages.template import check_page
from nnunetv2_cdpd.pages.viewer import MOST_VOLUMES
from nnunetv2_cdpd.report.cases import ReportCase, images_of_dataset
from nnunetv2_cdpd.report.comparison import COMPARISON, ComparisonTables, comparison_tables
from nnunetv2_cdpd.report.origin import dataset_of, model_of, where_now
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.quality import quality_file, write_quality_page
from nnunetv2_cdpd.report.tables import worst_and_typical, worst_first
from nnunetv2_cdpd.report.training import TrainingCurves, read_training

PAGE = "report.html"
DEFAULT_TITLE, QUALITY_TITLE = "Evaluation", "Quality of predictions"  # of scores, and where there are none


def report_folder(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    images: str | Path | None = None,
    references: str | Path | None = None,
    predictions: str | Path | None = None,
    name: str = "",
    other_name: str = "",
    title: str = DEFAULT_TITLE,
    intro_lines: Sequence[str] = (),
    num_pictures: int = 8,
    volumes: Sequence[str] | int = (),
    training: Sequence[str | Path] = (),
    window: tuple[float, float] | None = None,
    num_processes: int = 1,
    tell: Callable[[str], None] = print,
) -> Path:
    """Write the page of a folder with the results of `cdpd evaluate`; without any, of the quality that `cdpd predict` expects.

    Args:
        folder: With summary.json, and comparison.json where predictions were compared; or with quality.json.
        output: HTML file, or a folder for report.html; None: that of the results.
        images: Folder of the images, named as nnU-Net names them, or a raw dataset, whose images may lie anywhere; None:
            contours on black.
        references, predictions: Folders of the label maps to draw; None: where they were scored, or where they lie to the
            results now that both were moved together.
        name, other_name: What the page calls these predictions, and those they are compared with; empty: what the files tell.
        num_pictures: How many cases get pictures, the worst first, about 0.1 MB each.
        volumes: Identifiers of cases whose volume is shown by a viewer, or how many, the worst and some typical ones; they
            get pictures too.
        training: Training logs, fold folders or model folders.
        num_processes: That draw cases.
        tell: Called with a note on cases whose pictures cannot be made.

    Raises:
        UserError: No results there, an unknown case, no log in a training folder, an output that is no page, or a file of others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give that of {SUMMARY_FILE} or quality.json")
    page = _page(folder if output is None else Path(output))
    if not (folder / SUMMARY_FILE).exists() and quality_file(folder).is_file():
        told = {"Model": name or model_of(folder, ())}
        lines = [(what, text) for what, text in told.items() if text] + [("", line) for line in intro_lines]
        if images or references or predictions or volumes or training:
            tell(f"note: no {SUMMARY_FILE} in {folder}, so the page has the predicted quality alone, and no pictures or curves")
        return write_quality_page(folder, page, title=QUALITY_TITLE if title == DEFAULT_TITLE else title, intro_lines=lines)
    results = read_results(folder / SUMMARY_FILE)
    check_at_least(0, num_pictures=num_pictures)
    check_at_least(1, num_processes=num_processes)
    scores = {case.case: case for case in results.cases}
    volumes = worst_and_typical(results, volumes) if isinstance(volumes, int) else list(dict.fromkeys(volumes))
    if len(volumes) > MOST_VOLUMES:
        raise UserError(f"argument volumes: {len(volumes)} cases, but a page has room for {MOST_VOLUMES}; choose fewer")
    unknown = [case for case in volumes if case not in scores]
    if unknown:
        raise UserError(
            f"argument volumes {' '.join(unknown)}: not among the {len(scores)} scored cases of {folder / SUMMARY_FILE}"
        )
    for given, what in ((images, "images that were predicted"), (references, "references"), (predictions, "predictions")):
        if given is not None and not Path(given).is_dir():
            raise UserError(f"{given}: no such folder; give the folder of the {what}")
    shown = dict.fromkeys([*(case.case for case in worst_first(results)[:num_pictures]), *volumes])
    curves: dict[str, TrainingCurves] = {}
    for place in training:
        found = read_training(place)
        path = real_path(Path(place))
        model = path.parent if path.name in found else path  # the folder of a fold, or a log, says less than the model's
        if len(training) > 1:
            found = {f"{model.name}/{name}": its for name, its in found.items()}
        if twice := sorted(set(curves) & set(found)):
            raise UserError(
                f"argument training {place}: there is a {twice[0]} already; give each once, from folders of other names"
            )
        curves |= found
    check_page(page)
    comparison = _comparison(folder / COMPARISON_JSON, results, name, other_name)
    told = {"Model": name or model_of(folder, results.cases), "Dataset": dataset_of(results.cases)}
    listed = images_of_dataset(images)
    files = {case: where_now(scores[case], folder, references, predictions) for case in shown}
    return write_report(
        page,
        title=title,
        intro_lines=[*(f"{what}: {text}" for what, text in told.items() if text), *intro_lines],
        results=results,
        cases=[
            ReportCase(case, listed[case], *files[case]) if case in listed else ReportCase.of(case, *files[case], images)
            for case in shown
        ],
        volumes=volumes,
        training=curves,
        comparison=comparison,
        window=window,
        num_processes=num_processes,
        tell=tell,
    )


def _page(output: Path) -> Path:
    """The file that an output means."""
    if output.is_dir():
        return output / PAGE
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"argument output {output}: give a file that ends in .html, or a folder that is there for {PAGE}")
    if not output.parent.is_dir():
        raise UserError(f"{output}: no folder {output.parent}; make it or give another file")
    return output


def _comparison(path: Path, results: Results, name: str, other_name: str) -> ComparisonTables | None:
    """A comparison.json that belongs to the results; None: there is no file."""
    if not path.is_file():
        return None
    way_out = "run `cdpd evaluate --compare` again, or remove it"
    comparison = read_shaped(path, COMPARISON, way_out)
    classes = {*comparison["counts"], *(name for its in comparison["metrics"].values() for name in its)}
    belongs = (
        comparison["protocol"] == results.protocol.name
        and {case.case for case in results.cases}.issuperset(comparison["cases"])
        and classes.issubset(results.class_names)
    )
    if not belongs:
        raise UserError(f"{path}: not of the results beside it; {way_out}")
    return comparison_tables(comparison, name, other_name)
