"""List of components of a model, as CycloneDX tells it: the model, its sources, the encoders' weights, the packages.

Made from a card's JSON alone, by cyclonedx-python-lib (extra `card`); the same card gives the same list.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import digest
from nnunetv2_cdpd.licenses import read_terms

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

NO_LIBRARY = "the list of components needs cyclonedx-python-lib; run: pip install 'nnunetv2-cdpd[card]'"
_NAMESPACE = uuid.UUID("5f4b8ad4-2b5e-4f0e-9a55-0c6c1f7a3d10")  # of our serial numbers


def components_json(card: Mapping[str, Any]) -> str:
    """The list of components of a card, CycloneDX 1.6 as JSON.

    Raises:
        UserError: The library is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
    except ImportError as error:
        raise UserError(NO_LIBRARY) from error
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, digest(card)))
    bom.metadata.timestamp = _midnight(card["date"])
    bom.metadata.component = model = _model(card)
    sources = [_source(source, number) for number, source in enumerate(card["sources"], start=1)]
    parts = [*sources, *map(_weights, card["weights"]), *map(_package, card["made_with"]["packages"])]
    bom.components.update(parts)
    bom.register_dependency(model, parts)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _model(card: Mapping[str, Any]) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    model = card["model"]
    files = [
        Component(
            name=f"fold_{fold['name']}/{fold['checkpoint']}",
            type=ComponentType.FILE,
            bom_ref=f"fold:{fold['name']}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=fold["sha256"])],
        )
        for fold in model["folds"]
        if fold["sha256"] is not None
    ]
    facts = {"trainer": model["trainer"], "plans": model["plans"], "configuration": model["configuration"]}
    return Component(
        name=model["name"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        description=" ".join(card["words"].get("description", [])) or model["description"],
        licenses=_licenses(next(iter(card["words"].get("license", [])), None)),
        components=files,
        properties=[Property(name=f"nnunet:{name}", value=value) for name, value in facts.items() if value is not None],
    )


def _source(source: Mapping[str, Any], number: int) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    facts = {
        "cases": None if source["cases"] is None else str(source["cases"]),
        "annotates": ", ".join([*source["classes"], *source["merged_labels"]]),
        "link": source["link"],
        "commercial_use": _said(source["allows"]["commercial"]),
        "research_use": _said(source["allows"]["research"]),
    }
    return Component(
        name=source["name"],
        type=ComponentType.DATA,
        bom_ref=f"source:{number}",
        description=source["reference"],
        licenses=_licenses(source["license"]),
        properties=[Property(name=f"cdpd:{name}", value=value) for name, value in facts.items() if value],
    )


def _weights(entry: Mapping[str, Any]) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=entry["name"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"weights:{entry['part']}",
        description=f"{entry['part']}: {entry['origin']}",
        licenses=_licenses(entry["license"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=text) for text in entry["sha256"][:1] if len(text) == 64],
        properties=[Property(name="cdpd:note", value=entry["note"])] if entry["note"] else [],
    )


def _package(package: Mapping[str, Any]) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, version = package["name"], package["version"]
    return Component(
        name=name,
        type=ComponentType.LIBRARY,
        bom_ref=f"package:{name}",
        version=version,
        purl=PackageURL("pypi", name=name, version=version.partition("+")[0]),
        licenses=_licenses(package["license"]),
    )


def _licenses(text: str | None) -> "Iterable[License]":
    """SPDX's identifier or expression where a text is one, else the text as a license's name; none where nothing is known."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from cyclonedx.spdx import fixup_id, is_expression

    if not text:
        return []
    if (identifier := fixup_id(read_terms(text).spdx or text)) is not None:
        return [DisjunctiveLicense(id=identifier)]
    return [LicenseExpression(text)] if " " in text and is_expression(text) else [DisjunctiveLicense(name=text)]


def _said(answer: bool | None) -> str:
    return "not known" if answer is None else "yes" if answer else "no"


def _midnight(day: str) -> datetime:
    try:
        return datetime.fromisoformat(day[:10]).replace(tzinfo=timezone.utc)
    except ValueError:  # of a card that somebody else made
        return datetime.fromtimestamp(0, timezone.utc)
