"""Whether a card still tells what its model folder holds: one line for each thing that differs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.card.content import make_card
from nnunetv2_cdpd.card.files import CARD_FILE, CARD_KEY, COMPONENTS_FILE, MARKDOWN_FILE, recorded_card
from nnunetv2_cdpd.card.folder import read_model_folder
from nnunetv2_cdpd.card.markdown import card_markdown, is_as_made
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.host import FINGERPRINT_FILE
from nnunetv2_cdpd.jobs import read_json

_OTHERS = {"left_out": "what was left out", "training": "training settings", "weights": "weights", "made_with": "packages"}


def check_card(folder: Path) -> Iterator[str]:
    """What a card says that its model folder does not, each as a line that begins with the file.

    Raises:
        UserError: It is no model folder, one of its files is damaged, or it has no card.
    """
    model = read_model_folder(folder)
    found = recorded_card(folder)
    if found is None:
        raise UserError(f"{folder}: has no card; make one: cdpd card {folder} -o {folder}")
    card, path = found
    now = make_card(model, card, None)
    for line in differences(card, now):
        yield f"{path}: {line}"
    if path.name == CARD_FILE:
        yield from _of_files(folder, card)


def differences(card: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What a card says otherwise than one made now."""
    yield from _listed("class", card["classes"], now["classes"], ("value", "lies_in", "annotated_by"))
    yield from _listed("source", card["sources"], now["sources"], tuple(now["sources"][0]))
    yield from _listed("fold", card["model"]["folds"], now["model"]["folds"], ("checkpoint", "sha256", "epochs"))
    for key in ("dataset", "trainer", "plans", "configuration", "network", "channels"):
        if card["model"][key] != now["model"][key]:
            yield f"the {key} is {now['model'][key]!r} here, {card['model'][key]!r} in the card"
    yield from _scores(card["scores"], now["scores"])
    for key, words in _OTHERS.items():
        if card[key] != now[key]:
            yield f"{words}: other than the folder's"


def _listed(what: str, said: list[Any], there: list[Any], keys: tuple[str, ...]) -> Iterator[str]:
    of_card, here = ({entry["name"]: entry for entry in entries} for entries in (said, there))
    if missing := [name for name in here if name not in of_card]:
        yield f"{what} {listed(missing)}: not in the card"
    if gone := [name for name in of_card if name not in here]:
        yield f"{what} {listed(gone)}: in the card, not in the folder"
    for name in [name for name in here if name in of_card]:
        if differ := [key for key in keys if key != "name" and of_card[name].get(key) != here[name][key]]:
            yield f"{what} {name}: {', '.join(key.replace('_', ' ') for key in differ)} differ"


def _scores(said: Mapping[str, Any] | None, there: Mapping[str, Any] | None) -> Iterator[str]:
    if said is None or there is None:
        if said != there:
            yield "scores: there are new ones" if said is None else "scores: their files are gone"
        return
    if said["files"] != there["files"]:
        files = [entry["name"] for entry in there["files"] if entry not in said["files"]]
        yield f"scores: stale, {listed(files) or 'some of their files are gone'}"
    elif said != there:
        yield "scores: other numbers than their files give"


def _of_files(folder: Path, card: Mapping[str, Any]) -> Iterator[str]:
    """The other files of a card, which follow from its JSON."""
    markdown, components = folder / MARKDOWN_FILE, folder / COMPONENTS_FILE
    text = markdown.read_text(encoding="utf-8", errors="replace") if markdown.is_file() else None
    if text is None:
        yield f"{markdown}: missing"
    elif text != card_markdown(card):
        yield f"{markdown}: {'of another card' if is_as_made(text) else 'changed by hand'}"
    listing = read_json(components) if components.is_file() else None
    if components.is_file() and listing != _components(card):
        yield f"{components}: of another card"
    within = read_json(folder / FINGERPRINT_FILE)
    if not isinstance(within, dict) or within.get(CARD_KEY) != card:
        yield f"{folder / FINGERPRINT_FILE}: holds another card or none, which nnUNetv2_export_model_to_zip would take along"


def _components(card: Mapping[str, Any]) -> Any:
    import json

    from nnunetv2_cdpd.card.components import components_json

    return json.loads(components_json(card))
