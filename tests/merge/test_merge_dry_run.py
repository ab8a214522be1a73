"""The YAML that a merge inferred, which makes the same merged dataset again, and a dry run."""

import numpy as np
import pytest
from builders.merge import contents, merge, read, states
from builders.merge_plan import dataset, plan_of

from nnunetv2_cdpd.annotation import dataset_json_entries
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import yaml_text
from nnunetv2_cdpd.merge.spec import read_merge_spec
from nnunetv2_cdpd.merge.written_spec import inferred_spec

LITS = dataset("Dataset301_LITS", {"Liver": 1, "liver tumour": 2})
SIDES = dataset("Dataset302_SIDES", {"kidney_left": 1, "kidney_right": 2})
OTHER = dataset("Dataset303_OTHER", {"Left Kidney": 1, "Kidney_R": 2, "my gland": 3})
KITS = dataset("Dataset304_KITS", {"kidneys": 1, "tumor": 2})


# ---- the YAML that was inferred --------------------------------------------------------------------------------------

REGIONS = dataset("Dataset5_R", {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, order=[1, 2, 3])
OVERLAP = dataset("Dataset6_O", {"a": [1, 2], "b": [2, 3], "c": 2}, order=[1, 3, 2])
ODD = dataset("Dataset7_N", {"no": 1, "1.5": 2, "a: b, {c}": 3, "ignore": 4})


def merged_before():
    first = plan_of(KITS, SIDES, nested={"tumor": ["left_kidney", "right_kidney"]}, datasets={"304": {"task_prompt": "A CT"}})
    entries = dataset_json_entries(first.annotation)
    return dataset("Dataset390_M", entries["labels"], entries["regions_class_order"], cdpd=entries["cdpd"])


@pytest.mark.parametrize(
    "inputs, spec",
    [
        ((LITS, SIDES, OTHER, KITS), {}),
        ((LITS, KITS), {}),
        ((KITS, SIDES), {"merged_labels": {"kidneys": None}}),
        ((REGIONS, OVERLAP, ODD), {}),
        ((LITS, merged_before()), {"compatible": [["liver", "left_kidney"]]}),
        ((merged_before(),), {"datasets": {"390": {"labels": {"left_kidney": "kidney", "right_kidney": "kidney"}}}}),
        ((LITS, SIDES), {"nested": {"liver_tumor": None}, "scoped": {"left_kidney": "SIDES"}}),
        ((SIDES, OTHER), {"datasets": {"302": {"labels": {"kidney_left": "kidney_left"}}}}),
        ((SIDES, OTHER), {"datasets": {"302": {"synonyms": False, "labels": {"kidney_right": "Kidney R"}}}}),
        (
            (LITS, OTHER),
            {"datasets": {"301": {"labels": {"liver tumour": None}, "name": "X"}, "303": {"labels": {"my gland": "ignore"}}}},
        ),
        ((dataset("Dataset8_T", {"lung_tumor": 1}), dataset("Dataset9_L", {"left_lung": 1, "duodenum": 2, "intestine": 3})), {}),
    ],
)
def test_the_inferred_yaml_makes_the_same_plan(inputs, spec, tmp_path):
    plan = plan_of(*inputs, **spec)
    path = tmp_path / "m.yaml"
    path.write_text(yaml_text(inferred_spec(inputs, plan)), encoding="utf-8")
    content = read_merge_spec(path)
    assert not content.scoped and len(content.datasets) == len(inputs)
    again = plan_of(*inputs, **inferred_spec(inputs, plan))
    for fact in ("annotation", "value_maps", "source_names"):
        assert getattr(again, fact) == getattr(plan, fact)
    assert again.naming.stands_for == plan.naming.stands_for
    assert inferred_spec(inputs, again) == inferred_spec(inputs, plan)


def test_the_written_yaml_makes_the_same_dataset(named, tmp_path):
    path = tmp_path / "m.yaml"
    folder, messages = merge(301, 302, write_spec=path)
    assert f"{path}: holds what was inferred, for argument spec" in messages
    np.testing.assert_array_equal(
        read(folder / "labelsTr/b1.nii.gz"), np.array([0, 2, 1, 3])[read(named / "Dataset302_OTHER/labelsTr/b1.nii.gz")]
    )
    before = states(folder)
    _, messages = merge(301, 302, spec=path)
    assert states(folder) == before and any("nothing to do" in text for text in messages)
    written = contents(folder)
    for file in (folder / "labelsTr").iterdir():
        file.unlink()
    (folder / "dataset.json").unlink()
    merge(301, 302, spec=path)
    assert contents(folder) == written


def test_a_file_that_is_there_stays(named, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"m.yaml: is there already and stays; give argument write_spec another file"):
        merge(301, write_spec=path)
    with pytest.raises(UserError, match=r"m.yaml: there is no folder .*none"):
        merge(301, write_spec=tmp_path / "none/m.yaml")
    assert path.read_text() == "mine" and not (named / "Dataset400_M").exists()


# ---- a dry run -------------------------------------------------------------------------------------------------------


def everything(*roots):
    return {str(path): path.stat().st_mtime_ns for root in roots for path in sorted(root.rglob("*"))}


def test_a_dry_run_checks_tells_and_writes_nothing(named, nnunet_folders):
    roots = (named, nnunet_folders.preprocessed)
    before = everything(*roots)
    folder, messages = merge(301, 302, dry_run=True)
    assert everything(*roots) == before and not folder.exists()
    assert any(f"would write {folder}: dataset.json, 3 of 3 label maps in labelsTr" in text for text in messages)
    assert messages[0].startswith("dataset") and "Nothing was written." in messages[-1]
    assert "left_kidney, right_kidney, tumour" in messages[-1]
    _, told = merge(301, 302)
    assert messages[0] == told[0]
    (named / "Dataset301_SIDES/labelsTr/a2.nii.gz").touch()
    before = everything(*roots)
    _, messages = merge(301, update=True, dry_run=True)
    assert any("1 of 2 label maps in labelsTr, remove 1" in text for text in messages)
    _, messages = merge(301, 302, dry_run=True)
    assert any("1 of 3 label maps" in text for text in messages) and everything(*roots) == before


def test_a_dry_run_finds_what_is_wrong_with_the_files(named):
    path = named / "Dataset301_SIDES/labelsTr/a2.nii.gz"
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 problem, nothing was written.*\n.*case 'a2'"):
        merge(301, 302, dry_run=True)
    assert not (named / "Dataset400_M").exists()


def test_the_command_hands_both_options_on(named, tmp_path, capsys):
    given = ["merge", "-d", "301", "302", "--id", "400", "--name", "M", "-np", "1", "--no-duplicates-search"]
    assert main([*given, "--dry-run", "--write-spec", str(tmp_path / "m.yaml")]) == 0
    out = capsys.readouterr().out
    assert f"Nothing was written but {tmp_path / 'm.yaml'}." in out and "for --spec" in out and "Next:" not in out
    assert main([*given, "--spec", str(tmp_path / "m.yaml")]) == 0
    assert main([*given, "--write-spec", str(tmp_path / "m.yaml")]) == 1
    assert "is there already and stays; give --write-spec another file" in capsys.readouterr().err
