"""Names of nnU-Net's datasets, by id or name, wherever nnU-Net looks for them."""

import re
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.errors import UserError, listed

_PLACES = {"nnUNet_raw": nnUNet_raw, "nnUNet_preprocessed": nnUNet_preprocessed, "nnUNet_results": nnUNet_results}


def as_id(given: str | int | Path) -> int | None:
    """The id that is given for a dataset; None where it is a name or a folder, and for digits that are no id."""
    return int(str(given)) if re.fullmatch("[0-9]{1,9}", str(given)) else None


def dataset_name(given: str | int) -> str:
    """nnU-Net's name, Dataset301_NAME, of an id or a name in nnUNet_raw, nnUNet_preprocessed or nnUNet_results.

    Raises:
        UserError: There is none, or more than one of that id; the ones that there are are listed.
    """
    text, number = str(given), as_id(given)
    folders = {name: folder_of_nnunet(place) for name, place in _PLACES.items()}
    there = sorted(
        {path.name for folder in folders.values() if folder for path in folder.glob("Dataset[0-9][0-9][0-9]_*") if path.is_dir()}
    )
    found = [name for name in there if name == text] if number is None else list(map(str, find_candidate_datasets(number)))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"dataset {text}: more than one has this id, {listed(found)}; rename one of them")
    unset = [name for name, folder in folders.items() if folder is None]
    hint = f"; {', '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set" if unset else ""
    raise UserError(
        f"dataset {text}: none of this id or name in nnU-Net's folders; give one of these: {listed(there) or 'none is there'}"
        f"{hint}"
    )
