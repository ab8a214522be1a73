"""Checks of what a training reads of nnUNet_preprocessed: cases of a configuration, whole, and the folds that name them."""

from pathlib import Path

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.merge.folds import NUM_FOLDS, SPLITS_FILE, read_splits

_SEGMENTATION = "_seg"  # ends the names of label maps
_COMPRESSED = ".b2nd"
_PROPERTIES = ".pkl"
_KINDS = (_PROPERTIES, _COMPRESSED, ".npz", ".npy")  # of nnU-Net's files of cases


def check_preprocessed(folder: Path, identifier: str, command: str) -> list[str]:
    """The cases of a configuration; files that preprocessing left torn, on a full disk or by a kill, are found.

    Args:
        folder: Of the dataset, in nnUNet_preprocessed.
        identifier: Of the configuration's data there.
        command: Makes them anew.

    Raises:
        UserError: There are none, a file of a case is missing or damaged, or a file of another kind is there.
    """
    place = folder / identifier
    names = {path.name for path in place.iterdir() if path.is_file()} if place.is_dir() else set()
    cases = sorted(name.removesuffix(_PROPERTIES) for name in names if name.endswith(_PROPERTIES))
    if not cases:
        raise UserError(f"{place}: no preprocessed case here; make them: {command}")
    if strays := sorted(name for name in names if not name.endswith(_KINDS)):
        raise UserError(f"{place}: {listed(strays)}: nnU-Net goes on with nothing but preprocessed cases here; move it elsewhere")
    if not any(name.endswith(_COMPRESSED) for name in names):
        return cases  # of another of nnU-Net's formats
    needed = [f"{case}{part}{_COMPRESSED}" for case in cases for part in ("", _SEGMENTATION)]
    damaged = [name for name in needed if name not in names or not _is_whole(place / name)]
    if damaged:
        raise UserError(f"{place}: missing or damaged: {listed(damaged)}; make them anew: {command}")
    return cases


def check_fold(folder: Path, fold: str, cases: list[str]) -> None:
    """Check the folds that a training takes, where there are such.

    Raises:
        UserError: The file is damaged, the fold is empty or of other cases, or there are too few for folds.
    """
    path = folder / SPLITS_FILE
    if fold == "all":
        return
    if not path.exists():
        if len(cases) < NUM_FOLDS:
            raise UserError(
                f"{folder}: {len(cases)} cases, of which nnU-Net makes no {NUM_FOLDS} folds; train on all (fold all), or write "
                f"{SPLITS_FILE} there"
            )
        return
    way_out = "delete it, and nnU-Net makes new folds"
    splits = read_splits(path, way_out)
    chosen = splits[int(fold)] if int(fold) < len(splits) else {}  # of further folds nnU-Net draws the cases
    if unknown := sorted({name for part in chosen.values() for name in part} - set(cases)):
        raise UserError(
            f"{path}: fold {fold} has cases that are not preprocessed: {listed(unknown)}; preprocess them, or {way_out}"
        )


def _is_whole(path: Path) -> bool:
    import blosc2

    try:
        blosc2.open(urlpath=str(path), mode="r")
    except Exception:  # whatever blosc2 raises for what is no array of it
        return False
    return True
