"""benchmarks/evidence: tables and values of the pages are those of the result files."""

import json
import math

import numpy as np
import pytest
from builders.project import CLONE


def result(evidence, arm, split, seed, scores, cpu_seconds=600):
    return evidence.results.Result("equal_contours", arm, split, seed, cpu_seconds, {}, {}, scores)


def both(dice, distance=1.0):
    return {"Dice": dice, "HD95_mm": distance}


def test_a_table_is_that_of_its_files(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.results, "FOLDER", tmp_path)
    for seed, (dice, other) in enumerate([(0.5, 0.7), (0.7, 0.7)]):
        control = {"a": {"Larynx": both(0.5)}, "b": {"Larynx": both(0.6), "Mandible": both(0.8)}}
        ours = {"a": {"Larynx": both(dice)}, "b": {"Larynx": both(other), "Mandible": both(0.0, None)}}
        evidence.results.write_result(result(evidence, "complete", 0, seed, control))
        evidence.results.write_result(result(evidence, "masked", 0, seed, ours, None if seed else 1200))
    evidence.results.write_result(result(evidence, "masked", 1, 0, {"c": {"Larynx": both(0.1)}}))  # no control: not compared
    with np.errstate(all="ignore"):
        rows = [line.split(" | ") for line in evidence.tables.study_table("equal_contours").splitlines()]
    assert len(rows) == 4
    complete, masked = (dict(zip(rows[0], row)) for row in rows[2:])
    assert complete["Larynx"] == "0.550" and complete["Mandible"] == "0.800" and complete["mean"] == "**0.675**"
    assert masked["Larynx"] == f"{(0.6 + 0.7 + 0.1) / 3:.3f}" and masked["Mandible"] == "0.000"
    # larynx: a +10, b +10; mandible: b -80
    (difference,) = [cell for name, cell in masked.items() if name.startswith("against")]
    assert difference.startswith("-35.0 (")
    assert masked["HD95 mm"] == "1 (1 not found)"
    assert masked["runs"] == "3" and complete["runs"] == "2" and masked["CPU min |"] == "15 |" and complete["CPU min |"] == "10 |"
    assert "on partial patients" not in rows[0], "there is one kind only"


def test_a_table_tells_both_kinds_of_patients_apart(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.results, "FOLDER", tmp_path)
    for arm, all_organs, few in (("complete", 0.5, 0.6), ("masked", 0.4, 0.7)):
        scores = {name: dict.fromkeys(evidence.patients.ORGANS, both(all_organs)) for name in "ab"}
        scores |= {name: {"Larynx": both(few)} for name in "cd"}
        evidence.results.write_result(result(evidence, arm, 0, 0, scores))
    head, _, _, masked = [line.split(" | ") for line in evidence.tables.study_table("equal_contours").splitlines()]
    told = dict(zip(head, masked))
    assert told["on complete patients"] == "-10.0 (-10.0 to -10.0)" and told["on partial patients"] == "+10.0 (+10.0 to +10.0)"


def test_the_table_of_extension(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.results, "FOLDER", tmp_path)

    def write(arm, larynx, mandible, cpu_seconds=60, seed=0, study="extension"):
        scores = {"a": {organ: both(dice) for organ, dice in (("Larynx", larynx), ("Mandible", mandible)) if dice is not None}}
        evidence.results.write_result(evidence.results.Result(study, arm, 0, seed, cpu_seconds, {}, {}, scores))

    write("joint", 0.8, 0.5)
    write("joint_batch_dice", 0.81, 0.53)
    write("without_Larynx", None, 0.6)
    write("without_Mandible", 0.7, None)
    write("added_Larynx_5", 0.6, 0.6, 90)
    write("added_Mandible_5", 0.7, 0.5)
    write("without_Mandible", 0.7, None, seed=1)
    write("added_Mandible_20", 0.69, 0.55, None, seed=1)  # of a network of another seed than `joint`
    header, _, larynx, mandible, mean = evidence.extension.extension_table().splitlines()
    assert header.count("|") == larynx.count("|") == mean.count("|") == 10
    assert larynx == "| Larynx | 0.800 | 0.810 | 0.600 (75%) | 1.5 | 0.000 |  |  |  |"
    assert mandible == "| Mandible | 0.500 | 0.530 | 0.500 (100%) | 1.0 | 0.000 | 0.550 (110%) |  | 0.010 |"
    sides = {"without": (0.7, 0.6), "mirrored": (0.1, 0.5)}
    for arm, dice in sides.items():
        scores = {"a": {"LeftParotid": both(dice[0]), "Larynx": both(dice[1])}}
        evidence.results.write_result(evidence.results.Result("extension", f"{arm}_RightParotid", 0, 0, 60, {}, {}, scores))
    assert evidence.extension.one_side_table().splitlines()[2:] == ["| LeftParotid | 0.700 | 0.100 | 0.600 | 0.500 |"]
    write("unfrozen_Larynx_5", 0.7, 0.55, 300)
    assert evidence.extension.unfrozen_table().splitlines()[2:] == [
        "| Larynx | 5 | of the batch | 0.600 | 0.700 | 0.600 | 0.550 | -5.0 (+nan to +nan) | 5.0 |"
    ]
    assert evidence.extension.extension_before_table() == ""
    write("added_Larynx_5", 0.4, 0.6, study="extension_before")
    write("added_Larynx_5", 0.5, 0.6, seed=1, study="extension_before")
    write("added_Larynx_20", 0.5, 0.6, study="extension_before")  # not measured anew
    assert evidence.extension.extension_before_table().splitlines()[2:] == [
        "| 5 | Larynx | 0.450 | 1 | 0.600 | 1 |",
        "| 5 | **mean of both** | 0.450 | 1 | 0.600 | 1 |",
        "| 20 | Larynx | 0.500 | 1 |  |  |",
    ]
    assert mean.startswith("| **mean** | **0.650** | 0.670 | **0.550** (88%, ")


def test_the_table_of_decoding(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.decoding, "FOLDER", tmp_path)
    whole = {organ: [0.5, 0.5] for organ in evidence.patients.ORGANS}
    for split, larynx in enumerate(([0.5, 0.6], [0.7, 0.6])):
        scores = {"a": whole | {"Larynx": larynx}, "b": {"Brainstem": [0.2, 0.4]}, "c": {"Brainstem": [0.4, 0.4]}}
        content = {"iterations": 60, "scores": scores}
        evidence.results.write_json(tmp_path / "decoding" / f"equal_contours_ours_split{split}_seed0.json", content)
    other = {"iterations": 60, "scores": {"d": {"Brainstem": [0.6, 0.6]}}}  # by one network only
    evidence.results.write_json(tmp_path / "decoding" / "equal_contours_ours_split2_seed0.json", other)
    rows = evidence.decoding.decoding_table().splitlines()[2:]
    assert rows[5] == "| complete | Larynx | 0.600 | 0.600 | +0.0 (+nan to +nan) | 50% | 50% |", "one patient has no interval"
    assert rows[-2].startswith("| partial | Brainstem | 0.400 | 0.467 | +6.7 (") and rows[-2].endswith(" | 0% | 40% |")
    assert rows[-1].startswith("| partial | **mean** | 0.400 | 0.467 | +6.7 (")


def test_the_table_of_tumors(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.tumor_tables, "FOLDER", tmp_path)
    assert evidence.tumor_tables.tumors_table() == ""
    for seed, (kidney, size) in enumerate(((0.9, 1.0), (0.4, 0.25))):
        content = {"dice": {"liver": 0.9, "liver_tumor": 0.8, "kidney_tumor": kidney}, "size": {"kidney_tumor": size}}
        evidence.results.write_json(evidence.tumor_tables.path_of("bright_bones", "batch", seed), content)
    row = evidence.tumor_tables.tumors_table().splitlines()[2]
    assert row == "| as bright as kidney tumors | Dice of the batch | 0.900, 0.400 | 1.00, 0.25 | 0.800 | 0.900 |"


def test_result_files_hold_no_infinities(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.results, "FOLDER", tmp_path)
    one = result(evidence, "ours", 2, 1, {"a": {"Larynx": both(0.0, None)}})
    evidence.results.write_result(one)
    path = evidence.results.path_of("equal_contours", "ours", 2, 1)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    (found,) = evidence.results.results_of("equal_contours", "ours")
    assert found == one and math.isinf(found.metric("HD95_mm", ["a"])[0, list(evidence.patients.ORGANS).index("Larynx")])


def test_pages_hold_the_tables_and_values_of_the_result_files(evidence):
    texts = {page: page.read_text() for page in evidence.tables.PAGES}
    made, said = evidence.tables.tables(), evidence.values.values()
    written = {page: evidence.values.with_values(evidence.tables.with_tables(text, made), said) for page, text in texts.items()}
    assert written == texts, "run: python benchmarks/evidence write"


def test_marks_are_filled(evidence):
    marks = "before\n<!-- table {0} -->\n{1}<!-- end of table {0} -->\nafter"
    for former in ("", "former\n"):
        assert evidence.tables.with_tables(marks.format("x", former), {"x": "a\nb"}) == marks.format("x", "a\nb\n")
    with pytest.raises(ValueError, match="table x has no end"):
        evidence.tables.with_tables("<!-- table x -->\nformer\n", {"x": "a"})


def test_a_mark_without_results_is_told(evidence):
    with pytest.raises(ValueError, match="equal_contours"):
        evidence.tables.with_tables("<!-- table equal_contours -->\nold\n<!-- end of table equal_contours -->", {})


def test_an_organ_that_is_taken_away_as_a_whole_has_no_distance_before_either(evidence):
    before, after = (np.array(values).reshape(1, 2, 1, 2) for values in ([0.5, 100, 0.7, 10], [0.0, np.nan, 0.7, 6]))
    row = evidence.cleaning._row("Larynx", before, after)  # Dice, HD95: one run, two patients
    assert row.startswith("| Larynx | 10 | 6 | 0.600 | 0.350 |")


def test_figures_are_written_at_the_end_and_make_the_table_again(evidence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evidence.figures, "FOLDER", tmp_path)
    columns = [("network", ""), ("s", ".2f"), ("GiB", ".1f"), ("voxels", "d")]
    for size, seconds in ((96, 1.255), (64, 0.5)):
        figures = evidence.figures.Figures("/some/benchmarks/network.py", str(size), columns, size=size)
        figures.add("plain", seconds, None, size)
        assert not figures.path.exists(), "a run that is stopped replaces nothing"
        figures.add("ours", "does not fit", 2, 0)
        figures.write()
    printed = capsys.readouterr().out
    head = "| network | s | GiB | voxels |\n|---|---:|---:|---:|\n"
    small, large = (
        "| plain | 0.50 |  | 64 |\n| ours | does not fit | 2.0 | 0 |",
        "| plain | 1.25 |  | 96 |\n| ours | does not fit | 2.0 | 0 |",
    )
    assert printed == f"{head}{large}\n{head}{small}\n"
    assert evidence.figures.figure_tables() == {
        "network_64": head + small,
        "network_96": head + large,
        "network": f"{head}{small}\n{large}",
    }
    kept = json.loads((tmp_path / "network" / "96.json").read_text())
    assert kept["setting"] == {"size": 96} and kept["rows"][0] == ["plain", 1.255, None, 96] and "torch" in kept["versions"]
    with pytest.raises(ValueError, match="1 cells of 4"):
        figures.add("plain")
    other = evidence.figures.Figures("network.py", "gpu", [("network", "")])
    other.add("ours")
    other.write()
    assert sorted(evidence.figures.figure_tables()) == ["network_64", "network_96", "network_gpu"], "their columns differ"


def test_every_script_with_figures_has_its_tables(evidence):
    writers = {path.stem for path in (CLONE / "benchmarks").glob("*.py") if "Figures(" in path.read_text()}
    former = {"demo_before", "earlier"}  # of scripts that no longer print so
    assert writers | former == set(evidence.figures.SCRIPTS)


def demo_run(evidence, run, seed, dice, **facts):
    facts = {"quick": False, "cpu_minutes": 11.0, "cores_shared": False, "volumes": 3, "versions": {}} | facts
    return evidence.demo_tables.DemoRun(run, seed, dice=dice, **facts)


def test_the_table_and_the_values_of_the_demo(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.demo_tables, "FOLDER", tmp_path)
    runs = [
        demo_run(evidence, 0, None, {"liver": 0.9, "aorta": 0.8}, cores_shared=True),
        demo_run(evidence, 0, 0, {"liver": 0.95, "aorta": 0.75}),
        demo_run(evidence, 1, 0, {"liver": 0.96, "aorta": 0.9}, cpu_minutes=14.0),
        demo_run(evidence, 0, 0, {"liver": 0.2, "aorta": 0.0}, quick=True, cpu_minutes=1.5),
    ]
    for run in runs:
        evidence.demo_tables.write_run(run)
    found = evidence.demo_tables.demo_runs()
    assert len(found) == 4 and all(run in found for run in runs)
    table = evidence.demo_tables.demo_table(found).splitlines()
    assert table[0] == "| run | CPU min | liver | aorta | mean |" and len(table) == 6
    assert "| 0, before the demo had a seed | 11.0 * | 0.900 | 0.800 | 0.850 |" in table
    assert "| 1, seed 0 | 14.0 | 0.960 | 0.900 | 0.930 |" in table
    assert "| 0, seed 0, --quick | 1.5 | 0.200 | 0.000 | 0.100 |" in table
    said = evidence.demo_tables.demo_values()
    assert said["demo_quick_cpu_minutes"] == "2"
    assert said["demo_unseeded_mean_dice"] == "0.850" and said["demo_unseeded_cpu_minutes"] == "11", "no run had its cores alone"
    assert said["demo_seeded_runs"] == "2" and said["demo_seeded_volumes"] == "3" and said["demo_seeded_classes"] == "2"
    assert said["demo_seeded_mean_dice"] == "0.850 and 0.930" and said["demo_seeded_lowest_dice"] == "0.750"
    assert said["demo_seeded_cpu_minutes"] == "12"


def test_the_table_of_openkbp(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.openkbp_tables, "FOLDER", tmp_path)
    assert evidence.openkbp_tables.openkbp_table() == ""
    (tmp_path / "openkbp").mkdir()
    means = {"Larynx": {"Dice": 0.5, "HD95_mm": 10.0, "SurfaceDice": 0.25}}
    former = {"trainer": "A", "as_printed": True, "means": {"predicted": means}}
    (tmp_path / "openkbp" / "A.json").write_text(json.dumps(former))
    head, _, *rows = evidence.openkbp_tables.openkbp_table().splitlines()
    assert head == "| trainer | organ | Dice | HD95 mm | surface Dice at 3 mm |", "nothing was cleaned"
    assert len(rows) == 8 and rows[-1] == "| A | **mean** | 0.500 | 10.0 | 0.250 |"

    def scored(dice, distance):
        return {"Dice": dice, "HD95_mm": distance, "SurfaceDice": 1.0}

    predicted = {"p": {"Larynx": scored(0.0, None), "Mandible": scored(0.75, 4.0)}, "q": {"Larynx": scored(0.5, 7.0)}}
    cleaned = {"p": {"Larynx": scored(0.25, 3.0)}}
    evidence.openkbp_tables.write_scores("B", {"predicted": predicted, "cleaned": cleaned}, {"device": "cpu"})
    head, _, *rows = evidence.openkbp_tables.openkbp_table().splitlines()
    assert head.endswith("| Dice, cleaned | HD95 mm, cleaned | surface Dice at 3 mm, cleaned |") and len(rows) == 16
    assert "| A | Larynx | 0.500 | 10.0 | 0.250 |  |  |  |" in rows
    assert "| B | Larynx | 0.250 | 7.0 | 1.000 | 0.250 | 3.0 | 1.000 |" in rows, "what is not found has no distance"
    assert "| B | Mandible | 0.750 | 4.0 | 1.000 |  |  |  |" in rows
    assert rows[-1] == "| B | **mean** | 0.500 | 5.5 | 1.000 | 0.250 | 3.0 | 1.000 |"


def test_openkbp_reads_the_scores_that_it_keeps(evidence, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "benchmarks"))
    import openkbp

    (tmp_path / "metrics.csv").write_text(
        "case,source,class,Dice,IoU,HD95_mm,SurfaceDice\np,s,Larynx,0.12345,0.1,inf,0\np,s,Mandible,1,1,2.5,0.75\n"
    )
    assert openkbp.read_scores(tmp_path) == {
        "p": {
            "Larynx": {"Dice": 0.1235, "HD95_mm": None, "SurfaceDice": 0.0},
            "Mandible": {"Dice": 1.0, "HD95_mm": 2.5, "SurfaceDice": 0.75},
        }
    }


def test_values_stand_between_marks_within_a_line(evidence):
    with_values = evidence.values.with_values
    text = "It was <!-- value dice -->0.1<!-- end --> in\n<b>all</b> <!-- value runs -->7<!-- end --> runs."
    assert with_values(text, {"dice": "0.9", "runs": "3", "other": "5"}) == text.replace("0.1", "0.9").replace("7<!", "3<!")
    for wrong, told in (
        (text, "no results for value runs"),
        ("was\n<!-- value dice -->0.1<!-- end --> in", "begins a line"),
        ("was <!-- value dice -->0.1 in", "without its end"),
        ("was <!-- value dice -->0.1 in <!-- value runs -->2<!-- end -->", "without its end"),
    ):
        with pytest.raises(ValueError, match=told):
            with_values(wrong, {"dice": "0.9"})
