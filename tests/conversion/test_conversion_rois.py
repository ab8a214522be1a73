"""Hospital exports: structure sets and segmentations as labels, named as nobody agreed on."""

import json

import numpy as np
import pydicom
import pytest
from builders.clinic import ALL, SPEC, STRUCTURES, Clinic, expected
from builders.dicom_labels import boxes, in_mm, lps, write_scan, write_segmentation, write_structure_set
from builders.replica_files import AFFINE, make_truth

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.annotation.model import NEGATIVE, UNSUPERVISED
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.conversion.declaration_file import read_declaration
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.conversion.summary import summary
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.nifti import NiftiFile


@pytest.fixture
def clinic(tmp_path, nnunet_folders):
    return Clinic(tmp_path)


def test_names_are_mapped_and_what_is_absent_is_not_annotated(clinic):
    clinic.patient("p1", ALL)
    clinic.patient("p2", {"liver": "hepar (all)", "spleen": "SPLEEN", "left_kidney": "kidney_l"})
    clinic.patient("p3", {"liver": "Leber"}, write_segmentation)
    clinic.patient("p4", {"liver": "Leber", "spleen": "milz"})  # not mapped: its capital was asked for
    outcome = clinic.convert()
    assert outcome.complete and not outcome.failed
    annotation = read_annotation(json.loads((outcome.folder / "dataset.json").read_text()))
    stored = dict(zip(annotation.classes, annotation.values))
    for case, truth in clinic.truths.items():
        names = {"p1": STRUCTURES, "p2": ["liver", "left_kidney", "spleen"]}.get(case, ["liver"])
        assert np.array_equal(clinic.label(outcome, case), expected(truth, {name: stored[name] for name in names})), case
    assert clinic.annotated(outcome) == {
        "p1": ("CLINIC", set(STRUCTURES)),
        "p2": ("CLINIC_without_liver_tumor", {"liver", "left_kidney", "spleen"}),
        "p3": ("CLINIC_only_liver", {"liver"}),
        "p4": ("CLINIC_only_liver", {"liver"}),
    }
    assert outcome.unmapped == {"'milz'": 1}
    # A liver without a tumour drawn in it does not say that there is none; background says nothing of what was not drawn.
    column = [annotation.columns.index(frozenset([name])) for name in annotation.classes]
    of_p2, of_p3 = (annotation.tables[annotation.source_index(f"CLINIC_{case}")][:, column] for case in ("p2", "p3"))
    assert of_p2[stored["liver"], annotation.classes.index("liver_tumor")] == UNSUPERVISED
    assert of_p3[0].tolist() == [NEGATIVE if name == "liver" else UNSUPERVISED for name in annotation.classes]


def test_what_is_annotated_in_every_case_is_absent_where_it_is_not_drawn(clinic):
    clinic.declare(("nested:", "annotates: [liver_tumor]\nnested:"))
    clinic.patient("p1", ALL)
    clinic.patient("p2", {"liver": "liver"})
    clinic.patient("p3", {"liver": "nobody knows"})
    outcome = clinic.convert()
    assert clinic.annotated(outcome) == {
        "p1": ("CLINIC", set(STRUCTURES)),
        "p2": ("CLINIC_only_liver_liver_tumor", {"liver", "liver_tumor"}),
        "p3": ("CLINIC_only_liver_tumor", {"liver_tumor"}),
    }


def test_sources_of_many_structures_are_named_alike_whatever_other_cases_hold(clinic):
    names = {f"s{number}": f"s{number}" for number in range(10)}
    values = "".join(f"  {name}: {name}\n" for name in names)
    start, end = SPEC.index('  "liver|'), SPEC.index("nested:")
    clinic.declare((SPEC[start:end], values), (SPEC[end:], ""))
    for case, count in (("p1", 5), ("p2", 10)):
        truth = make_truth(names, 1)
        slices = write_scan(clinic.folder / f"data/{case}/ct", truth.image)
        rois = [(name, boxes(slices, lps(truth.masks[name]))) for name in list(names)[:count]]
        write_structure_set(clinic.folder / f"data/{case}/rs.dcm", slices, rois)
        clinic.truths[case] = truth
        if case == "p1":
            alone = clinic.annotated(clinic.convert())["p1"]
    assert clinic.annotated(clinic.convert())["p1"] == alone
    assert alone[0].startswith("CLINIC_5_of_10_") and len(alone[1]) == 5


def test_unmapped_names_are_listed_with_their_cases_and_do_nothing_to_the_terminal(clinic):
    hostile = ["\x1b[31mred\x07", "../../etc/passwd", "x" * 10_000, "two\nlines", "\u202egnp.exe", ""]
    for case in ("p1", "p2"):
        slices, path = clinic.patient(case, {"liver": "liver", "spleen": "PTV_60"})
        rois = [("liver", boxes(slices, lps(clinic.truths[case].masks["liver"]))), ("PTV_60", [])]
        rois += [
            (name, boxes(slices, lps(clinic.truths[case].masks["spleen"]))) for name in (hostile if case == "p1" else hostile[:1])
        ]
        write_structure_set(path, slices, rois)
    outcome = clinic.convert()
    assert outcome.complete
    told = summary(outcome)
    assert all(line.isprintable() for line in told.split("\n"))
    lines = told.split("\n")
    assert "    '\\x1b[31mred\\x07' (2 cases)" in lines and "    '../../etc/passwd' (1 case)" in lines
    assert f"    '{'x' * 64}... (10000 letters)' (1 case)" in lines and "    '\\u202egnp.exe' (1 case)" in lines
    assert not any("PTV" in line or "liver'" in line for line in lines)
    again = clinic.convert()
    assert again.unmapped == outcome.unmapped and len(again.before) == 2
    assert {path.name for path in clinic.folder.rglob("*passwd*")} == set()


@pytest.mark.parametrize("write", [write_structure_set, write_segmentation])
def test_a_name_that_means_two_structures_is_an_error(clinic, write):
    clinic.declare(('"(gtv', '"liver tumor|(gtv'), ("liver|", "liver.*|"))
    clinic.patient("p1", {"liver": "liver", "liver_tumor": "Liver Tumor"}, write)
    clinic.patient("p2", ALL)
    outcome = clinic.convert()
    assert list(outcome.failed) == ["CLINIC_p1"] and list(outcome.done) == ["CLINIC_p2"]
    assert (
        "'Liver Tumor' matches liver ('liver.*|leber|hepar.*') and liver_tumor ('liver tumor|(gtv" in outcome.failed["CLINIC_p1"]
    )


def test_two_names_of_one_structure_are_an_error_or_joined_as_declared(clinic):
    names = {"liver": "liver", "spleen": "Leber"}
    clinic.patient("p1", names)
    failed = clinic.convert().failed["CLINIC_p1"]
    assert "'liver' and 'Leber' both mean liver; narrow `values`, or say `join_rois: true`" in failed
    clinic.declare(("rois: true", "rois: true\njoin_rois: true"))
    outcome = clinic.convert()
    truth = clinic.truths["p1"]
    assert np.array_equal(clinic.label(outcome, "p1") > 0, lps(truth.masks["liver"] | truth.masks["spleen"]))


def test_a_name_of_a_template_that_nobody_has_drawn_is_no_second_one(clinic):
    slices, path = clinic.patient("p1", {"liver": "liver"})
    lines = boxes(slices, lps(clinic.truths["p1"].masks["liver"]))
    write_structure_set(path, slices, [("Leber", None), ("liver", lines), ("Hepar", [])])
    assert np.array_equal(clinic.label(clinic.convert(), "p1") > 0, lps(clinic.truths["p1"].masks["liver"]))


def test_a_pattern_that_would_never_end_stops_no_other_case(clinic, monkeypatch):
    monkeypatch.setattr("nnunetv2_cdpd.conversion.roi_names._PATIENCE_S", 0.05)
    clinic.declare(("(?-i:Milz)|spleen", "(a|aa)+[bc]|spleen"))
    clinic.patient("p1", {"liver": "liver"})
    clinic.patient("p2", {"liver": "liver", "spleen": "a" * 60})
    outcome = clinic.convert()
    assert list(outcome.done) == ["CLINIC_p1"]
    told = "whether '(a|aa)+[bc]|spleen' matches it was not found in 0.05 s; write the pattern without"
    assert told in outcome.failed["CLINIC_p2"] and "write_structure_set.dcm: 'aaaa" in outcome.failed["CLINIC_p2"]


def test_two_files_of_one_series_are_taken_together(clinic):
    slices, path = clinic.patient("p1", {"liver": "liver"})
    write_segmentation(path.with_name("seg.dcm"), slices, {"Milz": lps(clinic.truths["p1"].masks["spleen"])}, "LABELMAP")
    outcome = clinic.convert()
    assert clinic.annotated(outcome)["p1"][1] == {"liver", "spleen"}
    write_structure_set(path.with_name("later.dcm"), slices, [("Leber", boxes(slices, lps(clinic.truths["p1"].masks["liver"])))])
    assert "both mean liver" in clinic.convert().failed["CLINIC_p1"]


def test_the_series_is_that_which_the_structure_set_refers_to(clinic):
    clinic.patient("p1", {"liver": "liver"})
    other = write_scan(clinic.folder / "data/p1/ct thin", make_truth(STRUCTURES, 77).image)
    write_scan(clinic.folder / "data/p1/mr", make_truth(STRUCTURES, 78).image, Modality="MR")
    outcome = clinic.convert()
    image = NiftiFile(outcome.folder / "imagesTr/CLINIC_p1_0000.nii.gz").read()
    assert np.array_equal(image, lps(clinic.truths["p1"].image))
    assert outcome.complete and other


def test_labels_of_another_series_are_passed_over_or_an_error(clinic):
    clinic.patient("p1", {"liver": "liver"}, series=["1.2.3"])
    clinic.patient("p2", {"liver": "liver"}, write_segmentation)
    other = write_scan(clinic.folder / "other", make_truth(STRUCTURES, 3).image)
    write_segmentation(clinic.folder / "data/p2/export/other.dcm", other, {"spleen": np.ones((26, 24, 18), bool)})
    outcome = clinic.convert()
    assert "structure_set.dcm refers to series '1.2.3', not to series (18 files) '" in outcome.failed["CLINIC_p1"]
    assert outcome.notes["CLINIC_p2"] == ("not taken: structure sets and segmentations of another series",)
    assert np.array_equal(clinic.label(outcome, "p2") > 0, lps(clinic.truths["p2"].masks["liver"]))


def test_without_a_series_the_frame_of_reference_tells(clinic):
    clinic.patient("p1", {"liver": "liver"}, series=[])
    clinic.patient("p2", {"liver": "liver"}, series=[], space="1.2.3.4")
    clinic.patient("p3", {"liver": "liver"}, series=[], space="")
    outcome = clinic.convert()
    assert list(outcome.done) == ["CLINIC_p1"]
    assert "refers to no series, to the frame of reference '1.2.3.4', not to series (18 files)" in outcome.failed["CLINIC_p2"]
    assert "refers to no series at all" in outcome.failed["CLINIC_p3"]


def test_contours_of_another_frame_of_reference_are_an_error(clinic):
    clinic.patient("p1", {"liver": "liver"}, space="1.2.3.4")
    _, path = clinic.patient("p2", {"liver": "liver"}, write_segmentation)
    file = pydicom.dcmread(path)
    file.FrameOfReferenceUID = "1.2.3.4"
    file.save_as(path)
    outcome = clinic.convert()
    for case, name in (("CLINIC_p1", "liver"), ("CLINIC_p2", "liver")):
        assert f".dcm: '{name}' lies in the frame of reference '1.2.3.4', the image in '" in outcome.failed[case]


def test_a_frame_of_reference_may_be_said_for_all_structures_at_once(clinic):
    _, path = clinic.patient("p1", {"liver": "liver"}, space="1.2.3.4")
    file = pydicom.dcmread(path)
    for item in file.StructureSetROISequence:
        del item.ReferencedFrameOfReferenceUID
    file.save_as(path)
    assert "lies in the frame of reference '1.2.3.4'" in clinic.convert().failed["CLINIC_p1"]


def test_one_bad_file_stops_no_other_case(clinic):
    for case in ("p1", "p2", "p3"):
        _, path = clinic.patient(case, {"liver": "liver"})
    path.write_bytes(path.read_bytes()[:-300])
    (clinic.folder / "data/p2/export/write_structure_set.dcm").unlink()
    outcome = clinic.convert()
    assert list(outcome.done) == ["CLINIC_p1"]
    assert "no structure set or segmentation among the files of the label" in outcome.failed["CLINIC_p2"]
    assert "is no whole structure set or segmentation (it ends early" in outcome.failed["CLINIC_p3"]
    assert all("\n" not in why for why in outcome.failed.values())


def test_a_file_that_is_no_label_though_its_name_says_so_is_told(clinic):
    for case, content in (("p1", b""), ("p2", b"\0" * 128 + b"DICM" + b"\1\2\3" * 40)):
        clinic.patient(case, {"liver": "liver"})
        (clinic.folder / f"data/{case}/export/RS.dcm").write_bytes(content)
    clinic.declare(
        ('images: "data/{case}"', 'images: "data/{case}/ct"'), ('labels: "data/{case}"', 'labels: "data/{case}/export"')
    )
    failed = clinic.convert().failed
    assert len(failed) == 2 and all("RS.dcm is no whole DICOM file" in why and "\n" not in why for why in failed.values())


def test_the_same_file_under_two_names_is_taken_once(clinic):
    _, path = clinic.patient("p1", {"liver": "liver"})
    path.with_name("copy.dcm").write_bytes(path.read_bytes())
    assert clinic.convert().complete


def test_what_cannot_be_taken_is_not_annotated_and_told(clinic):
    slices, path = clinic.patient("p1", {"liver": "liver"})
    masks = {name: lps(mask) for name, mask in clinic.truths["p1"].masks.items()}
    point = boxes(slices, masks["spleen"])
    every_other = [in_mm(slices, [(2, 2, z), (9, 2, z), (9, 9, z), (2, 9, z)]) for z in (2, 4, 6)]
    rois = [("liver", boxes(slices, masks["liver"])), ("Milz", point), ("Niere", every_other)]
    rois += [("tumor", [in_mm(slices, [(2.2, 2.2, 1), (2.4, 2.2, 1), (2.4, 2.4, 1)])])]
    clinic.declare(("l(eft|inks)?", "(l(eft|inks)?)?"))
    write_structure_set(path, slices, rois, kinds={"Milz": "POINT"})
    outcome = clinic.convert()
    assert clinic.annotated(outcome)["p1"] == ("CLINIC_only_liver", {"liver"})
    assert np.array_equal(clinic.label(outcome, "p1") > 0, masks["liver"])
    notes = "\n".join(outcome.notes["CLINIC_p1"])
    assert "spleen: contours of type 'POINT' left out" in notes
    assert "left_kidney not taken, so not annotated: it has contours on 3 of 5 slices" in notes
    assert "liver_tumor: its contours hold no voxel's centre" in notes
    clinic.declare(("l(eft|inks)?", "(l(eft|inks)?)?"), ("rois: true", "rois: true\nfill_gaps: 1"))
    assert clinic.annotated(clinic.convert())["p1"][1] == {"liver", "left_kidney"}


def test_what_lies_inside_is_painted_over_its_outside_and_overlaps_are_told(clinic):
    slices, path = clinic.patient("p1", {"liver": "liver"})
    large, small = np.zeros((2, 26, 24, 18), bool)
    large[2:12, 2:12, 2:8] = True
    small[4:6, 4:6, 3:5] = True
    rois = {"GTV": small, "liver": large, "spleen": np.roll(small, 2, 0), "kidney left": np.roll(small, 2, 0)}
    write_structure_set(path, slices, [(name, boxes(slices, mask)) for name, mask in rois.items()])
    outcome = clinic.convert()
    label = clinic.label(outcome, "p1")
    assert (
        (label[small] == 2).all() and (label[large & ~small & ~rois["spleen"]] == 1).all() and (label[rois["spleen"]] == 4).all()
    )
    assert clinic.annotated(outcome)["p1"][1] == {"liver", "liver_tumor", "spleen"}
    assert outcome.notes["CLINIC_p1"] == (
        "overlapping structures, the later in `values` was kept: left_kidney, spleen",
        "left_kidney lies wholly under others, so not annotated",
    )


def test_a_case_without_a_mapped_name_teaches_nothing(clinic):
    clinic.patient("p1", {"liver": "liver"})
    clinic.patient("p2", {"liver": "Thing"})
    outcome = clinic.convert()
    assert list(outcome.skipped) == ["CLINIC_p2"] and outcome.complete and outcome.unmapped == {"'Thing'": 1}


def test_a_tilted_gantry_is_straightened_with_its_labels(clinic):
    truth = make_truth(STRUCTURES, 5)
    matrix = np.diag([-1, -1, 1, 1]) @ AFFINE
    top = truth.image.shape

    def tilted(z):
        start = matrix[:3, 3] + matrix[:3, 0] * (top[0] - 1) + matrix[:3, 1] * (top[1] - 1) + matrix[:3, 2] * z
        return [f"{value:.6f}" for value in start + [0, 0.4 * z, 0]]

    slices = write_scan(clinic.folder / "data/p1/ct", truth.image, ImagePositionPatient=tilted)
    mask = np.zeros(truth.image.shape, bool)
    mask[5:15, 6:16, 3:9] = True
    write_segmentation(clinic.folder / "data/p1/seg.dcm", slices, {"liver": mask})
    write_structure_set(clinic.folder / "data/p1/rs.dcm", slices, [("spleen", boxes(slices, np.roll(mask, 8, 2)))])
    clinic.truths["p1"] = truth
    outcome = clinic.convert()
    label = clinic.label(outcome, "p1")
    assert label.shape == (26, 32, 18) and outcome.complete  # 17 x 0.4 mm of 0.9 mm more
    assert {z for z in range(18) if (label[:, :, z] == 1).any()} == set(range(3, 9))
    for value, first in ((1, 3), (4, 11)):
        for z in range(first, first + 6):
            x, y = np.nonzero(label[:, :, z] == value)
            assert (x.min(), x.max()) == (5, 14) and abs(y.min() - 6 - z / 2.25) <= 0.5 and len(x) == 100


@pytest.mark.parametrize(
    "change, words",
    [
        (('"body|', '"body(|'), r"'body\(\|external\|ptv\.\*' is no regular expression"),
        (("dicom: true\n", ""), "add `dicom: true`"),
        (("rois: true", "rois: true\nmasks: true"), r"masks need \{structure\}|says something else of labels"),
        (("rois: true", "rois: true\nignore_values: [255]"), "`ignore_values` says something else of labels than `rois`"),
        (("rois: true", "rois: true\nfill_gaps: -1"), "`fill_gaps`: -1 slices; give 0 or more"),
        (("rois: true", "rois: true\nfill_gaps: many"), "fill_gaps: expected a number of slices, got 'many'"),
        (("rois: true", "join_rois: true"), "no label value|add `rois: true`"),
        (("rois: true", "rois: perhaps"), "rois: expected true or false"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_told(clinic, change, words):
    clinic.declare(change)
    with pytest.raises(UserError, match=words):
        read_declaration(clinic.folder / "my.yaml")


def test_the_command_lists_what_was_not_mapped(clinic, capsys):
    clinic.patient("p1", {"liver": "liver", "spleen": "lien"})
    assert main(["convert", "--spec", str(clinic.folder / "my.yaml"), str(clinic.folder / "data"), "-np", "1"]) == 0
    told = capsys.readouterr().out
    assert "not named in `values`" in told and "    'lien' (1 case)" in told


def test_labels_of_many_patients_in_one_folder_are_found_by_what_they_refer_to(clinic):
    folder = clinic.folder / "data/plans"
    for case, number in (("p1", 9), ("p2", 3), ("p3", 5)):
        _, path = clinic.patient(case, {"liver": "liver"}, write_segmentation if case == "p2" else write_structure_set)
        folder.mkdir(exist_ok=True)
        path.rename(folder / f"RS.{number}.dcm")
    other = write_scan(clinic.folder / "other", make_truth(STRUCTURES, 4).image)
    write_structure_set(folder / "RS.0.dcm", other, [("liver", [])])
    (folder / "RS.1.dcm").write_bytes((folder / "RS.9.dcm").read_bytes()[:-200])
    clinic.declare(('images: "data/{case}"', 'images: "data/{case}/ct"'), ('labels: "data/{case}"', "labels: data/plans"))
    lines = []
    outcome = convert(
        read_declaration(clinic.folder / "my.yaml"), clinic.folder / "data", num_processes=1, progress=False, report=lines.append
    )
    assert outcome.complete and len(outcome.done) == 3
    for case, truth in clinic.truths.items():
        assert np.array_equal(clinic.label(outcome, case) > 0, lps(truth.masks["liver"]))
    assert any("RS.0.dcm: refers to no series of a case, so it is not taken" in line for line in lines)
    assert any("RS.1.dcm: is no whole structure set or segmentation (it ends early" in line for line in lines)
    (folder / "RS.3.dcm").unlink()
    with pytest.raises(UserError, match="no label for the image of p2"):
        clinic.convert()


def test_files_of_many_patients_may_be_named_one_by_one(clinic):
    clinic.patient("p1", {"liver": "liver"})
    clinic.declare(
        ('labels: "data/{case}"', 'labels: "data/{case}/export/*.dcm"'), ('images: "data/{case}"', 'images: "data/{case}/ct"')
    )
    assert clinic.convert().complete
