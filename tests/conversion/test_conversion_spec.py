"""One's own data by a YAML, and the commands `cdpd convert` and `cdpd sources`."""

import json

import numpy as np
import pytest
from builders.replica_files import make_truth, write_dicom, write_nifti
from builders.replicas import lits

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.conversion.declaration_file import read_declaration
from nnunetv2_cdpd.conversion.registry import public_dataset, public_datasets
from nnunetv2_cdpd.conversion.run import convert
from nnunetv2_cdpd.errors import UserError

SPEC = """
name: CLINIC
images: scans/{case}
dicom: true
labels: segmentations/{case}_v*.nii.gz
values: {1: liver, 2: liver_tumor, 5: kidney, 9: null}
nested: {liver_tumor: liver}
merged_labels: {kidney: [right_kidney, left_kidney]}
annotates: [liver, kidney]
license: internal
reference: ours
leave_out: {p3: wrong patient}
"""


@pytest.fixture
def clinic(tmp_path, nnunet_folders):
    (tmp_path / "my.yaml").write_text(SPEC)
    for case in ("p1", "p2", "p3"):
        truth = make_truth(["liver", "liver_tumor", "kidney", "other"], int(case[1]))
        write_dicom(tmp_path / f"data/scans/{case}/series", truth.image)
        label = sum(value * truth.masks[name] for value, name in ((1, "liver"), (2, "liver_tumor"), (5, "kidney"), (9, "other")))
        write_nifti(tmp_path / f"data/segmentations/{case}_v2.nii.gz", label.astype(np.uint8))
    return tmp_path


def test_own_data_need_no_code(clinic):
    outcome = convert(
        read_declaration(clinic / "my.yaml"), clinic / "data", num_processes=1, progress=False, report=lambda line: None
    )
    assert outcome.complete and list(outcome.done) == ["CLINIC_p1", "CLINIC_p2"]
    assert outcome.skipped == {"CLINIC_p3": "wrong patient"}
    dataset_json = json.loads((outcome.folder / "dataset.json").read_text())
    annotation = read_annotation(dataset_json)
    assert dict(zip(annotation.classes, annotation.regions)) == {"liver": (1, 2), "liver_tumor": (2,), "kidney": (3,)}
    (source,) = annotation.sources
    assert (source.name, source.annotated_classes) == ("CLINIC", ("liver", "kidney"))
    assert (source.license, source.reference) == ("internal", "ours")
    assert dataset_json["cdpd"]["stands_for"] == {"kidney": ["right_kidney", "left_kidney"]}


def test_masks_of_own_data_are_named_by_structure(tmp_path, nnunet_folders):
    truth = make_truth(["liver", "spleen"], 1)
    write_nifti(tmp_path / "data/a/ct.nii.gz", truth.image)
    for name, mask in truth.masks.items():
        write_nifti(tmp_path / f"data/a/masks/{name.upper()}.nii.gz", mask.astype(np.uint8))
    (tmp_path / "my.yaml").write_text(
        "name: MASKS\nimages: '{case}/ct.nii.gz'\nlabels: '{case}/masks/{structure}.nii.gz'\nmasks: true\n"
        "values: {LIVER: liver, SPLEEN: spleen}\n"
    )
    outcome = convert(
        read_declaration(tmp_path / "my.yaml"), tmp_path / "data", num_processes=1, progress=False, report=lambda line: None
    )
    assert outcome.complete and list(outcome.done) == ["MASKS_a"]


@pytest.mark.parametrize(
    "change, words",
    [
        (("name: CLINIC", ""), "name missing"),
        (("name: CLINIC", "name: my clinic"), "becomes part of file names"),
        (("name: CLINIC", "name: [a]"), "name: expected text"),
        (("dicom: true", "dicom: perhaps"), "dicom: expected true or false, got 'perhaps'"),
        (("dicom: true", "color: red"), "unknown key color; known are name"),
        (("images: scans/{case}", "images: scans"), "images: 'scans' has no {case}"),
        (("dicom: true", "masks: true"), "masks need {structure}"),
        (("dicom: true", "slices: true"), "add `dicom: true`, or give NIfTI labels"),
        (("{1: liver,", "{one: liver,"), "'one' is no label value"),
        (("{1: liver,", "{0: liver,"), "0 is background, not 'liver'"),
        (("values: {1: liver, 2: liver_tumor, 5: kidney, 9: null}", "values: 1"), "values: expected `value: structure` lines"),
        (("9: null", "9: ignore"), "ignore is no structure but nnU-Net's own word; `VALUE: background` under `values` drops"),
        (("[right_kidney, left_kidney]", "[right_kidney, background]"), "background is no structure but nnU-Net's own word"),
        (("nested: {liver_tumor: liver}", "nested: liver"), "nested: expected"),
        (("nested: {liver_tumor: liver}", "nested: {heart: liver}"), "`nested` names heart"),
        (("annotates: [liver, kidney]", "unions: {both: []}"), "`unions`: both is made of no structure"),
        (("license: internal", "license: a\nlicense: b"), "license given twice"),
        (("license: internal", "license: {"), "not valid YAML"),
        (("license: internal", "case: '('"), "case: '(' is no regular expression (missing ), unterminated subpattern"),
        (("license: internal", "case: 'x{9999999999}'"), "is no regular expression"),
        (("license: internal", "case: '(?P<case>x)'"), "names a group; write (...) in place of (?P<case>...)"),
        (("scans/{case}", "scans/{1abc}_{case}"), "images: {1abc} in 'scans/{1abc}_{case}' is no word"),
        (("images: scans/{case}", "images: scans\\{case}"), "'; write it from the folder that is converted on, with /"),
        (("images: scans/{case}", "images: /data/scans/{case}"), "images: '/data/scans/{case}'; write it from the folder"),
        (("images: scans/{case}", "images: D:/scans/{case}"), "images: 'D:/scans/{case}'; write it from the folder"),
        (("name: CLINIC", "name: " + "x" * 300), "name: 300 letters; it becomes part of file names, give at most 100"),
    ],
)
def test_mistake_in_the_yaml_is_named(change, words, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(SPEC.replace(*change))
    with pytest.raises(UserError) as caught:
        read_declaration(path)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_a_template_may_begin_with_the_folder_itself(tmp_path):
    (tmp_path / "my.yaml").write_text(SPEC.replace("images: scans/{case}", "images: ./scans/{case}"))
    assert read_declaration(tmp_path / "my.yaml").images == ("scans/{case}",)


def test_yaml_of_another_kind_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_text("- a\n- b\n")
    with pytest.raises(UserError, match="expected `key: value` lines"):
        read_declaration(tmp_path / "my.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_declaration(tmp_path / "nowhere.yaml")


# ---- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_link(monkeypatch):
    monkeypatch.setattr("nnunetv2_cdpd.cli.main.ensure_linked", lambda: None)


def test_convert_prints_what_came_of_it_and_what_is_next(tmp_path, nnunet_folders, capsys, quiet_link):
    lits(tmp_path / "download")
    assert main(["convert", "lits", str(tmp_path / "download"), "-d", "7", "--np", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 converted, 0 skipped, 0 failed" in out and "nnUNetv2_plan_and_preprocess -d 7 -pl nnUNetPlannerCDPD " in out


def test_convert_exits_with_1_when_a_case_failed(tmp_path, nnunet_folders, capsys, quiet_link):
    lits(tmp_path / "download")
    (tmp_path / "download/Training Batch 1/volume-0.nii").write_bytes(b"torn")
    assert main(["convert", "LiTS", str(tmp_path / "download"), "-np", "1"]) == 1
    out, err = capsys.readouterr()
    assert "2 converted, 0 skipped, 1 failed" in out and "Next:" not in out
    assert "cdpd: error: case 'LiTS_0': " in err


def test_convert_takes_a_yaml_instead_of_a_name(clinic, capsys, quiet_link):
    assert main(["convert", "--spec", str(clinic / "my.yaml"), str(clinic / "data"), "-np", "1"]) == 0
    assert "2 converted, 1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["convert", "folder"], ["convert", "LiTS", "folder", "--spec", "my.yaml"]])
def test_convert_wants_either_a_name_or_a_yaml(argv, capsys, quiet_link):
    assert main(argv) == 1
    assert "give the name of a public dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, hint",
    [("kits", "KITS19 or KITS21 or KITS23"), ("LiST", "LiTS"), ("flare", "FLARE22"), ("xyz", "`cdpd sources` lists them")],
)
def test_unknown_dataset_is_answered_with_close_ones(name, hint):
    with pytest.raises(UserError, match=f"{hint}.* For your own data write a YAML: `cdpd convert --spec my.yaml FOLDER`"):
        public_dataset(name)


def test_sources_lists_all_and_describes_one(capsys):
    assert main(["sources"]) == 0
    out = capsys.readouterr().out
    for dataset in public_datasets().values():
        assert f"{dataset.name}: " in out and dataset.license in out and dataset.link in out and dataset.size in out
    for name, dataset in public_datasets().items():
        assert main(["sources", name.lower()]) == 0
        out = capsys.readouterr().out
        assert dataset.title in out and dataset.layout.strip().splitlines()[0] in out
        assert all(erratum.reason.split()[0] in out for erratum in dataset.errata)
        assert ("--split-sides" in out) == bool(dataset.merged_labels) and "argument" not in out
