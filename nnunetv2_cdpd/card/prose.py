"""What a card says in sentences: intended use, limits, what was not measured, what is not known; each from the card's facts."""

from collections.abc import Mapping
from typing import Any

from nnunetv2_cdpd.errors import listed

_FEW_CASES = 10
_WEAK = 0.5


def intended_use(card: Mapping[str, Any]) -> list[str]:
    """What the model is for, and what it is not for."""
    channels = card["model"]["channels"]
    images = f"{channels[0]} images" if len(channels) == 1 else f"images of the channels {' and '.join(channels)}"
    return [
        f"Research: segmentation of the classes below ({len(card['classes'])}) in {images} like those it was trained on.",
        "It is no medical device, and nobody has approved it for diagnosis, treatment planning or any other clinical decision.",
        "What its sources' licenses allow binds whoever uses or passes on the model (see Licenses).",
    ]


def limits(card: Mapping[str, Any]) -> list[str]:
    """What is known to be weak, from who annotates what."""
    lines = []
    sources = card["sources"]
    if len(sources) > 1:
        lines.append(
            "No source annotates everything: a class was learned from the sources that annotate it, and whether it is found in "
            "images like those of the others was never checked."
        )
    alone = {name for source in sources for name in source["classes"]}
    if never := [entry["name"] for entry in card["classes"] if entry["name"] not in alone]:
        lines.append(f"Annotated only together with others, so that nothing tells them apart: {listed(never, 40)}.")
    counts = {source["name"]: source["cases"] for source in sources}
    few = []
    for entry in card["classes"]:
        cases = [counts[name] for name in entry["annotated_by"]]
        if cases and None not in cases and sum(cases) < _FEW_CASES:
            few.append(f"{entry['name']} ({sum(cases)})")
    if few:
        lines.append(f"Learned from fewer than {_FEW_CASES} cases: {listed(few, 40)}.")
    scored = [] if card["scores"] is None else card["scores"]["classes"]
    if weak := [entry["name"] for entry in scored if entry["dice"] is not None and entry["dice"] < _WEAK]:
        lines.append(f"Mean Dice below {_WEAK}: {listed(weak, 40)}.")
    if unfinished := [fold["name"] for fold in card["model"]["folds"] if not fold["finished"]]:
        lines.append(f"Not trained to the end: fold {listed(unfinished)}.")
    lines.append("Images of another modality, body region, reconstruction or patient group than the sources' were not learned.")
    return lines


def not_measured(card: Mapping[str, Any]) -> list[str]:
    """What nobody has measured, as far as the folder tells."""
    scores = card["scores"]
    if scores is None:
        return ["Everything: the model folder holds no scores, so whether it segments anything well is not known here."]
    lines = []
    scored = {entry["name"] for entry in scores["classes"] if entry["present"] > 0}
    if without := [entry["name"] for entry in card["classes"] if entry["name"] not in scored]:
        lines.append(f"Classes that no scored case holds: {listed(without, 40)}.")
    if unvalidated := [fold["name"] for fold in card["model"]["folds"] if fold["name"] not in scores["folds"]]:
        lines.append(f"Fold {listed(unvalidated)}: no scores of its validation, or not joined with the others'.")
    of_sources = {entry["name"] for entry in scores["sources"]}
    if unseen := [source["name"] for source in card["sources"] if source["name"] not in of_sources]:
        lines.append(f"Sources without a scored case: {listed(unseen, 40)}.")
    lines += [
        "Images from elsewhere: all scores are of cases from the sources that it was trained on.",
        "Groups of patients (age, sex, disease, scanner): the sources' tables are not read.",
        "Distances between surfaces, agreement with other readers, use in a clinic.",
    ]
    return lines


def not_known(card: Mapping[str, Any]) -> list[str]:
    """What the folder does not tell."""
    model, lines = card["model"], []
    if model["imported"]:
        lines.append(
            "It was not trained here: this is the checkpoint that the authors of CDPDNet released (arXiv 2505.18958), imported. "
            "Which cases of which datasets it was trained on, and its settings, are told in the paper, not in the file; the "
            "license of the checkpoint itself is not in the file either."
        )
    if not model["folds"] or all(fold["checkpoint"] is None for fold in model["folds"]):
        lines.append("No checkpoint: the training has not come so far, or the files were not copied.")
    if unread := [source["name"] for source in card["sources"] if not source["license_names"]]:
        lines.append(f"What the licenses of these sources allow: {listed(unread, 40)}.")
    if uncounted := [source["name"] for source in card["sources"] if source["cases"] is None]:
        lines.append(f"How many cases these sources gave: {listed(uncounted, 40)}.")
    if uncited := [source["name"] for source in card["sources"] if source["reference"] is None]:
        lines.append(f"How these sources want to be cited: {listed(uncited, 40)}.")
    lines += [
        f"The license of the weights of the {entry['part']} {entry['name']} (origin: {entry['origin']})."
        for entry in card["weights"]
        if entry["needs_license"] and entry["license"] is None
    ]
    if not card["made_with"]["packages"]:
        lines.append("Which packages trained it.")
    elif len(card["made_with"]["packages"]) == 1:
        lines.append("Which packages trained it, but for torch: it was trained before they were recorded, or by another trainer.")
    return lines
