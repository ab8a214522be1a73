"""The license of a source: what its dataset.json states, read by the table of licenses and the facts of public datasets."""

from functools import cache

from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.registry import public_datasets
from nnunetv2_cdpd.licenses import Terms, bound_by, read_terms

_MERGED = "_merged_"  # joins the name of a source to the labels that are merged in it (see dataset_facts)


def public_source(name: str) -> SourceDataset | None:
    """The public dataset that a source is of, by its name."""
    return _by_source().get(name_key(name.partition(_MERGED)[0]))


def stated_terms(text: str | None) -> Terms:
    """What a stated license means; the words in which a public dataset's is told are known too."""
    return _by_words().get(text or "") or read_terms(text)


def source_terms(name: str, text: str | None) -> tuple[Terms, str | None]:
    """The terms of a source, and what a person should look at, None if nothing.

    Where the statement is another than that of the public dataset of this name, both bind until the user says which holds.

    Args:
        text: As dataset.json states it; None: it does not.
    """
    stated, public = stated_terms(text), public_source(name)
    if public is None or (text is not None and stated == public.terms):
        return stated, None
    if text is None:
        return stated, f"its dataset.json states no license; that of the public dataset {public.name} is {public.license!r}"
    same = stated.identifiers == public.terms.identifiers and stated.identifiers
    told = f"its dataset.json states the license {text!r}, the public dataset {public.name} has {public.license!r}"
    return (stated, None) if same else (bound_by((stated, public.terms), text), told)


@cache
def _by_source() -> dict[str, SourceDataset]:
    found = {name_key(source): dataset for dataset in public_datasets().values() for source in dataset.annotated_by_source}
    return found | {name_key(name): dataset for name, dataset in public_datasets().items()}


@cache
def _by_words() -> dict[str, Terms]:
    return {dataset.license: dataset.terms for dataset in public_datasets().values()}
