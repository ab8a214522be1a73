"""benchmarks/evidence: who is trained on and who is kept back, what is cut off, and tables that are those of the result files."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from builders.project import CLONE


def test_each_complete_patient_is_kept_back_once(patients):
    kept = [patient for split in range(5) for patient in patients.tested(split, partial=False)]
    assert sorted(kept) == patients.complete


@pytest.mark.parametrize("split", range(5))
def test_contours_are_equal_and_nobody_is_trained_on_and_tested(evidence, patients, split):
    study = evidence.studies.STUDIES["equal_contours"]
    tested = study.tested(patients, split)
    assert sum(patient in patients.partial for patient in tested) == 5
    dealt = study.dealt(patients, split)
    complete = dealt.pop(evidence.study.COMPLETE)
    assert not {*tested} & {*complete, *(patient for cases in dealt.values() for patient in cases)}
    assert {*dealt} == {*evidence.patients.SOURCES, *evidence.patients.MIXED_SOURCES}
    for sources in (evidence.patients.SOURCES, evidence.patients.MIXED_SOURCES):
        contours = sum(len(source.organs) * len(dealt[source]) for source in sources)
        # 28 complete patients of 83 here, so 22 or 23 for 24 of them, and 50 others for 48
        assert abs(contours - 7 * len(complete)) <= 4 * 4
        names = [patient for source in sources for patient in dealt[source]]
        assert len(names) == len(set(names)), "a patient belongs to one source"
        assert all(organ in patients.annotated[name] for source in sources for name in dealt[source] for organ in source.organs)


@pytest.mark.parametrize("kind", ["complete", "both"])
def test_a_cross_validation_trains_on_what_patients_have_and_on_nobody_who_is_held_out(evidence, patients, tmp_path, kind):
    cross_validation = evidence.cross_validation
    dealt = cross_validation.TRAINED[kind](patients)
    trained = [patient for cases in dealt.values() for patient in cases]
    assert trained and len(trained) == len({*trained}) and {*trained} < {*patients.annotated}
    for source, cases in dealt.items():
        assert all(set(patients.annotated[patient]) == set(source.organs) for patient in cases)
        assert source.name in evidence.raw_data.IDS
    assert any(patient in patients.partial for patient in trained) == (kind == "both")
    model = cross_validation.CrossValidation(kind, tmp_path, tmp_path)
    written = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cross_validation, "write_datasets", lambda dealt, tested, *_: written.update(dealt=dealt, tested=tested))
        patched.setattr(cross_validation, "merge", lambda work, sources: written.update(merged=[*sources]))
        patched.setattr(cross_validation, "plan", lambda work, dataset, **_: written.update(planned=dataset))
        model.prepare(patients)
    assert sorted([*trained, *written["tested"]]) == sorted(patients.annotated)
    assert written["planned"] == model.dataset and ("merged" in written) == (kind == "both")


def test_contours_are_measured_in_both_kinds_of_patients(evidence, tmp_path, monkeypatch):
    """A cord of 2 x 3 voxels of 5 x 4 mm, of 4 slices 2.5 mm apart: 1.2 cm2, 1 cm."""
    monkeypatch.setattr(evidence.contours, "PATH", tmp_path / "contours.json")
    assert evidence.contours.contours_table() == ""
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[1:5, 2:5, 3:5] = evidence.patients.ORGANS["SpinalCord"]
    labels[0, 0, 0] = evidence.patients.ORGANS["Larynx"]
    annotated = {"a": tuple(evidence.patients.ORGANS), "b": ("SpinalCord",)}
    for patient in annotated:
        for part in ("images", "labels"):
            (tmp_path / part).mkdir(exist_ok=True)
            array = labels if patient == "b" else np.where(labels > 0, labels, np.arange(8, dtype=np.uint8))
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing((5.0, 4.0, 2.5))
            sitk.WriteImage(volume, str(tmp_path / part / f"{patient}.nii.gz"))
    (tmp_path / "annotated.json").write_text(json.dumps(annotated))
    evidence.contours.measure_contours(tmp_path)
    kinds = json.loads((tmp_path / "contours.json").read_text())
    assert kinds["partial"] == {"b": {"SpinalCord": {"area_cm2": 1.2, "length_cm": 1.0}}}
    assert kinds["complete"]["a"].keys() == evidence.patients.ORGANS.keys()
    (row,) = evidence.contours.contours_table().splitlines()[2:]
    assert row.startswith("| SpinalCord | 1 | 1 | ") and " | 1.20 (" in row


def test_blanked_slices_are_cut_from_image_and_label_map(evidence, tmp_path):
    image = np.full((6, 40, 40), -1024, np.int16)
    image[2:5, 5:35, 5:35] = 0  # 30 x 30 voxels of 4 mm2: 36 cm2, less than a body
    image[3:5, 2:38, 2:38] = 0  # 52 cm2
    image[:, 18:22, 18:22] = 30  # a strip along an organ in every slice
    labels = np.zeros(image.shape, np.uint8)
    labels[:, 18:22, 18:22] = 1
    for part, array in (("images", image), ("labels", labels)):
        (tmp_path / "data" / part).mkdir(parents=True)
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((2.0, 2.0, 3.0))
        volume.SetOrigin((1.0, 2.0, 10.0))
        sitk.WriteImage(volume, str(tmp_path / "data" / part / "p.nii.gz"))
    evidence.visible.write_visible(tmp_path / "data", "p", tmp_path / "out")
    for part, array in (("images", image), ("labels", labels)):
        found = sitk.ReadImage(str(tmp_path / "out" / part / "p.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(found), array[3:5])
        assert found.GetOrigin() == (1.0, 2.0, 10.0 + 3 * 3.0)
    blank = sitk.GetImageFromArray(np.full((3, 9, 9), -1024, np.int16))
    with pytest.raises(ValueError, match="no slice"):
        evidence.visible.visible_slices(blank)


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
    assert masked["splits x seeds"] == "2 x 2" and masked["CPU min |"] == "15 |" and complete["CPU min |"] == "10 |"
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


def test_only_one_network_with_sigmoid_heads_is_decoded(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.decoding, "FOLDER", tmp_path)
    monkeypatch.setattr(evidence.decoding.Patients, "read", lambda data: None)
    for arm in ("per_source", "complete"):
        with pytest.raises(SystemExit, match=f"{arm}: decoding is of one network with sigmoid heads"):
            evidence.decoding.measure_decoding(evidence.runs.Run("equal_contours", arm, 0, 0, tmp_path, tmp_path))


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


def test_a_student_is_taught_by_the_networks_of_its_seed(evidence, tmp_path, monkeypatch):
    """Each source's network says the rest on patients of the others; their CPU time counts as the student's."""
    typed = []
    monkeypatch.setattr(evidence.runs, "run", lambda command: typed.append(command) or 7.0)
    (tmp_path / "seed2" / "student").mkdir(parents=True)
    for number, source in enumerate(evidence.study.PARTS):
        trained = "nnUNetTrainerBenchmark__nnUNetBenchmarkPlans__3d_fullres"
        model = tmp_path / "seed2/per_source/nnUNet_results" / f"Dataset{evidence.raw_data.IDS[source]}_{source}" / trained
        (model / "fold_all").mkdir(parents=True)
        (model / "fold_all" / "cpu_seconds.json").write_text(str(100 * number))
    arm = evidence.studies.STUDIES["equal_contours"].arms["student"]
    one = evidence.runs.Run("equal_contours", "student", 0, 2, tmp_path, tmp_path, "cpu", None)
    assert one._complete(arm.datasets[0], arm) == one._complete(arm.datasets[0], arm) == ("Completed2", 307.0)
    (command,) = typed
    merged = evidence.raw_data.IDS["Merged"]
    assert command[:9] == ["cdpd", "complete", "-d", str(merged), "-o", "792", "--name", "Completed2", "--teachers"]
    assert [path.split("/")[-2].split("_")[1] for path in command[9:12]] == ["Neuro", "Glands", "Airways"]
    from nnunetv2_cdpd.cli.commands import parser_of

    assert parser_of("complete").parse_args(command[2:]).without == ["reliability"]


def test_a_training_that_ended_after_its_runner_was_killed_has_no_time(evidence, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr(evidence.runs, "run", lambda command: pytest.fail("it is trained already"))
    arm = evidence.studies.STUDIES["equal_contours"].arms["complete"]
    trained = f"Dataset{evidence.raw_data.IDS['Complete']}_Complete/{arm.trainer}__nnUNetBenchmarkPlans__3d_fullres/fold_all"
    (tmp_path / trained).mkdir(parents=True)
    (tmp_path / trained / "checkpoint_final.pth").touch()
    model = evidence.runs.Run("equal_contours", "complete", 0, 0, tmp_path, tmp_path)._train("Complete", arm)
    assert json.loads((model / "cpu_seconds.json").read_text()) is None


@pytest.mark.parametrize("batch_dice", [True, False])
def test_plans_have_the_bare_unet_and_the_dice_of_the_study(evidence, tmp_path, monkeypatch, batch_dice):
    folder = tmp_path / "nnUNet_preprocessed" / f"Dataset{evidence.raw_data.IDS['Merged']}_Merged"
    folder.mkdir(parents=True)
    kwargs = {"n_stages": 4, "unet_class_name": "a.UNet"} | dict.fromkeys(
        ("fused_stages", "vision", "patch_size", "text", "task")
    )
    architecture = {"network_class_name": "a.CDPDNet", "arch_kwargs": kwargs}
    planned = {"plans_name": "", "configurations": {"3d_fullres": {"batch_dice": not batch_dice, "architecture": architecture}}}
    (folder / "nnUNetCDPDSmallPlans.json").write_text(json.dumps(planned))
    monkeypatch.setattr(evidence.runs, "run", lambda command: None)
    evidence.runs.plan(tmp_path, "Merged", batch_dice=batch_dice)
    plans = json.loads((folder / f"{evidence.runs.PLANS}.json").read_text())
    assert plans["plans_name"] == evidence.runs.PLANS
    assert plans["configurations"]["3d_fullres"] == {
        "batch_dice": batch_dice,
        "architecture": {"network_class_name": "a.UNet", "arch_kwargs": {"n_stages": 4}},
    }


def test_arms_of_a_study_are_trained_alike(evidence, tmp_path, monkeypatch):
    for name in (
        "BENCHMARK_SEED",
        "BENCHMARK_HALF",
        "BENCHMARK_FOREGROUND",
        "nnUNet_raw",
        "nnUNet_results",
        "nnUNet_preprocessed",
    ):
        monkeypatch.setenv(name, "")
    for study, half, foreground in (("equal_contours", "1", 2 / 3), ("vision_2", "1", 2 / 3), ("extension", "", 1.0)):
        for arm in evidence.studies.STUDIES[study].arms:
            monkeypatch.setattr(evidence.runs.os, "environ", {})
            evidence.runs.Run(study, arm, 0, 2, tmp_path, tmp_path).set_environment()
            told = evidence.runs.os.environ
            assert (told["BENCHMARK_HALF"], float(told["BENCHMARK_FOREGROUND"])) == (half, pytest.approx(foreground))


def test_scores_are_of_organs_that_a_reference_has(evidence, patients, tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "case,source,class,Dice,HD95_mm\np00,s,Larynx,0.12345,inf\np01,s,Larynx,0,inf\np01,s,Brainstem,0.5,2.5\n"
    )
    assert evidence.runs.read_scores(tmp_path / "metrics.csv", patients) == {
        "p00": {"Larynx": {"Dice": 0.1235, "HD95_mm": None}},
        "p01": {"Brainstem": {"Dice": 0.5, "HD95_mm": 2.5}},
    }


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


def test_predictions_are_cleaned_by_what_their_network_was_taught(evidence, tmp_path, monkeypatch):
    """The commands of one run, and the table of what they found: a false organ far away goes in one patient of two."""
    monkeypatch.setattr(evidence.cleaning, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(
        evidence.cleaning.Patients, "read", lambda data: evidence.patients.Patients({"a": ("Larynx",), "b": ("Larynx",)})
    )
    typed = []

    def scored(command):
        typed.append(command)
        if command[1] == "evaluate":
            folder = tmp_path / command[command.index("-o") + 1]
            folder.mkdir(parents=True)
            found = (
                "a,s,Larynx,0.5,100\nb,s,Larynx,0.6,4\n" if "before" in folder.name else "a,s,Larynx,0.7,8\nb,s,Larynx,0.59,4\n"
            )
            (folder / "metrics.csv").write_text("case,source,class,Dice,HD95_mm\n" + found)

    monkeypatch.setattr(evidence.cleaning, "run", scored)
    one = evidence.runs.Run("extension", "without_Mandible", 0, 1, tmp_path, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(evidence.runs.os, "environ", dict(evidence.runs.os.environ))
        evidence.cleaning.measure_cleaning(one)
        assert not typed, "no predictions, nothing to clean"
        (one.folder / "WithoutMandible").mkdir(parents=True)
        evidence.cleaning.measure_cleaning(one)
        evidence.cleaning.measure_cleaning(one)
    assert [command[1] for command in typed] == ["place", "clean", "evaluate", "evaluate"], "once"
    from nnunetv2_cdpd.cli.commands import parser_of

    args = parser_of("clean").parse_args(typed[1][2:])
    number = evidence.raw_data.IDS["WithoutMandible"]
    assert args.rules == ["place"] and args.place == tmp_path / f"nnUNet_preprocessed/Dataset{number}_WithoutMandible"
    assert args.in_dir == one.folder / "WithoutMandible" and args.images == tmp_path / "test" / "imagesTr"
    rows = {row.split(" | ")[0]: row for row in evidence.cleaning.cleaning_tables()["cleaning_extension"].splitlines()}
    assert rows["| Larynx"].startswith("| Larynx | 52 | 6 | 0.550 | 0.645 | +9.5 (-1.0 to +20.0) | 50% | 50% |")


def test_runs_that_cannot_be_cleaned_are_passed_over_and_told(evidence, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evidence.cleaning, "FOLDER", tmp_path / "results")
    evidence.cleaning.measure_cleaning(evidence.runs.Run("partial_labels", "per_source", 0, 1, tmp_path, tmp_path))
    evidence.cleaning.measure_cleaning(evidence.runs.Run("extension", "without_Larynx", 0, 1, tmp_path, tmp_path))
    joined, missing = capsys.readouterr().out.splitlines()
    assert joined == "passed over: per_source, split 0, seed 1: joined from several networks"
    assert missing.endswith(f"no predictions in {tmp_path / 'seed1' / 'without_Larynx' / 'WithoutLarynx'}")


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
    (tmp_path / "demo_before").mkdir()
    rows = [["all of it", "9.0", ""], ["again", "10.9", ""], ["--quick", "2.1", "0.3"]]
    (tmp_path / "demo_before" / "time.json").write_text(json.dumps({"rows": rows}))
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
    assert said["demo_before_cpu_minutes"] == "10" and said["demo_before_quick_cpu_minutes"] == "2"
    assert said["demo_unseeded_mean_dice"] == "0.850" and "demo_unseeded_cpu_minutes" not in said, "its cores were shared"
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
