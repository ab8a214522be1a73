"""`cdpd predict` on made-up images with a small model."""

import hashlib

import SimpleITK as sitk

from nnunetv2_cdpd.cli.main import main

SPACING = (0.9, 0.8, 2.0)  # x, y, z


def predict(images, output, model, *more, expect=0):
    arguments = ["-i", images, "-o", output, "-m", model, "-f", "0", "-device", "cpu", "--disable_progress_bar", *more]
    assert main(["predict", *map(str, arguments)]) == expect
    return output


def read(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def digests(folder):
    """File -> digest of its bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
