"""Licenses in a merge: what is kept for a use, what is left out and why, and which statements contradict each other."""

import json

import pytest
from builders.merge import make_dataset, read

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge import merge_datasets
from nnunetv2_cdpd.merge.licensing import left_out_lines
from nnunetv2_cdpd.merge.output import MERGE_RECORD_FILE


@pytest.fixture
def four(raw):
    """Four sources: CC BY, NC, a text that is no license, and none."""
    make_dataset(raw / "Dataset301_FREE", {"liver": 1}, ["a1", "a2"], licence="CC BY 4.0")
    make_dataset(raw / "Dataset302_NC", {"spleen": 1, "liver": 2}, ["b1"], licence="CC BY-NC-SA 4.0")
    make_dataset(raw / "Dataset303_ODD", {"pancreas": 1}, ["c1"], licence="see our website")
    make_dataset(raw / "Dataset304_NONE", {"colon": 1}, ["d1"])
    return raw


def merge(*datasets, dataset_id=400, **options):
    messages = []
    given = {"num_processes": 1, "progress": False, "report": messages.append, "search_duplicates": False} | options
    return merge_datasets(datasets, dataset_id, "M", **given), messages


def content(folder):
    return json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize(
    ("use", "kept"), [("commercial", ["FREE"]), ("research", ["FREE", "NC"]), (None, ["FREE", "NC", "ODD", "NONE"])]
)
def test_only_sources_that_allow_the_use_are_kept(four, use, kept):
    folder, _ = merge(301, 302, 303, 304, license=use)
    merged = content(folder)
    assert list(merged["cdpd"]["sources"]) == kept
    assert set(merged["cdpd"]["case_source"].values()) == set(kept)
    assert ("license_use" in merged["cdpd"]) == (use is not None)
    left = {each["source"]: each for each in merged["cdpd"].get("left_out", ())}
    assert set(left) == {"FREE", "NC", "ODD", "NONE"} - set(kept)
    if use == "commercial":
        assert left["NC"]["license"] == "CC BY-NC-SA 4.0" and "CC-BY-NC-SA-4.0 allows no commercial use" in left["NC"]["why"]
        assert left["ODD"]["why"].startswith("its license is none that the table knows")
        assert left["NONE"]["license"] is None and left["NONE"]["why"].startswith("no license is stated")
        header = json.loads((folder / MERGE_RECORD_FILE).read_text().splitlines()[0])
        assert [line for line in header["inputs"] if line.startswith("without source NC (CC BY-NC-SA 4.0): ")]


def test_the_end_of_the_command_names_what_was_left_out(four, capsys):
    fast = ["-np", "1", "--no-duplicates-search"]
    for more in (["--dry-run"], []):
        assert (
            main(["merge", "-d", "301", "302", "304", "--id", "400", "--name", "M", "--license", "commercial", *fast, *more]) == 0
        )
        out = capsys.readouterr().out
        assert "left out, as only sources for commercial use were asked for:" in out
        assert "  NC (CC BY-NC-SA 4.0): CC-BY-NC-SA-4.0 allows no commercial use" in out
        assert "`datasets: {Dataset304_NONE: {license: LicenseRef-own}}`" in out


def test_the_yaml_states_the_license_of_a_source(four):
    spec = {"datasets": {"304": {"license": "own"}, "303": {"license": "CC0"}, "301": {"license": "research only"}}}
    folder, messages = merge(301, 302, 303, 304, license="commercial", spec=spec)
    assert list(content(folder)["cdpd"]["sources"]) == ["ODD", "NONE"]
    assert content(folder)["cdpd"]["sources"]["NONE"]["license"] == "own"
    (note,) = [line for line in messages if "'FREE'" in line and "YAML" in line]
    assert note == (
        "note: source 'FREE': the YAML states the license 'research only', its dataset.json 'CC BY 4.0'; the YAML's holds"
    )


def test_statements_that_contradict_the_public_dataset_are_told_and_both_bind(raw):
    make_dataset(raw / "Dataset301_KITS23", {"left_kidney": 1}, ["a1"], licence="MIT")
    make_dataset(raw / "Dataset302_FREE", {"liver": 1}, ["b1"], licence="CC0")
    for use, kept in ((None, ["KITS23", "FREE"]), ("commercial", ["FREE"])):
        folder, messages = merge(301, 302, license=use, update=True)
        assert list(content(folder)["cdpd"]["sources"]) == kept
        assert any("states the license 'MIT', the public dataset KITS23 has 'CC BY-NC-SA 4.0'" in line for line in messages)
    folder, _ = merge(301, 302, license="commercial", update=True, spec={"datasets": {"301": {"license": "MIT"}}})
    assert list(content(folder)["cdpd"]["sources"]) == ["KITS23", "FREE"]  # the user decided


def test_a_dataset_json_that_contradicts_itself_is_told_and_all_it_says_binds(raw):
    make_dataset(raw / "Dataset301_A", {"liver": 1}, ["a1"], licence="CC BY 4.0", license="CC BY-NC 4.0")
    block = {"version": 1, "sources": {"B": {"annotated_classes": ["spleen"], "license": "MIT"}}}
    make_dataset(raw / "Dataset302_B", {"spleen": 1}, ["b1"], licence="research only", cdpd=block)
    make_dataset(raw / "Dataset303_C", {"colon": 1}, ["c1"], licence="CC BY 4.0", license="cc-by-4.0")
    folder, messages = merge(301, 302, 303, license="commercial")
    assert list(content(folder)["cdpd"]["sources"]) == ["C"]
    (note,) = [line for line in messages if "source 'A'" in line]
    assert "states the license 'CC BY 4.0', its dataset.json states the license 'CC BY-NC 4.0'" in note
    assert any("'MIT', its dataset.json states the license 'research only'" in line for line in messages)
    # the merged dataset states the one of its only source, for all of it too
    again, messages = merge(400, license="commercial", dataset_id=401)
    assert list(content(again)["cdpd"]["sources"]) == ["C"] and not any("states" in line for line in messages)


def test_a_public_name_alone_allows_nothing(raw):
    make_dataset(raw / "Dataset301_TotalSegmentator", {"liver": 1}, ["a1"])
    make_dataset(raw / "Dataset302_FREE", {"liver": 1}, ["b1"], licence="CC0")
    folder, messages = merge(301, 302, license="research")
    assert list(content(folder)["cdpd"]["sources"]) == ["FREE"]
    assert any("that of the public dataset TotalSegmentator is 'CC BY 4.0'" in line for line in messages)


def test_a_dataset_of_several_sources_keeps_those_that_are_allowed(four):
    folder, _ = merge(301, 302, 303, spec={"datasets": {"303": {"license": "CC0"}}})
    make_dataset(four / "Dataset305_MORE", {"bladder": 1}, ["e1"], licence="CC0")
    again, _ = merge(400, 305, license="commercial", dataset_id=401)
    annotation = read_annotation(content(again))
    assert [source.name for source in annotation.sources] == ["FREE", "ODD", "MORE"]
    assert annotation.classes == ("liver", "pancreas", "bladder")  # the spleen was annotated by NC only
    assert sorted(content(again)["dataset"]) == ["a1", "a2", "c1", "e1"]
    assert not (again / "labelsTr/b1.nii.gz").exists()
    before, after = read(folder / "labelsTr/c1.nii.gz"), read(again / "labelsTr/c1.nii.gz")
    value = read_annotation(content(folder)).values[read_annotation(content(folder)).classes.index("pancreas")]
    assert ((before == value) == (after == annotation.values[1])).all() and (after == annotation.values[1]).any()


def test_lines_of_the_yaml_on_classes_that_are_gone_are_passed_over(four):
    renamed = {"302": {"name": "Renamed", "labels": {"spleen": "my spleen"}}, "304": {"license": "own"}}
    spec = {
        "datasets": renamed,
        "nested": {"my spleen": "liver"},
        "compatible": [["my spleen", "liver"], ["colon", "liver"]],
        "scoped": {"liver": ["Renamed"]},
        "prompts": {"my spleen": "A CT of a spleen", "colon": "A CT of a colon"},
    }
    folder, _ = merge(301, 302, 304, license="commercial", spec=spec)
    annotation = read_annotation(content(folder))
    assert annotation.classes == ("liver", "colon") and frozenset(("colon", "liver")) in annotation.compatible
    assert annotation.class_prompts == {"colon": ("A CT of a colon",)}
    with pytest.raises(UserError, match="`nested` names nothing"):  # what is wrong anyway is told
        merge(301, 302, 304, license="commercial", update=True, spec={**spec, "nested": {"nothing": "liver"}})


def test_a_license_text_of_others_is_told_in_one_short_line(raw):
    make_dataset(raw / "Dataset301_KITS23", {"colon": 1}, ["a1"], licence="CC BY\n4.0\x1b[31m, <b>ask</b>", license="MIT " * 1000)
    make_dataset(raw / "Dataset302_FREE", {"liver": 1}, ["b1"], licence="CC0")
    folder, messages = merge(301, 302, license="commercial")
    block = content(folder)["cdpd"]
    lines = [*left_out_lines(block), *(line for line in messages if line.startswith("note: source"))]
    assert len(lines) == 3 and all(line.isprintable() and len(line) < 1000 for line in lines)
    assert lines[1].startswith(r"  KITS23 ('CC BY\n4.0\x1b[31m, <b>ask</b>'): its license is none that the table knows")
    assert block["left_out"][0]["license"] == "CC BY\n4.0\x1b[31m, <b>ask</b>"  # as it was stated


def test_another_use_needs_update(four):
    merge(301, 302, license="commercial")
    for other in ("research", None):
        with pytest.raises(UserError, match="was merged from .*without source NC .*argument update"):
            merge(301, 302, license=other)
    folder, _ = merge(301, 302, license="research", update=True)
    assert set(content(folder)["cdpd"]["sources"]) == {"FREE", "NC"}


def test_nothing_left_is_an_error_that_says_why(four):
    with pytest.raises(
        UserError, match=r"argument license commercial: no source is left: NC \(CC BY-NC-SA 4.0\): .*NONE: no license"
    ):
        merge(302, 304, license="commercial")
    assert not (four / "Dataset400_M").exists()
    with pytest.raises(UserError, match="argument license any: choose from commercial, research"):
        merge(301, 302, license="any")
