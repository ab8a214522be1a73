"""Pairs: two images that show the same scan, and the groups that such pairs form."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from threadpoolctl import threadpool_limits

from nnunetv2_cdpd.same_scan.alignment import Body, Pair, agreement
from nnunetv2_cdpd.same_scan.descriptors import candidates
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint

# Chosen by benchmarks/duplicates.py between the scores of altered copies and those of other patients (docs/audit.md).
SAME_SCAN = 0.68  # score from which two images show the same scan
MIN_SIMILARITY = 0.7  # of the small pictures, from which two images are laid on each other in 3D
MIN_SHARED = 0.25  # of the smaller body
BODIES_IN_MEMORY = 512


@threadpool_limits.wrap(limits=1)  # for small products, threads wait for each other longer than they compute
def find_pairs(fingerprints: Sequence[Fingerprint | None], *, min_score: float = SAME_SCAN, progress: bool = False) -> list[Pair]:
    """All pairs of images that show the same scan, the surest first; those without a fingerprint or volume are left out."""
    volume_of = {k: entry.volume for k, entry in enumerate(fingerprints) if entry is not None and entry.volume is not None}
    indices, volumes = list(volume_of), list(volume_of.values())
    if len(volumes) < 2:
        return []

    @lru_cache(maxsize=BODIES_IN_MEMORY)
    def body(index: int) -> Body:
        return Body.of(volumes[index])

    pairs = []
    for candidate in candidates(volumes, MIN_SIMILARITY, progress=progress):
        found = agreement(body(candidate.first), body(candidate.second), candidate)
        if found.score >= min_score and found.shared >= MIN_SHARED:
            pairs.append(replace(found, first=indices[found.first], second=indices[found.second]))
    return sorted(pairs, key=lambda pair: (-pair.score, pair.first, pair.second))


def groups(num_images: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """Images that show the same scan, directly or over others; only groups of at least two, in the order of the images."""
    from scipy.cluster.hierarchy import DisjointSet  # imported here, like others that take long and not every command needs

    same = DisjointSet(range(num_images))
    for pair in pairs:
        same.merge(pair.first, pair.second)
    return [sorted(images) for images in same.subsets() if len(images) > 1]
