"""nnUNetPlannerCDPD: plans of its own name, a network that nnU-Net can build, memory counted for the added parts."""

import json

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.annotation import Annotation, Source, dataset_json_entries
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPD, nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture, plans_with_cdpd

ANNOTATION = Annotation(
    classes=("liver", "right_kidney", "left_kidney"),
    values=(1, 2, 3),
    regions=((1,), (2,), (3,)),
    sources=(Source("A", ("liver",)), Source("B", ("right_kidney", "left_kidney"), task_prompt="Both kidneys")),
    case_source={f"case_{i}": "AB"[i % 2] for i in range(20)},
)
INTENSITIES = {
    "0": {
        "mean": 75.0,
        "std": 50.0,
        "percentile_00_5": -100.0,
        "percentile_99_5": 200.0,
        "median": 70.0,
        "min": -200.0,
        "max": 300.0,
    }
}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """dataset.json and fingerprint of 20 abdominal CTs, all that planning reads."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    raw, preprocessed = (tmp_path / name / "Dataset840_Plans" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    files = {case: {"images": [f"{case}.nii.gz"], "label": f"{case}_label.nii.gz"} for case in ANNOTATION.case_source}
    description = {"channel_names": {"0": "CT"}, "numTraining": 20, "file_ending": ".nii.gz", "dataset": files}
    description["overwrite_image_reader_writer"] = "SimpleITKIO"
    (raw / "dataset.json").write_text(json.dumps({**description, **dataset_json_entries(ANNOTATION)}))
    fingerprint = {
        "spacings": [[3.0, 0.8, 0.8]] * 20,
        "shapes_after_crop": [[100, 400, 400]] * 20,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": INTENSITIES,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return preprocessed


def test_plans_have_their_own_name_and_build_the_network(dataset):
    plans = nnUNetPlannerCDPD(840).plan_experiment()
    assert (dataset / "nnUNetCDPDPlans.json").is_file()
    plans = json.loads((dataset / "nnUNetCDPDPlans.json").read_text())
    for name in ("2d", "3d_fullres"):
        architecture = plans["configurations"][name]["architecture"]
        assert architecture["network_class_name"] == "nnunetv2_cdpd.network.CDPDNet"
        kwargs = architecture["arch_kwargs"]
        assert kwargs["patch_size"] == plans["configurations"][name]["patch_size"]
        assert len(kwargs["text"]["class_prompts"]) == 3
        assert kwargs["task"]["prompts"][1] == "Both kidneys"
        assert len(kwargs["task"]["prompts"]) == 3
    # HU -175 ... 250 in units of (HU - 75) / 50
    assert np.allclose(kwargs["vision"]["intensity_windows"], [[-5.0, 3.5]])


def test_added_parts_make_the_patch_or_batch_smaller_than_the_plain_unet_allows(dataset):
    ours = nnUNetPlannerCDPD(840).plan_experiment()["configurations"]["3d_fullres"]
    plain = ExperimentPlanner(840).plan_experiment()["configurations"]["3d_fullres"]

    def voxels(configuration):
        return np.prod(configuration["patch_size"]) * configuration["batch_size"]

    assert voxels(ours) < voxels(plain)
    assert ours["data_identifier"] == plain["data_identifier"]  # the data on disk is shared


def test_more_memory_gives_more_voxels(dataset):
    small, large = (nnUNetPlannerCDPD(840, gigabytes).plan_experiment()["configurations"]["3d_fullres"] for gigabytes in (8, 24))
    assert np.prod(large["patch_size"]) * large["batch_size"] > np.prod(small["patch_size"]) * small["batch_size"]


def test_other_spacing_does_not_share_the_folder_of_preprocessed_data(dataset):
    plans = nnUNetPlannerCDPD(840, overwrite_target_spacing=[3.0, 2.0, 2.0]).plan_experiment()
    assert plans["configurations"]["3d_fullres"]["data_identifier"] == "nnUNetCDPDPlans_3d_fullres"


def test_small_plans_are_small(dataset):
    configuration = nnUNetPlannerCDPDSmall(840).plan_experiment()["configurations"]["3d_fullres"]
    assert (dataset / "nnUNetCDPDSmallPlans.json").is_file()
    assert max(configuration["patch_size"]) <= 32 and configuration["batch_size"] == 4
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert max(kwargs["features_per_stage"]) <= 96
    assert len(kwargs["fused_stages"]) == 1


def test_stock_plans_become_cdpdnet_and_stay_when_done_again(dataset):
    ExperimentPlanner(840).plan_experiment()
    stock = json.loads((dataset / "nnUNetPlans.json").read_text())
    once = plans_with_cdpd(stock, "2d", ANNOTATION, NetworkSettings())
    assert stock["configurations"]["2d"]["architecture"]["network_class_name"].endswith("PlainConvUNet")  # not changed
    assert plans_with_cdpd(once, "2d", ANNOTATION, NetworkSettings()) == once
    once["configurations"]["2d"]["architecture"]["arch_kwargs"]["vision"]["model_name"] = "edited_by_the_user"
    again = plans_with_cdpd(once, "2d", ANNOTATION, NetworkSettings())
    assert again["configurations"]["2d"]["architecture"]["arch_kwargs"]["vision"]["model_name"] == "edited_by_the_user"
    json.dumps(again)


def test_settings_of_a_trainer_ablate_the_plans_of_a_planner(dataset):
    plans = nnUNetPlannerCDPDSmall(840).plan_experiment()
    without = plans_with_cdpd(
        plans, "3d_fullres", ANNOTATION, NetworkSettings(vision_model=None, modulate_by_text=False, task_prompts=False)
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
    made = cdpd_architecture({**configuration, "architecture": architecture}, ANNOTATION, properties, NetworkSettings())
    assert made["arch_kwargs"]["vision"]["intensity_windows"] == [[-3.0, 3.0], [0.0, 1.0], [-100.0, 200.0]]


def test_network_that_is_no_unet_is_refused():
    architecture = {"network_class_name": "somewhere.Primus", "arch_kwargs": {}, "_kw_requires_import": []}
    with pytest.raises(UserError, match="not built on somewhere.Primus; plan with nnUNetPlannerCDPD"):
        cdpd_architecture({"architecture": architecture}, ANNOTATION, INTENSITIES, NetworkSettings())
