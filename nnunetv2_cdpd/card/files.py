"""The files of a card: in a model folder or another, in a zip that nnU-Net exported, and in what its export takes along
(`datasets.carried`), so that the card's JSON comes out of the zip with the model."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nnunetv2_cdpd.card.components import components_json
from nnunetv2_cdpd.card.content import make_card
from nnunetv2_cdpd.card.folder import ModelFolder, read_model_folder
from nnunetv2_cdpd.card.markdown import card_markdown, is_as_made
from nnunetv2_cdpd.card.shape import CARD
from nnunetv2_cdpd.datasets.carried import carry, taken_along
from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.host import DATASET_FILE
from nnunetv2_cdpd.jobs import write_text, written_beside
from nnunetv2_cdpd.jobs.shapes import check_shape, read_shaped

CARD_FILE, MARKDOWN_FILE, COMPONENTS_FILE = "cdpd_card.json", "cdpd_card.md", "cdpd_components.cdx.json"
CARD_KEY = "cdpd_card"  # in dataset_fingerprint.json
MAKE_ANEW = "remove it and make it anew: cdpd card MODEL -o MODEL"


def recorded_card(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The card that a model folder has, and the file that it stands in; None: it has none.

    Raises:
        UserError: It is damaged.
    """
    path = folder / CARD_FILE
    if path.is_file():
        return read_shaped(path, CARD, MAKE_ANEW), path
    found = taken_along(folder, CARD_KEY)
    if found is not None:
        check_shape(found[0], CARD, found[1], MAKE_ANEW, CARD_KEY)
    return found


def card_of(folder: Path, words: Mapping[str, list[str]] | None = None) -> tuple[ModelFolder, dict[str, Any]]:
    """A model folder and its card, made from it now.

    Args:
        words: The user's; None: those of the card that it has.

    Raises:
        UserError: It is no model folder, or a file of it is damaged.
    """
    model = read_model_folder(folder)
    former = recorded_card(model.path)
    return model, make_card(model, former[0] if former else None, words)


def write_card(card: Mapping[str, Any], place: Path, model: Path, report: Callable[[str], None]) -> None:
    """Write JSON, Markdown and the list of components.

    Args:
        place: A folder; a zip that nnU-Net exported of the model, into which they go.
        model: The model folder; where it is the place, the card goes into dataset_fingerprint.json too.
        report: Called with the reason, where there is no list of components.

    Raises:
        UserError: A file there was changed by hand, or the zip does not hold the model.
        OSError: It cannot be written.
    """
    texts = {CARD_FILE: json.dumps(card, indent=4), MARKDOWN_FILE: card_markdown(card)}
    try:
        texts[COMPONENTS_FILE] = components_json(card)
    except UserError as error:
        report(f"note: no {COMPONENTS_FILE}: {error}")
    if place.suffix == ".zip":
        _write_into_zip(texts, place, model)
        return
    if place.is_file():
        raise UserError(f"{place}: a file; give a folder, or a zip that nnUNetv2_export_model_to_zip wrote, as argument output")
    check_unchanged(place / MARKDOWN_FILE)
    if place.resolve() == model.resolve():
        carry(model, CARD_KEY, card)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(place / name, text)
    if COMPONENTS_FILE not in texts:
        (place / COMPONENTS_FILE).unlink(missing_ok=True)  # of an earlier card


def check_unchanged(path: Path) -> None:
    """Raise UserError if a Markdown file is there that was changed by hand, or that is not ours."""
    if path.exists() and not is_as_made(path.read_text(encoding="utf-8", errors="replace")):
        raise UserError(f"{path}: was changed by hand, and stays; move it away (own words go into the YAML of argument words)")


def card_if_possible(folder: Path, tell: Callable[[str], None], final_folder: Path | None = None) -> None:
    """Write the card of a model folder that has just been made; what goes wrong is told, and harms neither model nor training.

    Args:
        final_folder: Where the folder is going to be, for the line that tells of the card; None: where it is.
    """
    try:
        _, card = card_of(folder)
        write_card(card, folder, folder, tell)
        tell(f"Model card: {(final_folder or folder) / MARKDOWN_FILE}")
    except Exception as error:
        tell(f"No model card: {one_line(error)}")


def _write_into_zip(texts: Mapping[str, str], path: Path, model: Path) -> None:
    """Put files beside the dataset.json of this model in a zip, which is written beside and renamed."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: no such zip; export the model first: nnUNetv2_export_model_to_zip")
    name = model.resolve().name
    with written_beside(path) as beside:
        with zipfile.ZipFile(path) as archive:
            places = [PurePosixPath(entry).parent for entry in archive.namelist() if entry.endswith(f"/{DATASET_FILE}")]
            fitting = [place for place in places if place.name == name]
            if len(set(fitting)) != 1:
                there = ", ".join(sorted({place.name for place in places})) or "no model"
                raise UserError(f"{path}: holds {there}, not {name}; give the zip that this model was exported to")
            new = {str(fitting[0] / file): text for file, text in texts.items()}
            if new.keys().isdisjoint(archive.namelist()):
                shutil.copyfile(path, beside)
            else:
                _copy_without(archive, beside, set(new))
        with zipfile.ZipFile(beside, "a", zipfile.ZIP_DEFLATED) as archive:
            for entry, text in new.items():
                archive.writestr(entry, text)


def _copy_without(archive: zipfile.ZipFile, path: Path, left_out: set[str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as copy:
        for entry in archive.infolist():
            if entry.filename not in left_out:
                with archive.open(entry) as source, copy.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
