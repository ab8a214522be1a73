"""Commands as a user starts them: on stderr stands nothing that no line of ours says, in their processes too."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import SimpleITK as sitk
from builders import model as tiny_model

MAIN = ("-m", "nnunetv2_cdpd.cli.main")
BAR = re.compile(r"\s*\w[\w ]*: +\d+%\|.*")  # of tqdm; each is drawn over the one before


def started(*arguments):
    command = [sys.executable, *MAIN, *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)


def said(process):
    """Lines of stderr that are no bars."""
    lines = re.split(r"[\r\n]+", process.communicate()[1])
    return process.returncode, [line for line in lines if line.strip() and not BAR.fullmatch(line)]


@pytest.mark.slow
def test_nothing_but_our_lines_is_on_stderr(model, images, tmp_path):
    for name in ("predictions", "labels"):
        (tmp_path / name).mkdir()
        shutil.copy(model / "dataset.json", tmp_path / name)
        for index in range(2):
            label = sitk.GetImageFromArray((tiny_model.make_image((8, 9, 10), seed=index) > 0).astype("uint8"))
            sitk.WriteImage(label, str(tmp_path / name / f"case_{index}.nii.gz"))
    (tmp_path / "predictions/case_1.nii.gz").write_bytes(b"torn")
    options = ("-m", model, "-f", "0", "-device", "cpu", "-step_size", "1", "--disable_tta", "--disable_progress_bar")
    predicting = started("predict", "-i", images / "case_0_0000.nii.gz", "-o", tmp_path / "y.nii.gz", *options)
    evaluating = started("evaluate", tmp_path / "predictions", tmp_path / "labels", "-np", "2", "--fully-annotated")
    assert said(predicting) == (0, [])
    code, lines = said(evaluating)
    assert code == 1 and len(lines) == 1 and lines[0].startswith("cdpd: error: case 'case_1': ")
