"""Weights and packages that a model was made with, and the licenses of the encoders' weights as their makers released them."""

from collections.abc import Iterable, Mapping
from typing import Any

from nnunetv2_cdpd.card.folder import ModelFolder
from nnunetv2_cdpd.card.text import Plain
from nnunetv2_cdpd.licenses import Terms, read_terms
from nnunetv2_cdpd.pretrained.choices import LEARNED
from nnunetv2_cdpd.pretrained.encoders import ENCODERS
from nnunetv2_cdpd.training.provenance import AT_RANDOM, BROUGHT, FROM_FILE, LEARNED_HERE, PRETRAINED, TEXT_PART, VISION_PART

UNKNOWN_ORIGIN = "not known"
_ORIGINS = {
    PRETRAINED: "pretrained, as its makers released it",
    FROM_FILE: "a file that the user gave",
    AT_RANDOM: "random, by choice; not pretrained",
    LEARNED_HERE: "learned with the network, from no text",
    BROUGHT: "came with the weights that the training began with",
}
_MOST_PACKAGES = 1000
_MOST_LETTERS = 600  # of how weights were made
_TEXT_RELEASES = {"openai": "MIT"}  # open_clip's tag -> license of the release (github.com/openai/CLIP)


def weights_of_model(model: ModelFolder, former: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The frozen encoders of a network, JSON-able; none for a network without.

    Args:
        former: The same of an earlier card, for what the folder does not tell any more.
    """
    kwargs = _mapping(model.architecture.get("arch_kwargs"))
    before = {entry["part"]: entry for entry in former}
    recorded: dict[str, dict[str, Mapping[str, Any]]] = {}
    for fold in model.trained:
        for entry in fold.provenance.get("weights", ()):
            recorded.setdefault(entry["part"], {})[fold.name] = entry
    vision = _mapping(kwargs.get("vision"))
    names = {
        VISION_PART: vision.get("encoder", vision.get("model_name")),
        TEXT_PART: _mapping(kwargs.get("text")).get("encoder"),
    }
    return [
        _weights(part, model.plain.name(name), list(recorded.get(part, {}).values()), before.get(part))
        for part, name in names.items()
        if isinstance(name, str)
    ]


def packages_of_model(model: ModelFolder, former: Mapping[str, Any] | None) -> dict[str, Any]:
    """Python and the packages that trained a model: those of its last fold, and where its others or earlier sessions had others.

    Args:
        former: The same of an earlier card, for what the folder does not tell any more.
    """
    told = [fold.provenance for fold in model.trained if fold.provenance.get("packages")]
    if told:
        last = _packages(told[-1]["packages"])
        of_others = [told[k]["packages"] for k in range(len(told) - 1)]
        earlier = [its for one in told for its in one.get("earlier_packages", ())]
        others = [package for its in (*of_others, *earlier) for package in _packages(its) if package not in last]
        other = list({(package["name"], package["version"]): package for package in others}.values())
        return {"python": Plain()(told[-1].get("python", ""), 20) or None, "packages": last, "other_versions": other}
    if former is not None and former["packages"]:
        listed = {
            key: [_package(entry["name"], entry["version"], entry["license"]) for entry in former[key]]
            for key in ("packages", "other_versions")
        }
        return {"python": former["python"] and Plain()(former["python"], 20), **listed}
    torch = [version for fold in model.trained if isinstance(version := fold.debug.get("torch_version"), str)]
    known = [{"name": "torch", "version": Plain()(torch[-1], 40), "license": None}] if torch else []
    return {"python": None, "packages": known, "other_versions": []}


def terms_of_weights(entry: Mapping[str, Any]) -> Terms:
    """What the license of an encoder's weights allows; random or learned ones are nobody's."""
    return read_terms(entry["license"])


def _weights(part: str, name: str, recorded: list[Mapping[str, Any]], before: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = list(dict.fromkeys(kind for entry in recorded if (kind := entry["kind"]) in _ORIGINS))
    if not kinds and before is not None and before["name"] == name:
        return {key: Plain()(its, _MOST_LETTERS) if isinstance(its, str) else its for key, its in before.items()}
    if not kinds and name == LEARNED:
        kinds = [LEARNED_HERE]
    checksums = list(dict.fromkeys(its[:64] for entry in recorded if (its := entry["sha256"])))
    made = list(dict.fromkeys(Plain()(its, _MOST_LETTERS) for entry in recorded if (its := entry.get("pretraining"))))
    nobodys = bool(kinds) and set(kinds) <= {AT_RANDOM, LEARNED_HERE}
    released = None if nobodys else _released_license(part, name)
    is_known = bool(kinds) and set(kinds) <= {PRETRAINED, AT_RANDOM, LEARNED_HERE}
    note = None if nobodys or is_known else f"a release of this name has {released or 'no license that is known here'}"
    return {
        "part": part,
        "name": name,
        "origin": "; ".join([*(_ORIGINS[kind] for kind in kinds), *made]) or UNKNOWN_ORIGIN,
        "needs_license": not nobodys,
        "sha256": [text for text in checksums if text.isalnum()],
        "license": released if is_known else None,
        "note": note,
    }


def _released_license(part: str, name: str) -> str | None:
    """The license of the weights that are released under a name; None: it is not known here."""
    if part == VISION_PART and name in ENCODERS:
        return ENCODERS[name].license
    if part == TEXT_PART:
        return _TEXT_RELEASES.get(name.rpartition("/")[2])
    import timm

    try:
        said = getattr(timm.get_pretrained_cfg(name), "license", None)
    except RuntimeError:  # a name with a tag that timm has not
        return None
    terms = read_terms(said)
    return terms.spdx or said


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _packages(listed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """name -> [version, license], as a provenance has them."""
    return [_package(name, version, license) for name, (version, license) in list(listed.items())[:_MOST_PACKAGES]]


def _package(name: Any, version: Any, license: Any) -> dict[str, Any]:
    plain = Plain()
    said = plain(license, 100) if isinstance(license, str) else None
    return {"name": plain(name, 60), "version": plain(version, 40), "license": said}
