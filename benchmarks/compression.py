"""Writing .nii.gz: time and size of SimpleITK, which our converters use, against gzip and isal on the same bytes.

    python benchmarks/compression.py [IMAGE.nii.gz LABELS.nii.gz]
    python benchmarks/evidence write     # the table, from benchmarks/results/compression

Without files: a made-up CT of 200 x 512 x 512 voxels (noise of 25 HU in a body, air outside) and a label map of 104 ellipsoids.
"""

import argparse
import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from isal import igzip

sys.path.append(str(Path(__file__).parent / "evidence"))
from figures import Figures

SHAPE = (200, 512, 512)


def made_up() -> dict[str, sitk.Image]:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = (y / 0.65) ** 2 + (x / 0.9) ** 2 < 1
    image = np.where(body, 40 + 25 * rng.standard_normal(SHAPE, np.float32), -1000).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    for value in range(1, 105):
        centre, radius = rng.uniform(-0.6, 0.6, 3), rng.uniform(0.05, 0.25, 3)
        labels[sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius)) < 1] = value
    return {
        f"made-up CT, {' x '.join(map(str, SHAPE))}": sitk.GetImageFromArray(image),
        "made-up labels, 104 ellipsoids": sitk.GetImageFromArray(labels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="volumes (default: made-up ones)")
    files = parser.parse_args().files
    volumes = {file.name: sitk.ReadImage(str(file)) for file in files} or made_up()
    columns = [("volume", ""), ("writer", ""), ("CPU s", ".2f"), ("MB", ".1f"), ("of SimpleITK's", ".2f")]
    figures = Figures(__file__, "_".join(file.name.split(".")[0] for file in files) or "made_up", columns)
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.nii", Path(folder) / "packed.nii.gz"
        for name, volume in volumes.items():
            sitk.WriteImage(volume, str(plain))
            content = plain.read_bytes()
            writers: dict[str, Callable[[], object]] = {
                "SimpleITK": lambda volume=volume: sitk.WriteImage(volume, str(packed), useCompression=True),
                "gzip, level 1": lambda content=content: packed.write_bytes(gzip.compress(content, 1)),
                "gzip, level 6": lambda content=content: packed.write_bytes(gzip.compress(content, 6)),
                **{
                    f"isal, level {level}": lambda content=content, level=level: packed.write_bytes(
                        igzip.compress(content, level)
                    )
                    for level in (0, 1, 2, 3)
                },
            }
            first = 0
            for writer, write in writers.items():
                start = time.process_time()
                write()
                seconds, size = time.process_time() - start, packed.stat().st_size
                first = first or size
                figures.add(name, writer, seconds, size / 1e6, size / first)
    figures.write()


if __name__ == "__main__":
    main()
