"""The license of a source: what its dataset.json states, read by the table of licenses and the facts of public datasets."""

from collections.abc import Sequence
from functools import cache

from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.registry import public_datasets
from nnunetv2_cdpd.errors import shortened
from nnunetv2_cdpd.licenses import LONGEST, Terms, bound_by, read_terms

_MERGED = "_merged_"  # joins the name of a source to the labels that are merged in it (see dataset_facts)


def public_source(name: str) -> SourceDataset | None:
    """The public dataset that a source is of, by its name."""
    return _by_source().get(name_key(name.partition(_MERGED)[0]))


def stated_terms(text: str | None) -> Terms:
    """What a stated license means; the words in which a public dataset's is told are known too."""
    return _by_words().get(text or "") or read_terms(text)


def source_terms(name: str, texts: Sequence[str]) -> tuple[Terms, str | None]:
    """The terms of a source, and what a person should look at, None if nothing.

    Where its statements differ, or are not those of the public dataset of this name, all bind until the user says which holds.

    Args:
        texts: What dataset.json states; none: it states nothing.
    """
    public = public_source(name)
    if not texts:
        if public is None:
            return Terms(None), None
        return Terms(None), f"its dataset.json states no license; that of the public dataset {public.name} is {public.license!r}"
    said = {f"its dataset.json states the license {shortened(text, LONGEST)}": stated_terms(text) for text in texts}
    if public is not None:
        said[f"the public dataset {public.name} has {public.license!r}"] = public.terms
    if len({terms.identifiers for terms in said.values()}) == 1:
        return stated_terms(texts[0]), None
    return bound_by(said.values(), texts[0]), ", ".join(said)


@cache
def _by_source() -> dict[str, SourceDataset]:
    found = {name_key(source): dataset for dataset in public_datasets().values() for source in dataset.annotated_by_source}
    return found | {name_key(name): dataset for name, dataset in public_datasets().items()}


@cache
def _by_words() -> dict[str, Terms]:
    return {dataset.license: dataset.terms for dataset in public_datasets().values()}
