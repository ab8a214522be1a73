"""The same scan found again: real CTs and altered copies of them, every image compared with every other one.

Data: a folder of CTs of different patients (any format that SimpleITK reads), such as OpenKBP (github ababier/open-kbp, MIT).
Some of them are copied, altered, and compared with all originals and all other copies; only pairs of one patient should be
found.

    python benchmarks/duplicates.py FOLDER [FOLDER ...] [--altered 28] [--images 3000]

    python benchmarks/evidence write     # the table, from benchmarks/results/duplicates

finds out which pairs are found and missed, and prints the false alarms, the scores on both sides of the threshold, and timings.
With --images, the time to compare so many images, made by repeating those there are.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from nnunetv2_cdpd.same_scan.alignment import Body, agreement
from nnunetv2_cdpd.same_scan.descriptors import candidates
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint, fingerprint
from nnunetv2_cdpd.same_scan.pairs import MIN_SHARED, MIN_SIMILARITY, SAME_SCAN

AIR = -1024


def like(image: sitk.Image, array: np.ndarray) -> sitk.Image:
    copy = sitk.GetImageFromArray(array)
    copy.SetSpacing(image.GetSpacing())
    copy.SetDirection(image.GetDirection())
    return copy


def flipped(*axes: int) -> Callable:
    """Voxels mirrored along axes of the array, header left as it is, as a lost direction does."""
    return lambda image, _: like(image, np.flip(sitk.GetArrayFromImage(image), axes))


def slices(share: float) -> Callable:
    def cropped(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
        length = image.GetSize()[2]
        kept = max(1, round(share * length))
        start = int(rng.integers(0, length - kept + 1))
        return image[:, :, start : start + kept]

    return cropped


def resampled(in_plane: float, between: float) -> Callable:
    def on_other_grid(image: sitk.Image, _: np.random.Generator) -> sitk.Image:
        spacing = [mm * factor for mm, factor in zip(image.GetSpacing(), (in_plane, in_plane, between))]
        size = [max(1, int(n * mm / other)) for n, mm, other in zip(image.GetSize(), image.GetSpacing(), spacing)]
        return sitk.Resample(
            image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection(), AIR
        )

    return on_other_grid


def values(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable:
    return lambda image, rng: like(image, change(sitk.GetArrayFromImage(image).astype(np.float32), rng))


def together(*steps: Callable) -> Callable:
    def all_of_them(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
        for step in steps:
            image = step(image, rng)
        return image

    return all_of_them


def in_plane_crop(image: sitk.Image, _: np.random.Generator) -> sitk.Image:
    width, height, _ = image.GetSize()
    return image[round(0.1 * width) : round(0.95 * width), round(0.1 * height) : round(0.95 * height), :]


OFFSET = values(lambda array, _: (array + 1024).clip(0).astype(np.uint16))
ALTERATIONS: dict[str, Callable] = {
    "written as float": values(lambda array, _: array),
    "offset by 1024, unsigned": OFFSET,
    "half of the slices": slices(0.5),
    "30 % of the slices": slices(0.3),
    "mirrored left and right": flipped(2),
    "mirrored front and back, feet and head": flipped(0, 1),
    "resampled, 1.3 x 1.3 x 1.7": resampled(1.3, 1.7),
    "slices twice as thick": resampled(1, 2),
    "noise of 30 HU": values(lambda array, rng: array + rng.normal(0, 30, array.shape).astype(np.float32)),
    "cropped in the plane, 85 %": in_plane_crop,
    "all: resampled, half, mirrored, offset": together(resampled(1.2, 1.5), slices(0.5), flipped(0, 2), OFFSET),
    "clipped to -160 ... 240 HU": values(lambda array, _: array.clip(-160, 240)),
}


def altered_copies(paths: list[Path], folder: Path, rng: np.random.Generator) -> list[tuple[int, str, Fingerprint]]:
    """Index of the original, alteration, fingerprint."""
    copies = []
    for index, path in enumerate(paths):
        image = sitk.ReadImage(str(path))
        for name, alter in ALTERATIONS.items():
            sitk.WriteImage(alter(image, rng), str(folder / "copy.nrrd"))
            copies.append((index, name, fingerprint(folder / "copy.nrrd")))
    return copies


@threadpool_limits.wrap(limits=1)  # as in `find_pairs`
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--altered", type=int, default=28, help="originals of which altered copies are made")
    parser.add_argument("--images", type=int, help="time the comparison of so many images")
    args = parser.parse_args()
    paths = sorted(path for folder in args.folders for path in ([folder] if folder.is_file() else folder.glob("*.nii.gz")))
    start = time.perf_counter()
    originals = [fingerprint(path) for path in paths]
    seconds = (time.perf_counter() - start) / len(paths)
    voxels = np.mean([np.prod(entry.facts.size) for entry in originals])
    print(f"{len(paths)} patients; fingerprint {seconds:.3f} s each, of {voxels / 1e6:.2f} million voxels, reading included")

    with tempfile.TemporaryDirectory() as folder:
        chosen = paths[:: max(1, len(paths) // args.altered)]
        copies = altered_copies(chosen, Path(folder), np.random.default_rng(0))
    copies = [(paths.index(chosen[index]), name, entry) for index, name, entry in copies]
    patients = [*range(len(paths)), *(index for index, _, _ in copies)]
    names = ["", *(name for _, name, _ in copies)]
    names = [""] * len(paths) + names[1:]
    report(patients, names, [*originals, *(entry for _, _, entry in copies)], len(paths))
    if args.images:
        volumes = [entry.volume for entry in originals if entry.volume is not None]
        time_comparison([volumes[k % len(volumes)] for k in range(args.images)])


def report(patients: list[int], names: list[str], fingerprints: list[Fingerprint], num_originals: int) -> None:
    known = [index for index, entry in enumerate(fingerprints) if entry.volume is not None]
    bodies = {index: Body.of(fingerprints[index].volume) for index in known}
    scores, false = {}, []
    start, tried = time.perf_counter(), 0
    for candidate in candidates([fingerprints[index].volume for index in known], MIN_SIMILARITY):
        first, second = known[candidate.first], known[candidate.second]
        found = agreement(bodies[first], bodies[second], candidate)
        tried += 1
        score = found.score if found.shared >= MIN_SHARED else 0.0
        if patients[first] != patients[second]:
            false.append((score, names[first], names[second]))
        elif first < num_originals:
            scores[second] = score
    seconds = time.perf_counter() - start
    print(f"{len(known)} images compared in {seconds:.0f} s, {tried} pairs of them in 3D\n")
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: a test imports this module

    columns = [
        ("altered copy", ""),
        ("copies", "d"),
        ("found", "d"),
        ("too small", "d"),
        ("lowest score", ".2f"),
        ("median", ".2f"),
    ]
    figures = Figures(__file__, f"{num_originals}_patients", columns, patients=num_originals, threshold=SAME_SCAN)
    for name in ALTERATIONS:
        indices = [index for index, other in enumerate(names) if other == name]
        small = sum(fingerprints[index].volume is None for index in indices)
        its = [scores.get(index, 0.0) for index in indices if fingerprints[index].volume is not None]
        found = sum(score >= SAME_SCAN for score in its)
        figures.add(name, len(indices), found, small, min(its, default=None), float(np.median(its)) if its else None)
    figures.write()
    pairs = sum(patients[a] != patients[b] for a, b in combinations(range(len(patients)), 2))
    false.sort(reverse=True)
    alarms = sum(score >= SAME_SCAN for score, _, _ in false)
    highest = max((score for score, _, _ in false), default=0.0)
    among = [score for score, a, b in false if not a and not b]
    print(f"\nthreshold {SAME_SCAN}: {alarms} false alarms in {pairs} pairs of different patients, highest score {highest:.2f}")
    others = num_originals * (num_originals - 1) // 2
    print(f"among the {others} pairs of originals: {sum(s >= SAME_SCAN for s in among)}, highest {max(among, default=0.0):.2f}")


def time_comparison(volumes: list[np.ndarray]) -> None:
    """Of the search over all pairs; each image is there several times, so pairs are counted, not laid on each other."""
    start = time.perf_counter()
    found = sum(1 for _ in candidates(volumes, 2.0))  # above any similarity
    print(f"{len(volumes)} images searched for pairs in {time.perf_counter() - start:.0f} s ({found} found, none wanted)")


if __name__ == "__main__":
    main()
