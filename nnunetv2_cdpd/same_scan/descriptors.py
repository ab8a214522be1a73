"""Descriptors: a fingerprint as a row of small axial pictures, compared with those of thousands of images at once.

Each axial slice becomes a small picture of the body around its own centre, less what everybody has in common. How well two
images agree, when one lies somewhere along the other, is a sliding sum over products of such pictures: Fourier transforms
give it for all places at once, so that one matrix product per frequency compares everything with everything. A mirrored
copy is found by mirroring the small pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from nnunetv2_cdpd.same_scan.fingerprint import BODY, UNITS, overlaps

TISSUE = (0.8, 1.3)  # about -200 and 300 HU: fat, organs, bone; the skin is in everybody
BAND = (0.7, 2.5)  # steps: finer is noise and grid, coarser is in everybody
CELL = 3  # steps; side of a pixel of the small pictures
CELLS = 12  # pixels along each side of the small pictures: 216 mm of the body
MIN_SLICES = 5  # steps that two images have to share
MIN_SHARE = 0.5  # of the shorter one
BLOCK, CHUNK = 16, 256  # so many images are compared with so many at a time: what is computed then fits into the cache


@dataclass(frozen=True)
class Candidate:
    """A pair that may show the same scan.

    similarity: Mean cosine of the small pictures that lie on each other, 1 at best.
    flips: Of the first image along z, y, x: 1 or -1.
    offset: Slice of the second image on which the first slice of the flipped first one lies; may be negative.
    """

    first: int
    second: int
    similarity: float
    flips: tuple[int, int, int]
    offset: int


def anatomy(volume: np.ndarray, band: tuple[float, float] = BAND) -> np.ndarray:
    """float32 of the same shape: what tells one body from another, 0 outside of it.

    Args:
        volume: Of a fingerprint.
        band: Widths of two Gaussians in steps; what is finer than the first or coarser than the second is taken out.
    """
    body = (volume > BODY).astype(np.float32)
    tissue = (volume.astype(np.float32) / UNITS).clip(*TISSUE) * body
    # averages over the body alone: its outline is alike in everybody and would outweigh the rest
    fine, coarse = (gaussian_filter(tissue, width) / np.maximum(gaussian_filter(body, width), 1e-3) for width in band)
    return (fine - coarse) * body


def slice_pictures(volume: np.ndarray) -> np.ndarray:
    """float32 (Z, CELLS, CELLS): each axial slice of a fingerprint's volume as a small picture around the body's centre."""
    shown, body = anatomy(volume), volume > BODY
    areas = np.maximum(body.sum((1, 2)), 1)
    along_y, along_x = (
        _cells(body.sum(other) @ (np.arange(length) + 0.5) / areas, length)
        for other, length in ((2, volume.shape[1]), (1, volume.shape[2]))
    )
    pictures = along_y @ shown @ along_x.transpose(0, 2, 1)
    return pictures - pictures.mean((1, 2), keepdims=True)


def candidates(volumes: Sequence[np.ndarray], min_similarity: float, *, progress: bool = False) -> Iterator[Candidate]:
    """Pairs of images that may show the same scan, each pair once, with the best of all flips and offsets.

    Args:
        volumes: Of fingerprints.
    """
    pictures = [slice_pictures(volume) for volume in volumes]
    common = np.concatenate(pictures).mean(0)
    common = (common + common[:, ::-1]) / 2  # left and right are alike in everybody
    lengths = np.array([len(rows) for rows in pictures])
    size = fft.next_fast_len(2 * int(lengths.max()), real=True)
    everyone = _spectra([_less_common(rows, common) for rows in pictures], size)
    for start in tqdm(range(0, len(pictures), BLOCK), "Comparing", disable=not progress):
        block = np.arange(start, min(start + BLOCK, len(pictures)))
        flipped = {
            flips: _spectra([_less_common(pictures[i][:: flips[0], :: flips[1]], common) for i in block], size).conj()
            for flips in product((1, -1), repeat=2)
        }
        for chunk in np.array_split(np.arange(start, len(pictures)), range(CHUNK, len(pictures) - start, CHUNK)):
            weights = _weights(lengths[block], lengths[chunk], size)
            best = np.zeros((len(block), len(chunk)), np.float32)
            for spectra in flipped.values():
                for similarity in _similarities(spectra, everyone[:, :, chunk], weights, size):
                    np.maximum(best, similarity.max(0), out=best)
            for row, column in np.argwhere((best >= min_similarity) & (block[:, None] < chunk)):
                yield _candidate(int(block[row]), int(chunk[column]), flipped, everyone, lengths, size, row)


def _candidate(
    first: int, second: int, flipped: dict, everyone: np.ndarray, lengths: np.ndarray, size: int, row: int
) -> Candidate:
    """The best flips and offset of one pair, computed again: they are wanted of few."""
    weights = _weights(lengths[[first]], lengths[[second]], size)
    found = []
    for (flip_z, flip_y), spectra in flipped.items():
        similarities = _similarities(spectra[:, :, [row]], everyone[:, :, [second]], weights, size)
        for flip_x, similarity in zip((1, -1), similarities):
            place = int(similarity.argmax())
            offset = place - size if place > size // 2 else place
            found.append(Candidate(first, second, float(similarity.flat[place]), (flip_z, flip_y, flip_x), offset))
    return max(found, key=lambda candidate: candidate.similarity)


def _similarities(flipped: np.ndarray, others: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine (size, images, others) at each offset, as it is and with x mirrored, which changes the odd part's sign."""
    products = flipped @ others.transpose(0, 1, 3, 2)  # (part, frequency, images, others): sums over the pixels
    even, odd = fft.irfft(products, size, axis=1)
    return (even + odd) * weights, (even - odd) * weights


def _less_common(pictures: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Even and odd part in x of the pictures without what is common, each slice of length 1: (Z, 2, P)."""
    own = pictures - common
    half = CELLS // 2
    parts = np.stack([(own + sign * own[:, :, ::-1])[:, :, :half].reshape(len(own), -1) for sign in (1, -1)], 1)
    length = np.sqrt((parts**2).sum((1, 2), keepdims=True))
    return parts / np.maximum(length, 1e-6)


def _spectra(rows: Sequence[np.ndarray], size: int) -> np.ndarray:
    """complex64 (part, frequency, image, pixel) of (Z, part, pixel) each."""
    padded = np.zeros((len(rows), size, *rows[0].shape[1:]), np.float32)
    for image, row in enumerate(rows):
        padded[image, : len(row)] = row
    return np.ascontiguousarray(fft.rfft(padded, axis=1).transpose(2, 1, 0, 3))


def _weights(lengths: np.ndarray, others: np.ndarray, size: int) -> np.ndarray:
    """float32 (size, images, others): one over the number of shared slices at each offset; 0 where these are too few."""
    offsets = ((np.arange(size) + size // 2) % size - size // 2)[:, None, None]  # of the first image's slice 0 along the other
    first, second = lengths[:, None], others[None]
    shared = np.minimum(offsets + first, second) - np.maximum(offsets, 0)
    enough = shared >= np.maximum(MIN_SLICES, MIN_SHARE * np.minimum(first, second))
    return (enough / np.maximum(shared, 1)).astype(np.float32)


def _cells(centres: np.ndarray, length: int) -> np.ndarray:
    """float32 (Z, CELLS, length): the share of each voxel of a line in each pixel of the pictures around these centres."""
    edges = centres[:, None] + CELL * (np.arange(CELLS + 1) - CELLS / 2)
    return (overlaps(edges, np.arange(length + 1)) / CELL).astype(np.float32)
