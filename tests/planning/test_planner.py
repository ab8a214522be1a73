"""nnUNetPlannerCDPD: plans of its own name, a network that nnU-Net can build, memory counted for the added parts."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders.planning import ANNOTATION, INTENSITIES
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPD, nnUNetPlannerCDPDDemo, nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture, plans_with_cdpd


def test_plans_have_their_own_name_and_build_the_network(planned_dataset):
    plans = nnUNetPlannerCDPD(840).plan_experiment()
    assert (planned_dataset / "nnUNetCDPDPlans.json").is_file()
    plans = json.loads((planned_dataset / "nnUNetCDPDPlans.json").read_text())
    for name in ("2d", "3d_fullres"):
        architecture = plans["configurations"][name]["architecture"]
        assert architecture["network_class_name"] == "nnunetv2_cdpd.network.CDPDNet"
        kwargs = architecture["arch_kwargs"]
        assert kwargs["patch_size"] == plans["configurations"][name]["patch_size"]
        assert len(kwargs["text"]["class_prompts"]) == 3
        assert kwargs["task"]["prompts"][1] == "Both kidneys"
        assert len(kwargs["task"]["prompts"]) == 3
        assert kwargs["vision"] is None  # unless the user names an encoder


def test_added_parts_make_the_patch_or_batch_smaller_than_the_plain_unet_allows(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2")
    ours = nnUNetPlannerCDPD(840).plan_experiment()["configurations"]["3d_fullres"]
    plain = ExperimentPlanner(840).plan_experiment()["configurations"]["3d_fullres"]

    def voxels(configuration):
        return np.prod(configuration["patch_size"]) * configuration["batch_size"]

    assert voxels(ours) < voxels(plain)
    assert ours["data_identifier"] == plain["data_identifier"]  # the data on disk is shared


def test_more_memory_gives_more_voxels(planned_dataset):
    small, large = (nnUNetPlannerCDPD(840, gigabytes).plan_experiment()["configurations"]["3d_fullres"] for gigabytes in (8, 24))
    assert np.prod(large["patch_size"]) * large["batch_size"] > np.prod(small["patch_size"]) * small["batch_size"]


def test_other_spacing_does_not_share_the_folder_of_preprocessed_data(planned_dataset):
    plans = nnUNetPlannerCDPD(840, overwrite_target_spacing=[3.0, 2.0, 2.0]).plan_experiment()
    assert plans["configurations"]["3d_fullres"]["data_identifier"] == "nnUNetCDPDPlans_3d_fullres"


def test_small_plans_are_small(planned_dataset):
    configuration = nnUNetPlannerCDPDSmall(840).plan_experiment()["configurations"]["3d_fullres"]
    assert (planned_dataset / "nnUNetCDPDSmallPlans.json").is_file()
    assert max(configuration["patch_size"]) <= 32 and configuration["batch_size"] == 4
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert max(kwargs["features_per_stage"]) <= 96
    assert len(kwargs["fused_stages"]) == 1


def test_plans_of_the_demo_are_smaller_and_leave_those_of_the_small_planner_as_they_are(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    small = nnUNetPlannerCDPDSmall(840).plan_experiment()["configurations"]["3d_fullres"]
    demo = nnUNetPlannerCDPDDemo(840).plan_experiment()["configurations"]["3d_fullres"]
    assert (planned_dataset / "nnUNetCDPDDemoPlans.json").is_file()
    assert max(demo["patch_size"]) <= 24 and (demo["batch_size"], small["batch_size"]) == (2, 4)
    ours, theirs = demo["architecture"]["arch_kwargs"], small["architecture"]["arch_kwargs"]
    assert theirs["features_per_stage"][0] == 16 and theirs["n_conv_per_stage"][0] == 2
    assert list(ours["features_per_stage"]) == [8, 32, 64, 96][: ours["n_stages"]] and ours["n_conv_per_stage"][0] == 1
    assert ours["vision"]["slice_step"] == 2 * np.prod([s[0] for s in ours["strides"][: ours["fused_stages"][0] + 1]])


def test_stock_plans_become_cdpdnet_and_stay_when_done_again(planned_dataset):
    ExperimentPlanner(840).plan_experiment()
    stock = json.loads((planned_dataset / "nnUNetPlans.json").read_text())
    once = plans_with_cdpd(stock, "2d", ANNOTATION, NetworkSettings(vision_encoder="dinov2"))
    assert stock["configurations"]["2d"]["architecture"]["network_class_name"].endswith("PlainConvUNet")  # not changed
    assert plans_with_cdpd(once, "2d", ANNOTATION, NetworkSettings()) == once
    once["configurations"]["2d"]["architecture"]["arch_kwargs"]["vision"]["model_name"] = "vit_tiny_patch16_224"  # edited
    again = plans_with_cdpd(once, "2d", ANNOTATION, NetworkSettings())
    assert again["configurations"]["2d"]["architecture"]["arch_kwargs"]["vision"]["model_name"] == "vit_tiny_patch16_224"
    json.dumps(again)


def test_settings_of_a_trainer_ablate_the_plans_of_a_planner(planned_dataset, monkeypatch):
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2-small")
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    assert plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["vision"]
    without = plans_with_cdpd(
        plans, "3d_fullres", ANNOTATION, NetworkSettings(vision_tokens=False, modulate_by_text=False, task_prompts=False)
    )
    architecture = without["configurations"]["3d_fullres"]["architecture"]
    assert architecture["arch_kwargs"]["vision"] is None and architecture["arch_kwargs"]["task"] is None
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        3,
        deep_supervision=False,
    )
    assert network.slice_encoder is None and network.task_prompt is None and len(network.modulations) == 0


def test_windows_follow_the_normalization():
    settings = NetworkSettings(vision_encoder="dinov2")
    configuration = {
        "patch_size": [16, 16],
        "normalization_schemes": ["ZScoreNormalization", "RescaleTo01Normalization", "NoNormalization"],
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]},
        "_kw_requires_import": [],
    }
    properties = {str(channel): INTENSITIES["0"] for channel in range(3)}
    made = cdpd_architecture({**configuration, "architecture": architecture}, ANNOTATION, properties, settings)
    assert made["arch_kwargs"]["vision"]["intensity_windows"] == [[-3.0, 3.0], [0.0, 1.0], [-100.0, 200.0]]


def test_network_that_is_no_unet_is_refused():
    architecture = {"network_class_name": "somewhere.Primus", "arch_kwargs": {}, "_kw_requires_import": []}
    with pytest.raises(UserError, match="not built on somewhere.Primus; plan with nnUNetPlannerCDPD"):
        cdpd_architecture({"architecture": architecture}, ANNOTATION, INTENSITIES, NetworkSettings())


def ct_architecture(settings, schemes=("CTNormalization",)):
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]},
        "_kw_requires_import": [],
    }
    configuration = {"patch_size": [16, 16], "normalization_schemes": list(schemes), "architecture": architecture}
    properties = {str(channel): {"mean": 50.0, "std": 100.0} for channel in range(len(schemes))}
    return cdpd_architecture(configuration, ANNOTATION, properties, settings)


def test_settings_of_vision_come_into_the_plans_and_others_stay_as_they_are():
    settings = NetworkSettings(vision_encoder="dinov2")
    plain = ct_architecture(settings)
    changed = ct_architecture(replace(settings, vision={"fusion": "values", "blocks": [3, 6, 9, 12]}))
    assert changed["arch_kwargs"]["vision"] == {
        **plain["arch_kwargs"]["vision"],
        "fusion": "values",
        "blocks": [3, 6, 9, 12],
    }


def test_three_windows_are_in_the_units_of_the_images():
    windows = ((-950.0, 50.0), (50.0, 150.0), (-50.0, 250.0))
    settings = NetworkSettings(vision_encoder="dinov2", vision={"channels": "windows"}, ct_windows_hu=windows)
    vision = ct_architecture(settings)["arch_kwargs"]["vision"]
    assert vision["intensity_windows"] == [[-10.0, 0.0], [0.0, 1.0], [-1.0, 2.0]]
    with pytest.raises(UserError, match="three windows are for images of one channel, CT"):
        ct_architecture(settings, ("ZScoreNormalization",))


def test_settings_of_tokens_that_are_not_there_are_an_error_but_for_an_ablation():
    settings = NetworkSettings(vision={"fusion": "values"})
    with pytest.raises(UserError, match=r"no vision tokens, of which the trainer has settings \(fusion\); name an encoder"):
        ct_architecture(settings)
    for encoder in (None, "dinov2"):
        without = replace(settings, vision_encoder=encoder, vision_tokens=False)
        assert ct_architecture(without)["arch_kwargs"]["vision"] is None
