"""Licensing: which sources of a merge are kept for a use, by what their licenses allow, and what is left out and why.

A license that is not known allows nothing. What the YAML says of a source's license holds; where dataset.json states another than
the public dataset of that name has, both bind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.conversion.source_terms import public_source, source_terms, stated_terms
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, listed, shortened
from nnunetv2_cdpd.jobs.yaml_files import yaml_line
from nnunetv2_cdpd.licenses import LONGEST, OWN, USES, Terms
from nnunetv2_cdpd.merge.naming import resolve_names
from nnunetv2_cdpd.merge.plan import MergePlan, plan_merge
from nnunetv2_cdpd.merge.scoped import with_scopes
from nnunetv2_cdpd.merge.sources import said_of_source, source_name, specs_of
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec


@dataclass(frozen=True)
class LeftOut:
    """A source that a merge leaves out.

    license: As it was stated; None: it was not.
    """

    source: str
    license: str | None
    why: str

    def __str__(self) -> str:
        stated = self.license
        if stated is not None and (len(stated) > LONGEST or not stated.isprintable()):
            stated = shortened(stated)
        return f"{self.source}{'' if stated is None else f' ({stated})'}: {self.why}"


@dataclass(frozen=True)
class LicensedInputs:
    """What is left of the inputs of a merge.

    notes: On licenses, for a person to look at.
    """

    inputs: list[RawDataset]
    spec: MergeSpec
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def allowed_inputs(inputs: Sequence[RawDataset], spec: MergeSpec, use: str | None) -> LicensedInputs:
    """The datasets without the sources whose licenses do not allow a use, and the YAML without what speaks of these only.

    Args:
        use: One of USES; None: any, nothing is left out.

    Raises:
        UserError: No such use; nothing is left; or the YAML does not fit the datasets.
    """
    if use is not None and use not in USES:
        raise UserError(f"argument license {use}: choose from {', '.join(USES)}")
    said = specs_of(inputs, spec)
    left_out: list[LeftOut] = []
    notes: list[str] = []
    kept: list[tuple[RawDataset, DatasetSpec]] = []
    for dataset, entry in zip(inputs, said):
        gone = []
        for source in dataset.annotation.sources:
            terms, note = _terms(dataset, entry, source)
            name = source_name(dataset, entry, source)
            if note is not None and (terms.text is not None or use is not None):
                notes.append(f"source {name!r}: {note}")
            if use is not None and terms.allows(use) is not True:
                gone.append(source)
                hint = f"; {_license_line(dataset, source)} in the YAML states it" if not terms.alternatives else ""
                left_out.append(LeftOut(name, terms.text, terms.why_not(use) + hint))
        if not gone:
            kept.append((dataset, entry))
        elif len(gone) < len(dataset.annotation.sources):
            kept.append(_without(dataset, entry, gone))
    if not left_out:
        return LicensedInputs(list(inputs), spec, (), tuple(notes))
    if not kept:
        raise UserError(f"argument license {use}: no source is left: {listed(list(map(str, left_out)))}")
    remaining = [dataset for dataset, _ in kept]
    names = {source_name(dataset, entry, source) for dataset, entry in kept for source in dataset.annotation.sources}
    pruned = _pruned(plan_merge(inputs, spec), kept, names)
    return LicensedInputs(remaining, pruned, tuple(left_out), tuple(notes))


def license_entry(use: str | None, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """What dataset.json keeps of it, in its `cdpd` block."""
    return {} if use is None else {"license_use": use, "left_out": [asdict(each) for each in left_out]}


def left_out_lines(block: Mapping[str, Any]) -> list[str]:
    """The sources that were left out, for the end of a merge, from the `cdpd` block that `license_entry` is in."""
    lines = [f"  {LeftOut(**each)}" for each in block.get("left_out", ())]
    return [f"left out, as only sources for {block['license_use']} use were asked for:", *lines] if lines else []


def _terms(dataset: RawDataset, entry: DatasetSpec, source: Source) -> tuple[Terms, str | None]:
    texts, named = dataset.dataset_json.licenses_of(source), dataset.source_name(source)
    said = said_of_source(dataset, entry, source).license
    if said is None:
        terms, note = source_terms(named, texts)
        return terms, note and f"{note}; {_license_line(dataset, source)} in the YAML decides"
    terms, public = stated_terms(said), public_source(named)
    others = [("its dataset.json", text) for text in texts]
    others += [(f"the public dataset {public.name}", public.license)] if public is not None else []
    differing = [(who, text) for who, text in others if text != said and stated_terms(text).identifiers != terms.identifiers]
    told = " and ".join(f"{who} {shortened(text, LONGEST)}" for who, text in differing)
    return terms, f"the YAML states the license {shortened(said, LONGEST)}, {told}; the YAML's holds" if told else None


def _license_line(dataset: RawDataset, source: Source) -> str:
    said: dict[str, Any] = {"license": OWN}
    said = said if len(dataset.annotation.sources) == 1 else {"sources": {source.name: said}}
    return f"`{yaml_line({'datasets': {dataset.name: said}})}` (or a name of docs/card.md)"


def _without(dataset: RawDataset, entry: DatasetSpec, gone: Sequence[Source]) -> tuple[RawDataset, DatasetSpec]:
    """A dataset without some of its sources and their cases; what only they annotate is dropped from its labels."""
    annotation, names = dataset.annotation, {source.name for source in gone}
    case_source = {case: source for case, source in (annotation.case_source or {}).items() if source not in names}
    kept = [source for source in annotation.sources if source.name not in names]
    content = dict(dataset.dataset_json.content)
    block = dict(content["cdpd"])
    block["sources"] = {name: its for name, its in block["sources"].items() if name not in names}
    block["case_source"] = case_source
    dataset_json = replace(dataset.dataset_json, content={**content, "cdpd": block})
    cases = tuple(case for case in dataset.cases if (annotation.case_source or {}).get(case.identifier) not in names)
    dropped = dict.fromkeys(_annotated(annotation, gone) - _annotated(annotation, kept))
    labels = {name: target for name, target in entry.labels.items() if name not in dropped} | dropped
    sources = {name: its for name, its in entry.sources.items() if name not in names}
    return replace(dataset, dataset_json=dataset_json, cases=cases), replace(entry, labels=labels, sources=sources)


def _annotated(annotation: Annotation, sources: Sequence[Source]) -> set[str]:
    """Labels that sources use: their classes, merged labels and the classes of these."""
    return {name for source in sources for name in (*annotation.annotated_with_merged(source), *source.merged_labels)}


def _pruned(full: MergePlan, kept: Sequence[tuple[RawDataset, DatasetSpec]], sources: set[str]) -> MergeSpec:
    """The YAML for what is left: without the sources, and without lines on classes, that are there no more."""
    spec = full.spec
    datasets = {str(dataset.folder): entry for dataset, entry in kept}
    scoped = {name: tuple(scope for scope in scopes if scope in sources) for name, scopes in spec.scoped.items()}
    fewer = replace(spec, datasets=datasets, scoped={name: scopes for name, scopes in scoped.items() if scopes})
    inputs, entries = [dataset for dataset, _ in kept], [entry for _, entry in kept]
    bare = replace(fewer, nested={}, merged_labels={}, compatible=())
    naming = resolve_names(inputs, with_scopes(inputs, entries, bare), bare, full.spelling)
    gone = {*full.naming.classes, *full.naming.merged_labels} - {*naming.classes, *naming.merged_labels}

    def stays(*names: str) -> bool:
        return gone.isdisjoint(full.spelling.all(names))

    return replace(
        fewer,
        nested={name: parents for name, parents in spec.nested.items() if stays(name, *parents)},
        merged_labels={name: group for name, group in spec.merged_labels.items() if stays(*group)},
        compatible=tuple(pair for pair in spec.compatible if stays(*pair)),
        prompts={name: words for name, words in spec.prompts.items() if stays(name)},
    )
