"""The content of a card, JSON-able, from a model folder: everything that its Markdown and its list of components show.

Fields are those of Mitchell et al., Model Cards for Model Reporting (2019): model details, intended use, factors, metrics,
training and evaluation data, caveats; in the words of segmentation and of partial annotation.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.annotation import Source
from nnunetv2_cdpd.card.folder import ModelFolder
from nnunetv2_cdpd.card.prose import intended_use, limits, not_known, not_measured
from nnunetv2_cdpd.card.scores import ensembles_with, scores_of_model
from nnunetv2_cdpd.card.shape import CARD_VERSION
from nnunetv2_cdpd.card.text import Plain
from nnunetv2_cdpd.card.weights import packages_of_model, terms_of_weights, weights_of_model
from nnunetv2_cdpd.card.words import plain_words
from nnunetv2_cdpd.conversion.source_terms import public_source, source_terms
from nnunetv2_cdpd.licenses import USES, Terms
from nnunetv2_cdpd.released.preset import PAPER_NETWORK_CLASS_NAME

ALLOWED = (*USES, "redistribution")
_PLAN_SETTINGS = ("patch_size", "spacing", "batch_size", "normalization_schemes", "batch_dice")


def make_card(model: ModelFolder, former: Mapping[str, Any] | None, words: Mapping[str, list[str]] | None) -> dict[str, Any]:
    """The card of a model folder.

    Args:
        former: An earlier card of it, for what the folder does not tell any more (which packages trained it), and for the user's
            words; None: there is none.
        words: The user's; None: those of the earlier card.

    Raises:
        UserError: A file of the folder is damaged.
    """
    plain, annotation = model.plain, model.annotation
    of_source = {source.name: source_terms(source.name, model.dataset_json.licenses_of(source)) for source in annotation.sources}
    sources = [_source(model, source, *of_source[source.name]) for source in annotation.sources]
    weights = weights_of_model(model, former["weights"] if former else ())
    terms = {f"source {plain.name(name)}": its for name, (its, _) in of_source.items()}
    terms |= {f"{entry['part']} {entry['name']}": terms_of_weights(entry) for entry in weights if entry["needs_license"]}
    card: dict[str, Any] = {
        "card_version": CARD_VERSION,
        "made_by": f"nnunetv2-cdpd {__version__}",
        "date": date.today().isoformat(),
        "model": _model(model),
        "words": plain_words(words if words is not None else former["words"] if former else {}),
        "classes": _classes(model),
        "sources": sources,
        "left_out": _left_out(model),
        "allows": {use: _all_allow(terms, use) for use in ALLOWED},
        "why_not": {use: _why_not(terms, use) for use in USES},
        "share_alike": sorted({name for its in terms.values() for name in its.share_alike}),
        "training": _training(model),
        "weights": weights,
        "made_with": packages_of_model(model, former["made_with"] if former else None),
        "scores": _named(scores_of_model(model)),
        "ensembles": ensembles_with(model),
    }
    card |= {"intended_use": intended_use(card), "limits": limits(card)}
    return card | {"not_measured": not_measured(card), "not_known": not_known(card)}


def _model(model: ModelFolder) -> dict[str, Any]:
    plain = model.plain
    dataset = plain.name(model.plans.get("dataset_name") or model.dataset_json.content.get("name") or "dataset")
    parts = [model.trainer, model.plans.get("plans_name"), model.configuration]
    network = model.architecture.get("network_class_name")
    cases = model.dataset_json.content.get("numTraining")
    return {
        "name": " ".join([dataset, *(plain.name(part) for part in parts if part)]),
        "dataset": dataset,
        "description": plain(model.dataset_json.content.get("description") or "") or None,
        **{key: plain.name(part) if part else None for key, part in zip(("trainer", "plans", "configuration"), parts)},
        "network": plain.name(network) if network else None,
        "channels": [plain.name(name) for name in model.dataset_json.channel_names],
        "imported": network == PAPER_NETWORK_CLASS_NAME and cases == 0,
        "folds": [
            {
                "name": fold.name,
                "checkpoint": fold.checkpoint,
                "sha256": fold.sha256,
                "epochs": epochs if type(epochs := fold.content.get("current_epoch")) is int and epochs >= 0 else None,
                "finished": fold.is_finished,
            }
            for fold in model.folds
        ],
    }


def _classes(model: ModelFolder) -> list[dict[str, Any]]:
    annotation, name_of = model.annotation, model.plain.name
    return [
        {
            "name": name_of(name),
            "value": value,
            "lies_in": [name_of(other) for other in annotation.lies_in(name)],
            "annotated_by": [name_of(s.name) for s in annotation.sources if name in annotation.annotated_with_merged(s)],
        }
        for name, value in zip(annotation.classes, annotation.values)
    ]


def _source(model: ModelFolder, source: Source, terms: Terms, note: str | None) -> dict[str, Any]:
    plain, annotation, public = model.plain, model.annotation, public_source(source.name)
    merged = {label.name: label.classes for label in annotation.merged_labels if label.name in source.merged_labels}
    reference = source.reference or (public.reference if public else None)
    return {
        "name": plain.name(source.name),
        "cases": _number_of_cases(model, source),
        "classes": [plain.name(name) for name in source.annotated_classes],
        "merged_labels": {plain.name(name): [plain.name(one) for one in group] for name, group in merged.items()},
        "license": None if terms.text is None else plain(terms.text),
        "license_names": list(terms.identifiers),
        "license_note": None if note is None else plain(note),
        "allows": {use: terms.allows(use) for use in ALLOWED},
        "reference": plain(reference) if reference else None,
        "link": plain(public.link) if public else None,
    }


def _number_of_cases(model: ModelFolder, source: Source) -> int | None:
    """None: not known, as of the released network."""
    annotation = model.annotation
    told = ((model.dataset_json.content.get("cdpd") or {}).get("sources") or {}).get(source.name, {}).get("cases")
    if type(told) is int and told > 0:  # of a model that was extended, whose own dataset.json did not list them
        return told
    if annotation.case_source:
        return Counter(annotation.case_source.values())[source.name]
    number = model.dataset_json.content.get("numTraining")
    return number if len(annotation.sources) == 1 and type(number) is int and number > 0 else None


def _left_out(model: ModelFolder) -> dict[str, Any] | None:
    block = model.dataset_json.content.get("cdpd") or {}
    listed, plain = block.get("left_out"), model.plain
    if not isinstance(block.get("license_use"), str) or not isinstance(listed, list):
        return None
    entries = [{key: each.get(key) for key in ("source", "license", "why")} for each in listed if isinstance(each, Mapping)]
    sources = [{key: None if text is None else plain(text) for key, text in entry.items()} for entry in entries]
    sources = [{**entry, "source": entry["source"] or "", "why": entry["why"] or ""} for entry in sources]
    return {"use": plain.name(block["license_use"]), "sources": sources}


def _training(model: ModelFolder) -> dict[str, Any]:
    """Settings of the plans and of the trainer, where all folds have the same; else the values of each fold."""
    configuration = model.plans["configurations"].get(model.configuration or "")
    configuration = configuration if isinstance(configuration, Mapping) else {}
    found = {key: _bounded(configuration[key]) for key in _PLAN_SETTINGS if key in configuration}
    names = dict.fromkeys(key for fold in model.trained for key in fold.settings)
    for name in names:
        values = [fold.settings.get(name) for fold in model.trained]
        found[name] = values[0] if all(value == values[0] for value in values) else values
    devices = dict.fromkeys(str(gpu) for fold in model.trained if (gpu := fold.debug.get("gpu_name") or fold.debug.get("device")))
    return found | ({"device": [Plain()(device, 60) for device in devices]} if devices else {})


def _bounded(value: Any) -> Any:
    """A setting of the plans: numbers, names, and short lists of them."""
    if isinstance(value, (list, tuple)):
        return [_bounded(entry) for entry in value[:10]]
    return value if value is None or isinstance(value, (bool, int, float)) else Plain()(value, 60)


def _named(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    """Scores with names that a card can hold."""
    if scores is None:
        return None
    plain = Plain()
    listed = {key: [{**entry, "name": plain.name(entry["name"])} for entry in scores[key]] for key in ("classes", "sources")}
    return scores | listed


def _all_allow(terms: Mapping[str, Terms], use: str) -> bool | None:
    answers = [its.allows(use) for its in terms.values()]
    return False if False in answers else None if None in answers else True


def _why_not(terms: Mapping[str, Terms], use: str) -> list[str]:
    return [f"{what}: {its.why_not(use)}" for what, its in terms.items() if its.allows(use) is not True]
