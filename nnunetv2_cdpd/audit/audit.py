"""audit_datasets: read nnU-Net raw datasets, check them, and find the same scan in several cases."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.audit.cases import AuditCase, read_cases
from nnunetv2_cdpd.audit.checks import check_cases
from nnunetv2_cdpd.audit.page import write_audit_page
from nnunetv2_cdpd.audit.result import Audit, audit_as_json, audit_summary
from nnunetv2_cdpd.audit.statistics import geometry_statistics, volume_statistics
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.raw import RawDataset, read_datasets
from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.jobs import Outcome, output_folder, read_json, write_json
from nnunetv2_cdpd.pages.template import check_page
from nnunetv2_cdpd.same_scan.alignment import Pair
from nnunetv2_cdpd.same_scan.pairs import SAME_SCAN, find_pairs

JSON_FILE = "audit.json"
PAGE_FILE = "audit.html"


def audit_datasets(
    datasets: Sequence[str | int | Path],
    output: str | Path,
    *,
    min_score: float = SAME_SCAN,
    num_pictures: int = 12,
    num_processes: int = default_num_processes,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Audit:
    """Audit datasets and write audit.json and audit.html.

    Args:
        datasets: Ids, names or folders, each once.
        output: Folder of the two files; made where it is not there.
        min_score: From which two images count as the same scan.
        num_pictures: Cases with findings, and pairs, of which the page shows pictures.

    Raises:
        UserError: A dataset cannot be read, none of its images can, files of others would be replaced, or an impossible number.
    """
    check_at_least(0, num_pictures=num_pictures)
    check_at_least(1, num_processes=num_processes)
    if not 0 < min_score <= 1:
        raise UserError(f"argument min_score {min_score}: give a score above 0 and at most 1; {SAME_SCAN} is usual")
    output = Path(output)
    _check_output(output)
    inputs = read_datasets(datasets)
    names = [dataset.name for dataset in inputs]
    if same := [str(dataset.folder) for dataset in inputs if names.count(dataset.name) > 1]:
        raise UserError(f"{', '.join(same)}: cases are told apart by the names of folders; rename one, or audit them one by one")
    with output_folder(Path(output)):
        return _audit(inputs, Path(output), min_score, num_pictures, num_processes, progress, report)


def _audit(
    inputs: Sequence[RawDataset],
    output: Path,
    min_score: float,
    num_pictures: int,
    num_processes: int,
    progress: bool,
    report: Callable[[str], None],
) -> Audit:
    cases = read_cases(inputs, num_processes=num_processes, progress=progress)
    unread = {case.name: ", ".join(case.problems) for case in cases if case.fingerprint is None and case.labels is None}
    if len(unread) == len(cases):
        Outcome(failed=unread).check_any("read")
    classes = volume_statistics(cases)
    audit = Audit(
        cases,
        classes,
        geometry_statistics(cases),
        check_cases(cases, classes),
        _pairs(cases, min_score, progress),
        [f"{dataset.name}: {line}" for dataset in inputs for line in (*dataset.problems, *dataset.strays)],
    )
    write_json(output / JSON_FILE, audit_as_json(audit, min_score))
    write_audit_page(output / PAGE_FILE, audit, num_pictures)
    report(audit_summary(audit))
    report(f"written to {output / JSON_FILE} and {output / PAGE_FILE}")
    return audit


def _check_output(folder: Path) -> None:
    found = read_json(folder / JSON_FILE)
    is_ours = isinstance(found, dict) and {"made_by", "findings"} <= set(found)
    check_may_write([folder / JSON_FILE], made_here=is_ours, way_out="give another folder")
    check_page(folder / PAGE_FILE)


def _pairs(cases: Sequence[AuditCase], min_score: float, progress: bool) -> list[Pair]:
    """Pairs among the images, each of which counts for the first case that has it."""
    firsts = {case.image: case for case in reversed(cases)}
    compared = [case.fingerprint if firsts[case.image] is case else None for case in cases]
    return find_pairs(compared, min_score=min_score, progress=progress)
