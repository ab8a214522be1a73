"""Images of a BIDS dataset as cases, and their predictions as a BIDS derivatives dataset (BIDS 1.10, Segmentations).

    sub-01/ses-02/anat/sub-01_ses-02_acq-thin_ct.nii.gz
    OUT/dataset_description.json  OUT/.bidsignore
    OUT/sub-01/ses-02/anat/sub-01_ses-02_acq-thin_desc-cdpd_dseg.nii.gz, and the same .tsv: index, name, color

The identifier of such a case is the path of its label map within the output folder, without ending.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.roles import SETTINGS_FILE
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.inputs import Case, Tell
from nnunetv2_cdpd.inference.origins import known_origins
from nnunetv2_cdpd.jobs import read_json, write_json, write_text
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.planning.plans_json import PLANS_FILE

DESCRIPTION_FILE, _IGNORE_FILE = "dataset_description.json", ".bidsignore"
_BIDS_VERSION = "1.10.0"
_DESC = "cdpd"
_ENDINGS = (".nii.gz", ".nii")
_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_(?P<suffix>[A-Za-z0-9]+)")
_NO_IMAGES = ("dseg", "probseg", "mask", "defacemask")  # suffixes
_ANATOMY = "anat"


@dataclass(frozen=True)
class BidsCase(Case):
    """An image of a BIDS dataset."""


def find_bids_cases(path: Path, suffix: str, file_ending: str, num_channels: int, tell: Tell) -> list[Case]:
    """The images of a BIDS dataset, of a folder of files with BIDS names, or a file.

    Args:
        suffix: Of the images, as "T1w" or "ct", in any folder of a session; "": every image below `anat`.
        file_ending: Of the predictions.
        tell: Hears what is passed over.

    Raises:
        UserError: There is none, two would have one prediction, or the model does not suit.
    """
    if num_channels != 1:
        raise UserError(f"argument bids: a file is one channel, and this model takes {num_channels}; predict without it")
    if file_ending not in _ENDINGS:
        raise UserError(f"argument bids: BIDS has NIfTI only, and this model writes {file_ending}; predict without it")
    if path.is_file():
        files, is_dataset = [path], False
    elif path.is_dir():
        is_dataset = any(folder.is_dir() for folder in path.glob("sub-*"))
        files = _of_dataset(path, suffix) if is_dataset else sorted(path.glob("*"))
    else:
        raise UserError(f"{path}: no such file or folder; give an image or a BIDS dataset")
    found: dict[str, Path] = {}
    passed_over: list[str] = []
    for file in files:
        identifier = _identifier(file, suffix)
        if identifier is None or (is_dataset and file.parent.parent != path.joinpath(*_place(identifier))):
            passed_over += [str(file.relative_to(path) if path.is_dir() else file.name)] if _is_volume(file) else []
        elif (other := found.setdefault(identifier, file)) != file:
            raise UserError(
                f"{other} and {file}: both would have the prediction {identifier}; choose one kind of image, as in --bids T1w"
            )
    if passed_over:
        tell(f"{path}: not taken, being named otherwise or no image: {listed(passed_over)}")
    if not found:
        wanted = f"sub-..._{suffix or '...'}.nii.gz"
        where = f"sub-*/[ses-*/]{'*' if suffix else _ANATOMY}/" if path.is_dir() else ""
        raise UserError(f"{path}: no image with a BIDS name ({where}{wanted}); rename it, or predict without argument bids")
    return [BidsCase(identifier, (file,)) for identifier, file in found.items()]


def _of_dataset(root: Path, suffix: str) -> list[Path]:
    kind = "*" if suffix else _ANATOMY
    return sorted(file for place in (f"sub-*/{kind}", f"sub-*/ses-*/{kind}") for file in root.glob(f"{place}/*"))


def _is_volume(file: Path) -> bool:
    return file.name.endswith(_ENDINGS)


def _identifier(file: Path, suffix: str) -> str | None:
    """Where the label map of an image goes; None: it is none that is asked for."""
    ending = next((ending for ending in _ENDINGS if file.name.endswith(ending)), None)
    match = _NAME.fullmatch(file.name.removesuffix(ending)) if ending else None
    if match is None or match["suffix"] in _NO_IMAGES or suffix not in ("", match["suffix"]):
        return None
    entities = [entity for entity in match["entities"].split("_") if not entity.startswith("desc-")]
    keys = [entity.partition("-")[0] for entity in entities]
    if len(set(keys)) < len(keys) or "ses" in keys[2:]:
        return None
    name = "_".join([*entities, f"desc-{_DESC}", "dseg"])
    return "/".join([*_place(name), _ANATOMY, name])


def _place(identifier: str) -> list[str]:
    """Folders of the subject and, where there is one, the session that a name says."""
    entities = identifier.rpartition("/")[2].split("_")
    return [entity for entity in entities[:2] if entity.startswith(("sub-", "ses-"))]


def write_bids_labels(label_map: Path, values: Mapping[str, int], classes: Iterable[str]) -> None:
    """What the values of a label map mean, beside it: index, name and color.

    Args:
        values: Class that was predicted -> stored value.
        classes: All of the model, which have one colour each.
    """
    palette = Palette.of(classes)
    rows = [("index", "name", "color")]
    rows += [(str(value), " ".join(name.split()), palette.colour(name)) for name, value in sorted(values.items(), key=_by_value)]
    path = label_map.with_name(f"{_stem(label_map)}.tsv")
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))


def _by_value(item: tuple[str, int]) -> int:
    return item[1]


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(ending) for ending in _ENDINGS if path.name.endswith(ending)), path.name)


def begin_bids_dataset(folder: Path, cases: Iterable[Case]) -> None:
    """Check that a folder may become a derivatives dataset, before anything is written there.

    Raises:
        UserError: It is a BIDS dataset that somebody else made, or has predictions of other images whose names these would have.
    """
    before = known_origins(read_json(folder / SETTINGS_FILE))
    for case in cases:
        name, there = case.files[0].name, before.get(case.identifier, [""])[0]
        predicted = any((folder / f"{case.identifier}{ending}").exists() for ending in _ENDINGS)
        if there and predicted and _stem(Path(there)) != _stem(Path(name)):
            raise UserError(
                f"{folder}: {case.identifier} there is the prediction of {there}, and that of {name} would have the same name; "
                "give each kind of image a folder of its own"
            )
    made_here = (folder / SETTINGS_FILE).is_file()
    files = [folder / DESCRIPTION_FILE, folder / _IGNORE_FILE]
    check_may_write(files, made_here=made_here, way_out="give another folder, as derivatives/cdpd of the dataset")


def write_bids_description(folder: Path) -> None:
    """What makes a folder a BIDS derivatives dataset, and which files beside the label maps are none of BIDS."""
    write_json(
        folder / DESCRIPTION_FILE,
        {
            "Name": "Segmentations by nnunetv2_cdpd",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "nnunetv2_cdpd", "Version": __version__, "Description": "cdpd predict --bids"}],
        },
    )
    write_text(folder / _IGNORE_FILE, "".join(f"{name}\n" for name in (SETTINGS_FILE, FILE_NAME, PLANS_FILE)))
