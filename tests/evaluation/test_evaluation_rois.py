"""References that are structure sets or segmentations of a hospital's export, and predictions that are segmentations."""

import csv

import numpy as np
import pytest
from builders.clinic import STRUCTURES, Clinic
from builders.dicom_labels import boxes, lps, write_segmentation, write_structure_set
from builders.replica_files import write_nifti

from nnunetv2_cdpd.cli.main import main


@pytest.fixture
def clinic(tmp_path, nnunet_folders):
    """Two patients: the second has no spleen drawn."""
    clinic = Clinic(tmp_path)
    clinic.slices = {
        "p1": clinic.patient("p1", {"liver": "LIVER", "liver_tumor": "GTV", "left_kidney": "Niere links", "spleen": "Milz"})[0],
        "p2": clinic.patient("p2", {"liver": "Leber", "left_kidney": "kidney left"}, write_segmentation)[0],
    }
    return clinic


def predict(clinic, case, file, missing=()):
    """A perfect label map but for a structure, of the values that the references get."""
    label = np.zeros(clinic.truths[case].image.shape, np.uint8)
    for value, name in enumerate(STRUCTURES, start=1):
        if name not in missing:
            label[clinic.truths[case].masks[name]] = value
    write_nifti(clinic.folder / "predicted" / file, label, axes="LPS")


def evaluate(clinic, *more):
    """The exit code, and (case, class) -> voxels TP, FP, FN of what was scored."""
    places = [str(clinic.folder / name) for name in ("predicted", "data")]
    spec, output = str(clinic.folder / "my.yaml"), clinic.folder / "out"
    code = main(["evaluate", *places, "--spec", spec, "-np", "1", "-o", str(output), *more])
    if not (output / "metrics.csv").is_file():
        return code, None
    with (output / "metrics.csv").open() as file:
        rows = {(row["case"], row["class"]): tuple(int(row[key]) for key in ("TP", "FP", "FN")) for row in csv.DictReader(file)}
    return code, rows


RIGHT = {
    ("p1", "liver"): (16, 0, 0),  # the tumour is liver, too
    ("p1", "liver_tumor"): (8, 0, 0),
    ("p1", "left_kidney"): (8, 0, 0),
    ("p1", "spleen"): (8, 0, 0),
    ("p2", "liver"): (8, 8, 0),  # a tumour was predicted outside of what was drawn as liver
    ("p2", "left_kidney"): (8, 0, 0),
}


@pytest.mark.parametrize("prefix", ["", "CLINIC_"])
def test_predictions_are_scored_on_what_was_drawn(clinic, capsys, prefix):
    for case in ("p1", "p2"):
        predict(clinic, case, f"{prefix}{case}.nii.gz", missing=("left_kidney",) if case == "p1" else ())
    code, rows = evaluate(clinic)
    expected = {(f"{prefix}{case}", name): counts for (case, name), counts in RIGHT.items()}
    assert code == 0 and rows == expected | {(f"{prefix}p1", "left_kidney"): (0, 0, 8)}
    assert "not annotated: liver_tumor, spleen" in capsys.readouterr().out
    references = clinic.folder / "out/references"
    assert sorted(path.name for path in references.rglob("*.nii.gz")) == [f"{prefix}p1.nii.gz", f"{prefix}p2.nii.gz"]
    assert main(["evaluate", str(clinic.folder / "predicted"), str(references / "labelsTr"), "-np", "1"]) == 0


@pytest.mark.parametrize("ending", ["_seg.dcm", "_labelmap.dcm", "_rtstruct.dcm"])
def test_predictions_may_be_segmentations_too(clinic, ending):
    for case, slices in clinic.slices.items():
        masks = {name: lps(clinic.truths[case].masks[name]) for name in STRUCTURES}
        path = clinic.folder / f"predicted/{case}{ending}"
        if ending == "_rtstruct.dcm":
            write_structure_set(path, slices, [(name, boxes(slices, mask)) for name, mask in masks.items()])
        else:
            write_segmentation(path, slices, masks, "LABELMAP" if "labelmap" in ending else "BINARY")
    assert evaluate(clinic) == (0, RIGHT)


def test_segmentations_of_cases_that_the_export_lacks_are_told_and_may_be_left_out(clinic, capsys):
    for case, slices in clinic.slices.items():
        masks = {name: lps(clinic.truths[case].masks[name]) for name in STRUCTURES}
        write_segmentation(clinic.folder / f"predicted/{case}_seg.dcm", slices, masks)
    (clinic.folder / "predicted/p3_seg.dcm").write_bytes((clinic.folder / "predicted/p1_seg.dcm").read_bytes())
    assert evaluate(clinic) == (1, None)
    assert "1 of 3 predictions are of no case of" in capsys.readouterr().err
    assert evaluate(clinic, "--allow-missing") == (0, RIGHT)
    assert f"of no case of {clinic.folder / 'data'}: p3; they are not scored" in capsys.readouterr().out


def test_a_structure_of_a_prediction_that_cannot_be_taken_is_told_and_counts_as_missed(clinic, capsys):
    for case, slices in clinic.slices.items():
        masks = {name: boxes(slices, lps(clinic.truths[case].masks[name])) for name in STRUCTURES}
        kinds = {"spleen": "OPEN_PLANAR"} if case == "p1" else dict.fromkeys(STRUCTURES, "OPEN_PLANAR")
        write_structure_set(clinic.folder / f"predicted/{case}_rtstruct.dcm", slices, list(masks.items()), kinds=kinds)
    nothing = {("p1", "spleen"): (0, 0, 8), ("p2", "liver"): (0, 0, 8), ("p2", "left_kidney"): (0, 0, 8)}
    assert evaluate(clinic) == (0, RIGHT | nothing)
    told = capsys.readouterr().out
    assert "predicted: p1, p2: spleen counts as not predicted: contours of type 'OPEN_PLANAR' left out" in told


def test_a_class_that_no_prediction_holds_is_not_scored_and_other_spellings_are_known(clinic, capsys):
    names = {"Hepatic Tumor": "liver_tumor", "liver": "liver", "kidney_left": "left_kidney"}
    for case, slices in clinic.slices.items():
        masks = {name: lps(clinic.truths[case].masks[structure]) for name, structure in names.items()}
        if case == "p2":
            masks["kidney_left"] = np.zeros_like(masks["liver"])
        write_segmentation(clinic.folder / f"predicted/{case}_seg.dcm", slices, masks)
    code, rows = evaluate(clinic)
    expected = {key: counts for key, counts in RIGHT.items() if key[1] != "spleen"}
    assert code == 0 and rows == expected | {("p2", "left_kidney"): (0, 0, 8)}
    assert "not scored, because" in capsys.readouterr().out


def test_a_bad_reference_stops_no_other_and_is_told(clinic, capsys):
    for case in ("p1", "p2"):
        predict(clinic, case, f"{case}.nii.gz")
    path = clinic.folder / "data/p2/export/write_segmentation.dcm"
    path.write_bytes(path.read_bytes()[:-90])
    code, rows = evaluate(clinic)
    assert code == 1 and rows == {key: counts for key, counts in RIGHT.items() if key[0] == "p1"}
    assert "cdpd: error: case 'p2': " in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["left out", "broken reference", "broken prediction"])
def test_a_case_that_is_left_out_does_not_allow_others_to_be_missing(clinic, capsys, reason):
    clinic.slices["p3"] = clinic.patient("p3", {"liver": "liver"})[0]
    if reason == "left out":
        clinic.declare(("nested:", "leave_out: {p2: known to be wrong}\nnested:"))
    for case in ("p1", "p2"):
        write_segmentation(
            clinic.folder / f"predicted/{case}_seg.dcm",
            clinic.slices[case],
            {name: lps(clinic.truths[case].masks[name]) for name in STRUCTURES},
        )
    broken = {"broken reference": "data/p2/export/write_segmentation.dcm", "broken prediction": "predicted/p2_seg.dcm"}
    if reason in broken:
        path = clinic.folder / broken[reason]
        path.write_bytes(path.read_bytes()[:-90])
    assert evaluate(clinic) == (1, None)
    assert "have no prediction: p3; predict them, or give --allow-missing" in capsys.readouterr().err
    code, rows = evaluate(clinic, "--allow-missing")
    of_p1 = {key: counts for key, counts in RIGHT.items() if key[0] == "p1"}
    assert (code, rows) == (reason != "left out", of_p1)
    write_segmentation(
        clinic.folder / "predicted/p3_seg.dcm", clinic.slices["p3"], {"liver": lps(clinic.truths["p3"].masks["liver"])}
    )
    code, rows = evaluate(clinic)
    assert (code, rows) == (reason != "left out", of_p1 | {("p3", "liver"): (8, 0, 0)})


def test_a_missing_series_is_told_in_one_line(clinic, capsys):
    for case in ("p1", "p2"):
        predict(clinic, case, f"{case}.nii.gz")
        for path in (clinic.folder / f"data/{case}/ct").iterdir():
            path.unlink()
    assert evaluate(clinic) == (1, None)
    told = capsys.readouterr().err
    assert "whose slices tell the grid; put that CT series beside it" in told and "Traceback" not in told


def test_without_a_declaration_what_is_missing_is_told(clinic, capsys):
    predict(clinic, "p1", "p1.nii.gz")
    assert main(["evaluate", str(clinic.folder / "predicted"), str(clinic.folder / "data/p1/export")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds structure sets or segmentations; give --spec, the YAML that names their structures" in line
    assert "the folder in which the image series lie too" in line


def test_predictions_of_other_cases_are_told(clinic, capsys):
    write_segmentation(clinic.folder / "predicted/else_seg.dcm", clinic.slices["p1"], {"liver": np.ones((26, 24, 18), bool)})
    assert evaluate(clinic) == (1, None)
    assert "else and the others are of no case of" in capsys.readouterr().err


def test_predictions_of_both_kinds_are_told_unless_label_maps_are_of_all_cases(clinic, capsys):
    predict(clinic, "p1", "p1.nii.gz", missing=("left_kidney",))
    write_segmentation(clinic.folder / "predicted/p2_seg.dcm", clinic.slices["p2"], {"liver": np.ones((26, 24, 18), bool)})
    assert evaluate(clinic) == (1, None)
    assert "holds label maps of some cases and DICOM files of others, p2; put one kind into" in capsys.readouterr().err
    predict(clinic, "p2", "p2.nii.gz")
    assert evaluate(clinic) == (0, RIGHT | {("p1", "left_kidney"): (0, 0, 8)})
