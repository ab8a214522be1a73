"""benchmarks/evidence: who is trained on and who is kept back, what is cut off, and tables that are those of the result files."""

import json

import numpy as np
import pytest
import SimpleITK as sitk


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


def test_only_one_network_with_sigmoid_heads_is_decoded(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.decoding, "FOLDER", tmp_path)
    monkeypatch.setattr(evidence.decoding.Patients, "read", lambda data: None)
    for arm in ("per_source", "complete"):
        with pytest.raises(SystemExit, match=f"{arm}: decoding is of one network with sigmoid heads"):
            evidence.decoding.measure_decoding(evidence.runs.Run("equal_contours", arm, 0, 0, tmp_path, tmp_path))


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
        "case,source,class,Dice,HD95_mm,n_ref\np00,s,Larynx,0.12345,inf,3\np01,s,Larynx,0,inf,3\np01,s,Brainstem,0.5,2.5,3\n"
        "p00,s,Brainstem,0,inf,0\n"  # cut off with the slices that were blanked
    )
    assert evidence.runs.read_scores(tmp_path / "metrics.csv", patients) == {
        "p00": {"Larynx": {"Dice": 0.1235, "HD95_mm": None}},
        "p01": {"Brainstem": {"Dice": 0.5, "HD95_mm": 2.5}},
    }


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
                "a,s,Larynx,0.5,100,9\nb,s,Larynx,0.6,4,9\n"
                if "before" in folder.name
                else "a,s,Larynx,0.7,8,9\nb,s,Larynx,0.59,4,9\n"
            )
            (folder / "metrics.csv").write_text("case,source,class,Dice,HD95_mm,n_ref\n" + found)

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
