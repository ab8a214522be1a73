"""Folds of a merged dataset in which the same scan is never both trained on and validated.

nnU-Net's trainer reads nnUNet_preprocessed/DatasetXXX_NAME/splits_final.json as it is. Its experiment planner copies a
splits_final.json of the raw dataset there, and stops if another one is there already; so the two are kept equal. Where no
scan is in several cases, none is written and nnU-Net makes its own folds; a file that lacks new cases or lists foreign ones is
set aside all the same, because nnU-Net would go on with it and never train the new ones.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.errors import first_of
from nnunetv2_cdpd.jobs import read_json, remove_leftovers, write_json
from nnunetv2_cdpd.jobs.shapes import NAME, list_of, read_shaped, record
from nnunetv2_cdpd.merge.duplicates import Duplicates

SPLITS_FILE = "splits_final.json"
DUPLICATES_FILE = "cdpd_duplicates.json"
NUM_FOLDS = 5  # nnU-Net's, as is the seed
SEED = 12345
_MOST_GROUPS = 5  # that are named
_SPLITS = list_of(record({"train": list_of(NAME, 1), "val": list_of(NAME, 1)}), 1)

Splits = list[dict[str, list[str]]]  # as nnU-Net has them in the file
Folds = list[tuple[set[str], set[str]]]  # training and validation cases of each, to be compared


def read_splits(path: Path, way_out: str) -> Splits:
    """The folds in a file.

    Args:
        way_out: Ends the message about one that is damaged.

    Raises:
        UserError: They are none, or one is empty.
    """
    return read_shaped(path, _SPLITS, way_out)


def make_folds(case_source: Mapping[str, str], groups: Sequence[Sequence[str]]) -> Splits:
    """Folds in nnU-Net's form, each case validated once, sources spread evenly.

    Args:
        case_source: Case identifier -> source.
        groups: Cases that stay together; all others are on their own.

    Returns:
        Five folds, fewer where there are fewer groups; none where there is only one group.
    """
    cases = sorted(case_source)
    group_of = {case: number for number, group in enumerate(groups) for case in group}
    numbers = [group_of.get(case, len(groups) + index) for index, case in enumerate(cases)]
    num_folds = min(NUM_FOLDS, len(set(numbers)))
    if num_folds < 2:
        return []
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold  # takes two seconds, which processes of a case spare

    sources = [case_source[case] for case in cases]
    if max(map(sources.count, set(sources))) < num_folds:  # more than scikit-learn can spread
        sources = [""] * len(cases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a source with fewer cases than folds is in some of them only
        folds = list(StratifiedGroupKFold(num_folds, shuffle=True, random_state=SEED).split(cases, sources, numbers))
        if any(not len(val) for _, val in folds):
            folds = list(GroupKFold(num_folds).split(cases, groups=numbers))
    return [{"train": [cases[i] for i in train], "val": [cases[i] for i in val]} for train, val in folds]


def write_folds(
    output: Path,
    case_source: Mapping[str, str],
    duplicates: Duplicates | None,
    report: Callable[[str], None],
    *,
    new: Collection[str] = (),
) -> None:
    """Bring splits_final.json, in the raw and the preprocessed dataset, and cdpd_duplicates.json up to date.

    Args:
        duplicates: None if there was no search; folds that do not fit are then set aside, and nothing is written.
        new: Cases that the last merge did not have. Folds that lack others keep them out on purpose.
    """
    groups = duplicates.groups if duplicates else ()
    splits = make_folds(case_source, groups) if groups else []
    places = [output / SPLITS_FILE]
    if preprocessed := folder_of_nnunet(nnUNet_preprocessed):
        places.append(preprocessed / output.name / SPLITS_FILE)
    before = read_json(output / DUPLICATES_FILE)
    ours = before.get("splits") if duplicates and isinstance(before, Mapping) else None
    for place in reversed(places):  # what is there and good counts, so that trained folds stay what they are
        there = read_json(place)
        folds = _folds(there)
        if splits and folds != _folds(splits) and _usable(folds or [], case_source, groups):
            report(f"note: {place} keeps all cases of one scan together already; its folds stay")
            splits = there
            break
    for place in places:
        remove_leftovers(place.parent)
        folds = _folds(read_json(place))
        if splits and folds == _folds(splits):
            continue
        if place.is_file() and (folds is None or folds != _folds(ours)):
            if not splits and folds and all(set(new) <= train | val <= set(case_source) for train, val in folds):
                if not _usable(folds, case_source, ()):
                    report(f"note: {place} keeps some cases out of its folds and stays; delete it if they are to be trained on")
                continue  # the user's or nnU-Net's, and nothing speaks against it
            kept = _set_aside(place)
            torn = " or had one scan in training and validation" if splits else ""
            report(
                f"warning: {place} listed other cases{torn}; it was moved to {kept.name}. "
                "Folds that were trained with it have to be trained again"
            )
        if splits:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, splits)
        else:
            place.unlink(missing_ok=True)
    if duplicates is None:
        return
    _tell(duplicates, splits, report)
    found = {**asdict(duplicates), "splits": splits}
    if read_json(output / DUPLICATES_FILE) != found:
        write_json(output / DUPLICATES_FILE, found)


def _tell(duplicates: Duplicates, splits: Splits, report: Callable[[str], None]) -> None:
    if not duplicates.groups:
        return
    named = "; ".join(first_of([" = ".join(group) for group in duplicates.groups], _MOST_GROUPS))
    if splits:
        report(
            f"note: {len(duplicates.groups)} scan(s) are in several cases ({named}); {SPLITS_FILE} keeps them in one "
            f"fold ({len(splits)} folds)"
        )
    else:
        report(f"warning: all cases show the same scan ({named}); no folds can keep them together, so none were written")


def _folds(splits: Any) -> Folds | None:
    """What a file holds, in whatever order of cases; None if these are no folds."""
    try:
        return [(set(fold["train"]), set(fold["val"])) for fold in splits]
    except (TypeError, KeyError):
        return None


def _usable(folds: Folds, cases: Collection[str], groups: Sequence[Sequence[str]]) -> bool:
    """Whether there are folds, of these cases, with every group on one side."""
    return bool(folds) and all(
        train | val == set(cases) and all(train.isdisjoint(group) or val.isdisjoint(group) for group in groups)
        for train, val in folds
    )


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"splits_before_merge_{number}.json")).exists():
        number += 1
    path.rename(kept)
    return kept
