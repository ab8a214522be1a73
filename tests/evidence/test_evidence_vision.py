"""benchmarks/evidence, studies of vision tokens, and the marginal loss: who is scored, which weights an arm has, what is told."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders.evidence import RUNNER, TRAINERS, modules_of

from nnunetv2_cdpd.annotation import read_annotation


@pytest.mark.parametrize("name, per_source, scored", [("vision_2", 2, 22), ("vision_8", 8, 23), ("vision_24", 24, 10)])
def test_nobody_is_trained_on_and_scored(evidence, patients, name, per_source, scored):
    study = evidence.studies.STUDIES[name]
    for split in range(study.splits):
        dealt, tested = study.dealt(patients, split), study.tested(patients, split)
        trained = [patient for cases in dealt.values() for patient in cases]
        assert [source.name for source in dealt] == list(evidence.study.PARTS)
        assert not {*trained} & {*tested} and len({*trained}) == len(trained) and len({*tested}) == len(tested) >= scored
        # 28 complete patients, so one or two in place of two, seven or eight of eight
        assert all(per_source * 0.8 - 1 <= len(cases) <= per_source * 1.1 for cases in dealt.values())


def test_splits_score_every_complete_patient(evidence, patients):
    for name in ("vision_2", "vision_8", "vision_24"):
        study = evidence.studies.STUDIES[name]
        scored = {patient for split in range(study.splits) for patient in study.tested(patients, split)}
        assert scored >= {*patients.complete}


def test_scanners_are_told_apart_by_slices(evidence, patients):
    study = evidence.studies.STUDIES["vision_shifted"]
    for split, thick in ((0, True), (1, False)):
        trained = [patient for cases in study.dealt(patients, split).values() for patient in cases]
        assert {patients.slice_mm[patient] for patient in trained} == {3.0 if thick else 2.5}
        assert {patients.slice_mm[patient] for patient in study.tested(patients, split)} == {2.5 if thick else 3.0}
        assert sorted(trained + study.tested(patients, split)) == patients.complete


def test_noise_of_an_image_is_found(evidence):
    random = np.random.default_rng(0)
    values = np.full((20, 60, 60), -1000.0)
    values[:, 5:55, 5:55] = 40 + 12 * random.normal(size=(20, 50, 50))
    values[:, 5:55, 30:55] += 60  # another tissue: its border is one voxel of fifty
    assert evidence.scanners.noise_hu(sitk.GetImageFromArray(values)) == pytest.approx(12, rel=0.05)


def test_scanners_are_measured_from_images(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.scanners, "FOLDER", tmp_path / "results")
    (tmp_path / "images").mkdir()
    organs = {"thick": [*evidence.patients.ORGANS], "thin": [*evidence.patients.ORGANS], "partial": ["Larynx"]}
    (tmp_path / "annotated.json").write_text(json.dumps(organs))
    for name, slice_mm in (("thick", 3.0), ("thin", 2.5), ("partial", 3.0)):
        image = sitk.GetImageFromArray(np.full((9, 9, 9), 10, np.int16))
        image.SetSpacing((4.0, 4.0, slice_mm))
        sitk.WriteImage(image, str(tmp_path / "images" / f"{name}.nii.gz"))
    evidence.scanners.measure_scanners(tmp_path)
    rows = evidence.scanners.scanner_table().splitlines()[2:]
    assert rows == [
        "| 3 mm apart | 1 | 4.0 (4.0 to 4.0) | 0.0 (0.0 to 0.0) |",
        "| 2.5 mm apart | 1 | 4.0 (4.0 to 4.0) | 0.0 (0.0 to 0.0) |",
    ]


def test_arms_of_vision_are_trainers_with_their_setting(evidence, monkeypatch):
    for name, value in {"BENCHMARK_ITERATIONS": "600", "BENCHMARK_FOREGROUND": "1", "BENCHMARK_SEED": "0"}.items():
        monkeypatch.setenv(name, value)
    from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
    from nnunetv2_cdpd.network.vision_settings import split_vision

    for modules in modules_of(TRAINERS, monkeypatch):
        trainers = {**vars(modules.nnUNetTrainerBenchmark), **vars(modules.nnUNetTrainerBenchmarkVision)}
        said = {}
        for name, arm in evidence.vision.ARMS.items():
            network = trainers[arm.trainer].recipe.network
            said[name] = {"vision": network.vision_weights_name is not None, **network.vision, "weights": arm.vision_weights}
            _, rest = split_vision(network.vision)  # which raises for a value that a setting cannot have
            assert {*rest} <= {*SliceEncoder.__init__.__annotations__}, "what is no setting is an argument of the encoder"
            assert network.modulate_by_text and network.task_prompts, "only vision tokens differ"
        told = [json.dumps(each, sort_keys=True) for each in said.values()]
        assert len({*told}) == len(told), "no two arms are the same"
        assert said["none"]["vision"] is False and said["coordinates"]["source"] == "coordinates"
        for study in evidence.studies.STUDIES.values():
            for arm in study.arms.values():
                assert arm.trainer in trainers
                assert arm.trainer.startswith(evidence.study.OURS) or not study.whole_images


def test_weights_are_those_of_the_arm(evidence, tmp_path, monkeypatch):
    typed = []
    monkeypatch.setattr(evidence.runs, "run", lambda command: typed.append(command) or 1.0)
    file = tmp_path / "dinov2.safetensors"

    def chosen(arm, weights=file):
        run = evidence.runs.Run("vision_8", arm, 0, 0, tmp_path, tmp_path, "cpu", None, weights)
        for name in ("CDPD_VISION_WEIGHTS", "CDPD_TEXT_WEIGHTS", "CDPD_VISION_ENCODER"):
            monkeypatch.setenv(name, "of the user")
        run.set_environment()
        run._choose_vision_weights(evidence.studies.STUDIES["vision_8"].arms[arm])
        assert evidence.runs.os.environ["CDPD_TEXT_WEIGHTS"] == "learned"
        assert "CDPD_VISION_ENCODER" not in evidence.runs.os.environ
        return evidence.runs.os.environ["CDPD_VISION_WEIGHTS"]

    with monkeypatch.context() as patched:
        patched.setattr(evidence.runs.os, "environ", dict(evidence.runs.os.environ))
        assert chosen("random") == chosen("none") == "random"
        assert chosen("real") == str(file) and not typed
        assert chosen("further") == str(tmp_path / "pretrained_further.safetensors")
        with pytest.raises(SystemExit, match="arm real .* --vision-weights"):
            chosen("real", None)
    (command,) = typed
    from nnunetv2_cdpd.cli.commands import parser_of

    args = parser_of("pretrain").parse_args(command[2:])
    assert args.iterations == 500 and str(args.encoder).startswith("vit_small_patch14_dinov2")


def test_the_table_of_vision_compares_with_three_controls(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence.results, "FOLDER", tmp_path)

    def write(arm, dice, cpu_seconds=600, predicting=20):
        scores = {patient: {"Larynx": {"Dice": value, "HD95_mm": 4.0}} for patient, value in dice.items()}
        setting = {"iterations": 600}
        evidence.results.write_result(
            evidence.results.Result("vision_2", arm, 0, 0, cpu_seconds, setting, {}, scores, predicting)
        )

    write("none", {"a": 0.5, "b": 0.6})
    write("coordinates", {"a": 0.6, "b": 0.7}, None)
    write("real", {"a": 0.55, "b": 0.65}, 660, 30)
    write("random_whole", {"a": 0.5, "b": 0.7})
    write("whole", {"a": 0.6, "b": 0.8})
    assert evidence.vision.vision_table("vision_8") == "", "without results"
    rows = evidence.vision.vision_table("vision_2").splitlines()[2:]
    assert rows == [
        "| no tokens | 0.550 | 4 |  |  |  | 2 | 1 | 1.00 | 10.00 |",
        "| random ViT, whole slices | 0.600 | 4 | +5.0 (+0.0 to +10.0) | no run in common | -5.0 (-10.0 to +0.0) "
        "| 2 | 1 | 1.00 | 10.00 |",
        "| coordinates | 0.650 | 4 | +10.0 (+10.0 to +10.0) | no run in common |  | 2 | 1 |  | 10.00 |",
        "| DINOv2, patches | 0.600 | 4 | +5.0 (+5.0 to +5.0) | no run in common | -5.0 (-5.0 to -5.0) | 2 | 1 | 1.10 | 15.00 |",
        "| DINOv2, whole slices | 0.700 | 4 | +15.0 (+10.0 to +20.0) | +10.0 (+10.0 to +10.0) | +5.0 (+0.0 to +10.0) "
        "| 2 | 1 | 1.00 | 10.00 |",
    ]


def test_networks_in_half_precision_give_single_precision_to_the_loss(monkeypatch):
    monkeypatch.setenv("BENCHMARK_ITERATIONS", "600")
    monkeypatch.setenv("BENCHMARK_FOREGROUND", "1")
    layer, x = torch.nn.Conv2d(1, 1, 3), torch.randn(1, 1, 8, 8)
    exact = layer(x)
    for modules in modules_of(TRAINERS, monkeypatch):
        forward = modules.nnUNetTrainerBenchmark._in_bfloat16(layer.forward)
        one, listed = forward(x), modules.nnUNetTrainerBenchmark._in_bfloat16(lambda value: [layer(value)])(x)
    assert one.dtype == listed[0].dtype == layer.weight.dtype == torch.float32 and torch.equal(one, listed[0])
    assert torch.equal(one, one.bfloat16().float()) and not torch.equal(one, exact) and torch.allclose(one, exact, atol=0.05)


@pytest.fixture
def marginal(monkeypatch):
    """The loss for classes A, B, C, of which source S annotates A alone, T all."""
    values = {"background": 0, "A": 1, "B": 2, "C": 3}
    sources = {"S": {"annotated_classes": ["A"], "cases": []}, "T": {"annotated_classes": ["A", "B", "C"], "cases": []}}
    dataset_json = {"labels": values, "cdpd": {"version": 1, "sources": sources}}
    for name, value in {"BENCHMARK_ITERATIONS": "600", "BENCHMARK_FOREGROUND": "1"}.items():
        monkeypatch.setenv(name, value)
    for modules in modules_of(TRAINERS, monkeypatch):
        yield modules.marginal_loss.MarginalLoss(read_annotation(dataset_json, "dataset.json"))


def value_of(loss, logits, labels, source):
    logits = torch.tensor(logits, dtype=torch.float64).T[None, :, :, None]  # voxels x classes -> (1, K, X, Y)
    label_map = torch.tensor(labels)[None, None, :, None]
    return float(loss(logits, [label_map, torch.tensor([source])]))


def test_what_is_not_annotated_is_part_of_the_background(marginal):
    """Equal odds 1:1:1:1. Source S: its background is three of four, A is one of four. Source T: one of four each."""
    logits = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]  # two voxels
    smooth = 1e-5
    dice_of_a = (2 * 0.25 + smooth) / (1 + 0.5 + smooth)
    exclusion = 2 * 0.25 / (1 + 0.5)  # of B, and of C: p is 0.25 in the voxel of A, 0.5 in sum
    expected = -(math.log(0.75) + math.log(0.25)) / 2 - dice_of_a + exclusion
    assert value_of(marginal, logits, [0, 1], 0) == pytest.approx(expected, abs=1e-4)
    dice_of_absent = smooth / (0.5 + smooth)  # B and C
    expected = -math.log(0.25) - (dice_of_a + 2 * dice_of_absent) / 3
    assert value_of(marginal, logits, [0, 1], 1) == pytest.approx(expected, abs=1e-4)


def test_a_class_that_is_not_annotated_costs_nothing_but_where_another_one_is(marginal):
    certain_b = [0.0, 50.0, 0.0]
    nothing = [-50.0, -50.0, -50.0]
    at_background = value_of(marginal, [certain_b, [50.0, 0.0, 0.0]], [0, 1], 0)
    plain = value_of(marginal, [nothing, [50.0, 0.0, 0.0]], [0, 1], 0)
    assert at_background == pytest.approx(plain, abs=1e-4) == pytest.approx(-1.0, abs=1e-4)
    assert value_of(marginal, [nothing, certain_b], [0, 1], 0) > 20


def test_openkbp_with_seeds_has_the_weights_and_the_trainer_of_each_arm(evidence, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RUNNER.parent))
    import openkbp
    import openkbp_vision

    seen = []

    def run(command):
        environment = openkbp_vision.os.environ
        if command[0] == "nnUNetv2_train":
            names = ("CDPD_VISION_WEIGHTS", "CDPD_VISION_ENCODER", "CDPD_TEXT_WEIGHTS", "BENCHMARK_SEED")
            seen.append((command[command.index("-tr") + 1], *(environment[name] for name in names)))
        return 60.0

    monkeypatch.setattr(openkbp_vision, "run", run)
    monkeypatch.setattr(openkbp, "read_scores", lambda folder: {"p": {"Larynx": {"Dice": 0.5, "HD95_mm": None}}})
    with monkeypatch.context() as patched:
        patched.setattr(openkbp_vision.os, "environ", dict(openkbp_vision.os.environ))
        openkbp_vision.set_environment(tmp_path, 1)
        results = [openkbp_vision.measured(tmp_path, arm, 3, tmp_path / "vit.pth") for arm in openkbp_vision.TRAINERS]
    assert seen == [
        ("nnUNetTrainerOpenKBP_noVision", "random", "dinov2-small", "learned", "3"),
        ("nnUNetTrainerOpenKBP", "random", "dinov2-small", "learned", "3"),
        ("nnUNetTrainerOpenKBP", str(tmp_path / "vit.pth"), "dinov2-small", "learned", "3"),
    ]
    assert [(result.arm, result.seed, result.cpu_seconds) for result in results] == [
        ("none", 3, 60), ("random_closed", 3, 60), ("closed", 3, 60)
    ]  # fmt: skip
    assert results[0].setting["iterations"] == 900 and results[0].scores["p"]["Larynx"]["Dice"] == 0.5
