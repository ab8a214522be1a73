"""Outlier: a structure whose volume, place or shape is unlike that of the annotated cases is uncertain.

Source: COSST, arXiv 2304.14030, which finds pseudo labels that are outliers among real ones in features of volume and shape. Here
features are few and told: a robust standard score each (median and median absolute deviation), so that no single annotated case
widens a range. Nothing is said from fewer than five cases.
"""

from collections.abc import Mapping

from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.references import Facts3D, References
from nnunetv2_cdpd.completion.settings import CompletionSettings


def outlier_finding(
    name: str, facts: Facts3D | None, others: Mapping[str, Facts3D], references: References, settings: CompletionSettings
) -> FilterFinding:
    """What the annotated cases say of a structure.

    Args:
        facts: Of the structure; None: it is nowhere, of which nothing is said.
        others: Of the other classes of the image.
    """
    if facts is None:
        return FilterFinding(False)
    scores = references.scores(name, facts, others)
    return FilterFinding(any(score > settings.most_outlying for score in scores.values()), measured=scores)
