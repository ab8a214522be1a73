"""The planner's choice of what is fused, its residual presets, and the paper's geometry."""

import json

import numpy as np
import pytest
from builders.planning import ANNOTATION
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import nnUNetPlannerResEncM
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.link import find_class
from nnunetv2_cdpd.network import PaperCDPDNet
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPD
from nnunetv2_cdpd.planners.nnUNetPlannerCDPDPaper import nnUNetPlannerCDPDPaper
from nnunetv2_cdpd.planners.residual import nnUNetPlannerCDPDL, nnUNetPlannerCDPDM, nnUNetPlannerCDPDXL
from nnunetv2_cdpd.planning.architecture import NetworkSettings, plans_with_cdpd
from nnunetv2_cdpd.planning.planner import number_of_weights
from nnunetv2_cdpd.released.preprocessing import paper_plans


@pytest.fixture
def dinov2(monkeypatch):
    """As a user has vision tokens planned."""
    monkeypatch.setenv("CDPD_VISION_ENCODER", "dinov2")


@pytest.mark.parametrize("name", ["", "Small", "M", "L", "XL", "Paper"])
def test_every_planner_is_found_by_its_name(name):
    assert find_class(f"nnUNetPlannerCDPD{name}").__name__ == f"nnUNetPlannerCDPD{name}"


@pytest.mark.parametrize("planner, gigabytes", [(nnUNetPlannerCDPDM, 8), (nnUNetPlannerCDPDL, 24), (nnUNetPlannerCDPDXL, 40)])
def test_residual_presets_have_nnunets_memory_target_and_names_of_their_own(planned_dataset, planner, gigabytes):
    made = planner(840)
    assert (made.UNet_vram_target_GB, made.UNet_reference_val_corresp_GB) == (gigabytes, gigabytes)
    assert made.plans_identifier == f"nnUNet{planner.__name__.removeprefix('nnUNetPlanner')}Plans"


def test_residual_preset_builds_cdpdnet_on_a_residual_encoder(planned_dataset, dinov2):
    planners = nnUNetPlannerCDPDM(840), nnUNetPlannerResEncM(840)
    for planner in planners:
        planner.lowres_creation_threshold = 0  # planning without a cascade takes a fraction of the time
    configuration, plain = (planner.plan_experiment()["configurations"]["3d_fullres"] for planner in planners)
    assert configuration["architecture"]["network_class_name"] == "nnunetv2_cdpd.network.CDPDNet"
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert kwargs["unet_class_name"].endswith("ResidualEncoderUNet") and kwargs["n_blocks_per_stage"][:4] == (1, 3, 4, 6)
    assert np.prod(configuration["patch_size"]) * configuration["batch_size"] < np.prod(plain["patch_size"]) * plain["batch_size"]
    assert configuration["data_identifier"] == plain["data_identifier"]


def unet_entry(patch_size, strides, features=(32, 64, 128, 256, 320, 320, 320, 320)):
    stages, dim = len(strides), len(patch_size)
    return {
        "patch_size": patch_size,
        "normalization_schemes": ["CTNormalization"],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features[:stages],
                "conv_op": f"torch.nn.Conv{dim}d",
                "kernel_sizes": [[3] * dim] * stages,
                "strides": strides,
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.InstanceNorm{dim}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ("conv_op", "norm_op", "dropout_op", "nonlin"),
        },
    }


ISOTROPIC = [[1, 1, 1], *[[2, 2, 2]] * 5]
ANISOTROPIC = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]


@pytest.mark.parametrize(
    "patch, strides, fused, step",
    [
        ([128, 128, 128], ISOTROPIC, [2, 3, 4], 4),
        # the second stage keeps all slices, and its attention would take more than a third of the U-Net's memory
        ([28, 256, 224], ANISOTROPIC, [3, 4], 2),
        # the fourth stage has 2 x 2 x 3 voxels, less than a window of 27
        ([32, 32, 48], ISOTROPIC, [2, 3], 4),
        ([512, 448], [[1, 1], *[[2, 2]] * 7], [4, 5, 6], 1),
        # fewer stages, so the candidates are larger, and attention in 2D costs more beside the U-Net than in 3D
        ([512, 448], [[1, 1], *[[2, 2]] * 5], [3, 4], 1),
    ],
)
def test_fused_stages_and_slice_step_follow_from_patch_size_and_memory(planned_dataset, dinov2, patch, strides, fused, step):
    architecture, _ = nnUNetPlannerCDPD(840)._complete(unet_entry(patch, strides))
    assert architecture["arch_kwargs"]["fused_stages"] == fused
    assert architecture["arch_kwargs"]["vision"]["slice_step"] == step


def test_slices_are_averaged_where_the_vit_at_work_would_need_more_than_training_keeps(planned_dataset, dinov2):
    """Few features and many large slices: the ViT's tokens outweigh the U-Net."""
    entry = unet_entry([64, 256, 256], [[1, 1, 1], [1, 4, 4], [1, 4, 4]], features=(1, 1, 1))
    architecture, _ = nnUNetPlannerCDPD(840)._complete(entry)
    assert architecture["arch_kwargs"]["vision"]["slice_step"] > 1


def test_the_vits_weights_count(planned_dataset, dinov2, monkeypatch):
    planner, entry = nnUNetPlannerCDPD(840), unet_entry([64, 96, 96], ISOTROPIC[:5])
    architecture = entry["architecture"]
    arguments = (
        [64, 96, 96],
        1,
        4,
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
    )
    with_weights = planner.static_estimate_VRAM_usage(*arguments)
    monkeypatch.setattr("nnunetv2_cdpd.planning.planner.number_of_weights", lambda name: 0)
    # 86.6 million weights of 4 bytes; nnU-Net's 560 million units of 2 samples are 8 GB
    assert with_weights - planner.static_estimate_VRAM_usage(*arguments) == pytest.approx(86.58e6 * 4 / (8e9 / 560e6), rel=0.01)
    assert 86.5e6 < number_of_weights("vit_base_patch14_dinov2.lvd142m") < 86.7e6


def test_without_vision_only_unet_and_classes_count(planned_dataset):
    planner, entry = nnUNetPlannerCDPD(840), unet_entry([64, 96, 96], ISOTROPIC[:5])
    architecture = entry["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        dict(architecture["arch_kwargs"]),
        architecture["_kw_requires_import"],
        1,
        3,
        allow_init=False,
    )
    estimate = planner.static_estimate_VRAM_usage(
        [64, 96, 96], 1, 4, architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"]
    )
    assert estimate == pytest.approx(network.compute_conv_feature_map_size([64, 96, 96]), rel=0.001)


# ---- the paper's -----------------------------------------------------------------------------------------------------


def test_paper_plans_preprocess_like_the_imported_model(planned_dataset):
    plans = nnUNetPlannerCDPDPaper(840).plan_experiment()
    assert json.loads((planned_dataset / "nnUNetCDPDPaperPlans.json").read_text())["configurations"].keys() == {"3d_fullres"}
    imported = paper_plans("Dataset840_Plans", {})
    same = [
        "plans_name",
        "image_reader_writer",
        "transpose_forward",
        "transpose_backward",
        "foreground_intensity_properties_per_channel",
    ]
    assert {key: plans[key] for key in same} == {key: imported[key] for key in same}
    ours, theirs = (part["configurations"]["3d_fullres"] for part in (plans, imported))
    shown_only = {"architecture", "median_image_size_in_voxels"}
    assert {key: ours[key] for key in theirs if key not in shown_only} == {
        key: theirs[key] for key in theirs if key not in shown_only
    }


def test_paper_network_is_built_with_the_datasets_classes_and_a_universal_task(planned_dataset):
    plans = nnUNetPlannerCDPDPaper(840).plan_experiment()
    # the trainer completes the plans again, and must not turn the network into another
    again = plans_with_cdpd(plans, "3d_fullres", ANNOTATION, NetworkSettings())
    architecture = PlansManager(again).get_configuration("3d_fullres").configuration["architecture"]
    assert architecture == PlansManager(plans).get_configuration("3d_fullres").configuration["architecture"]
    kwargs = json.loads(json.dumps(architecture["arch_kwargs"]))
    kwargs["vision"]["model_kwargs"] = {"depth": 3}
    network = get_network_from_plans(
        architecture["network_class_name"], kwargs, architecture["_kw_requires_import"], 1, 3, allow_init=False
    )
    assert isinstance(network, PaperCDPDNet)
    assert network.universal_task == 2 and network.decoder.num_classes == 3
    assert kwargs["vision"]["intensity_windows"] == [[0.0, 1.0]] and kwargs["fused_stages"] == [2, 3, 4]


@pytest.mark.parametrize(
    "change, told",
    [
        (
            {"channel_names": {"0": "MRI"}},
            "images of one channel, CT, and this dataset has MRI; plan with nnUNetPlannerCDPD",
        ),
        ({"file_ending": ".mha"}, r"reads .nii and .nii.gz in RAS orientation, .* and not .mha"),
    ],
)
def test_datasets_that_the_paper_cannot_take_are_refused(planned_dataset, change, told):
    path = planned_dataset.parents[1] / "nnUNet_raw" / "Dataset840_Plans" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=f"Dataset840_Plans: .*{told}"):
        nnUNetPlannerCDPDPaper(840)
