"""Conversion: gzip levels, speed against SimpleITK on the same files, peak memory of a large case, time to plan 3000 cases.

    python benchmarks/conversion.py FOLDER [--ct CT.nii.gz] [--slices 120] [--large-slices 800]
    python benchmarks/evidence write     # the table of speed, from benchmarks/results/conversion

FOLDER takes a few GB and is left as it is found. Without --ct the volumes are made up: smooth anatomy and the noise of a
scanner. Every case is converted in this process, one after the other, as SimpleITK reads and writes it.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parent / "evidence"))
from builders.replica_files import write_dicom
from figures import Figures

from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.volumes import nifti

AFFINE = np.diag([-0.75, -0.75, 1.5, 1.0])


def make_volume(slices: int, ct: Path | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """HU (512, 512, slices) and a label of four structures."""
    generator = np.random.default_rng(seed)
    if ct is None:
        coarse = generator.normal(0, 1, (32, 32, max(slices // 8, 2)))
    else:
        coarse = np.asanyarray(nibabel.load(ct).dataobj, dtype=np.float32)
    zoom = [size / before for size, before in zip((512, 512, slices), coarse.shape)]
    smooth = np.empty((512, 512, slices), np.float32, order="F")
    ndimage.zoom(coarse.astype(np.float32), zoom, output=smooth, order=1)
    if ct is None:
        smooth = 60 + 60 * smooth
        x, y = np.ogrid[-1:1:512j, -1:1:512j]
        smooth[(x / 0.85) ** 2 + (y / 0.65) ** 2 > 1] = -1000
    label = np.digitize(ndimage.zoom(coarse.astype(np.float32), zoom, order=1), np.quantile(coarse, (0.9, 0.94, 0.97, 0.99)))
    body = smooth > -500
    for z in range(slices):
        smooth[..., z] += generator.normal(0, 12, (512, 512)) * body[..., z]
    return smooth.astype(np.int16), label.astype(np.uint8)


def declare(image: str, label: str = "lab/{case}.nii.gz", values=(1, 2, 3, 4), **facts) -> SourceDataset:
    texts = dict.fromkeys(("title", "region", "license", "link", "reference", "size", "layout"), "benchmark")
    values = {value: f"structure_{value}" for value in values}
    return SourceDataset(name="BENCH", num_cases=None, images=(image,), labels=(label,), values=values, **texts, **facts)


def clock(function, *args, **kwargs) -> float:
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def run(folder: Path, dataset: SourceDataset) -> None:
    outcome = convert(dataset, folder, num_processes=1, progress=False, report=lambda line: None)
    assert not outcome.failed, outcome.failed


def write(folder: Path, name: str, array: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return path


def levels(folder: Path, image: np.ndarray, label: np.ndarray) -> None:
    print("gzip level: seconds and MB of an image, of a label")
    for level in (1, 2, 3, 4, 6, 9):
        cells = []
        for array in (image, label):
            path = folder / "level.nii.gz"
            content = nibabel.Nifti1Image(array, AFFINE).to_bytes()
            seconds = clock(lambda path=path, content=content, level=level: path.write_bytes(gzip.compress(content, level)))
            cells.append(f"{seconds:6.2f} s {path.stat().st_size / 2**20:7.2f} MB")
            path.unlink()
        print(f"  {level}: {'   '.join(cells)}{'   <- used' if level == nifti.COMPRESSION_LEVEL else ''}")


def simpleitk(image: list[str] | str, label: str, out: Path) -> None:
    out.mkdir(exist_ok=True)
    sitk.WriteImage(sitk.ReadImage(image), str(out / "image.nii.gz"))
    sitk.WriteImage(sitk.ReadImage(label), str(out / "label.nii.gz"))


def speed(folder: Path, image: np.ndarray, label: np.ndarray, real: bool) -> None:
    """Seconds per case, image and label."""
    columns = [("input", ""), ("`cdpd convert`", ".2f"), ("read and written with SimpleITK", ".2f"), ("ratio", ".2f")]
    figures = Figures(__file__, f"{'real' if real else 'made_up'}_{image.shape[-1]}_slices", columns, shape=image.shape)
    moved = label.copy()
    moved[label == 1] = 7  # a value that has to be replaced
    inputs = {}
    for name, where, kind, array in (
        (".nii.gz, nothing to change", "same", "nii.gz", label),
        (".nii.gz, label remapped", "remap", "nii.gz", moved),
        (".nii", "plain", "nii", label),
    ):
        inputs[name] = (write(folder / where, f"img/c.{kind}", image), write(folder / where, f"lab/c.{kind}", array))
    inputs["DICOM"] = (folder / "dicom/img/c", write(folder / "dicom", "lab/c.nii.gz", label))
    write_dicom(folder / "dicom/img/c", image, affine=AFFINE, top_first=False)
    datasets = {
        ".nii.gz, nothing to change": declare("img/{case}.nii.gz"),
        ".nii.gz, label remapped": declare("img/{case}.nii.gz", values=(7, 2, 3, 4)),
        ".nii": declare("img/{case}.nii", "lab/{case}.nii"),
        "DICOM": declare("img/{case}", dicom=True),
    }
    for name, (image_path, label_path) in inputs.items():
        source = image_path if image_path.is_file() else sorted(map(str, image_path.iterdir()))
        theirs, ours = [], []
        for _ in range(3):
            shutil.rmtree(raw_folder(folder), ignore_errors=True)
            raw_folder(folder).mkdir()
            theirs.append(clock(simpleitk, source, label_path, folder / "theirs"))
            ours.append(clock(run, image_path.parents[1], datasets[name]))
        figures.add(name, min(ours), min(theirs), min(ours) / min(theirs))
    figures.write()


def raw_folder(folder: Path) -> Path:
    return folder / "raw"


def large(folder: Path, slices: int, ct: Path | None) -> None:
    image, label = make_volume(slices, ct)
    print(f"peak memory of one case of 512 x 512 x {slices} ({image.nbytes / 2**20:.0f} MB as int16), with the interpreter:")
    for kind in ("nii", "nii.gz", "DICOM"):
        source = folder / f"large_{kind}"
        if kind == "DICOM":
            write_dicom(source / "img/c", image, affine=AFFINE, names="1-{:04d}.dcm")
        else:
            write(source, f"img/c.{kind}", image)
        write(source, "lab/c.nii.gz", label)
        shutil.rmtree(raw_folder(folder), ignore_errors=True)
        raw_folder(folder).mkdir()
        result = subprocess.run(
            [sys.executable, __file__, str(source), "--peak", kind], capture_output=True, text=True, env=os.environ, check=True
        )
        print(f"  {kind:8} {result.stdout.strip()}")
        shutil.rmtree(source)


def highest_mb() -> float:
    """Peak memory of this process alone; getrusage would count what its parent had at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def peak(folder: Path, kind: str) -> None:
    """Convert a folder and print the peak memory of this process."""
    images = {"nii": "img/{case}.nii", "nii.gz": "img/{case}.nii.gz", "DICOM": "img/{case}"}
    before = highest_mb()
    seconds = clock(run, folder, declare(images[kind], dicom=kind == "DICOM"))
    print(f"{highest_mb():.0f} MB (before {before:.0f} MB), {seconds:.1f} s")


def many(folder: Path, count: int) -> None:
    image = np.full((6, 5, 4), 40, np.int16)
    label = np.ones((6, 5, 4), np.uint8)
    write(folder / "many", "img/c0.nii.gz", image), write(folder / "many", "lab/c0.nii.gz", label)
    for case in range(1, count):
        for kind in ("img", "lab"):
            shutil.copy(folder / f"many/{kind}/c0.nii.gz", folder / f"many/{kind}/c{case}.nii.gz")
    shutil.rmtree(raw_folder(folder), ignore_errors=True)
    raw_folder(folder).mkdir()
    dataset = declare("img/{case}.nii.gz")
    first = clock(run, folder / "many", dataset)
    second = clock(run, folder / "many", dataset)
    print(f"{count} tiny cases: {first:.1f} s to list, plan and convert; {second:.2f} s to list, plan and find all done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--large-slices", type=int, default=800)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.folder, args.peak)
        return
    work = args.folder / "cdpd_conversion_benchmark"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.environ["nnUNet_raw"] = str(raw_folder(work))
    try:
        image, label = make_volume(args.slices, args.ct)
        levels(work, image, label)
        speed(work, image, label, args.ct is not None)
        del image, label
        many(work, args.cases)
        large(work, args.large_slices, args.ct)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
