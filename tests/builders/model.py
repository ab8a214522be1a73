"""A CDPDNet model folder as nnU-Net writes it, with random weights and without training, for tests of prediction."""

import json
from pathlib import Path

import numpy as np
import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.annotation import Annotation, Source, dataset_json_entries, with_sigmoid_heads
from nnunetv2_cdpd.network import default_fused_stages, default_slice_step
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD

TRAINER, PLANS, CONFIGURATION = "nnUNetTrainerCDPD", "nnUNetTinyPlans", "3d_fullres"
CLASSES = ("liver", "liver_tumor", "right_kidney", "left_kidney", "kidney_tumor", "spleen")
ANNOTATION = Annotation(
    classes=CLASSES,
    values=(1, 2, 3, 4, 5, 6),
    regions=((1, 2), (2,), (3,), (4,), (5,), (6,)),
    sources=(
        Source("Liver", ("liver", "liver_tumor")),
        Source("Kidney", ("right_kidney", "left_kidney", "kidney_tumor")),
        Source("Organs", ("liver", "right_kidney", "left_kidney", "spleen")),
    ),
    case_source={"case_1": "Liver"},
    possible_parents={"kidney_tumor": ("right_kidney", "left_kidney")},
)
RESAMPLING = {
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}


def make_plans(annotation: Annotation = ANNOTATION, channels: int = 1, universal: bool = True, **configuration) -> dict:
    """Plans of a tiny network; the axes are transposed by no permutation that is its own inverse."""
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    fused = default_fused_stages(strides)
    unet = {
        "n_stages": 3,
        "features_per_stage": [6, 8, 10],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": strides,
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    tasks = [source.name for source in annotation.sources]
    added = {
        "unet_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "patch_size": [8, 16, 24],
        "fused_stages": fused,
        "vision": {
            "model_name": "vit_tiny_patch16_224",
            "model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2},
            "slice_axis": 0,
            "slice_step": default_slice_step(strides, fused, 0),
            "intensity_windows": [[-2.0, 2.0]] * channels,
        },
        "text": {"encoder": "learned", "embed_dim": 16, "class_prompts": list(annotation.classes), "modulate": True},
        "task": {"prompts": [*tasks, "all"] if universal else tasks, "universal": universal},
    }
    properties = {"mean": 10.0, "std": 60.0, "percentile_00_5": -100.0, "percentile_99_5": 250.0, "median": 10.0}
    properties |= {"min": -200.0, "max": 300.0}
    return {
        "dataset_name": "Dataset850_Tiny",
        "plans_name": PLANS,
        "original_median_spacing_after_transp": [2.5, 1.4, 1.1],
        "original_median_shape_after_transp": [20, 30, 40],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [2, 0, 1],
        "transpose_backward": [1, 2, 0],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(c): properties for c in range(channels)},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": "tiny",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [8, 16, 24],
                "median_image_size_in_voxels": [20, 30, 40],
                "spacing": [2.5, 1.4, 1.1],
                "normalization_schemes": ["CTNormalization"] * channels,
                "use_mask_for_norm": [False] * channels,
                "batch_dice": False,
                **RESAMPLING,
                "architecture": {
                    "network_class_name": "nnunetv2_cdpd.network.CDPDNet",
                    "arch_kwargs": {**unet, **added},
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                **configuration,
            }
        },
    }


def make_dataset_json(annotation: Annotation = ANNOTATION, channels: int = 1) -> dict:
    names = {str(c): "CT" if c == 0 else f"CT{c}" for c in range(channels)}
    entries = dataset_json_entries(annotation)
    return with_sigmoid_heads({"channel_names": names, "numTraining": 4, "file_ending": ".nii.gz", **entries})


def give_effect(network: torch.nn.Module, std: float = 0.1) -> torch.nn.Module:
    """The network as after training: its text terms start as the identity."""
    task = [] if network.task_prompt is None else [network.task_prompt.modulate]
    for parameter in [parameter for part in [*network.modulations, *task] for parameter in part.parameters()]:
        torch.nn.init.normal_(parameter, std=std)
    return network


def make_network(plans: dict, dataset_json: dict, seed: int = 0) -> torch.nn.Module:
    """A network with random weights whose parts all have an effect, each class above 0.5 in a part of an image."""
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    channels = determine_num_input_channels(manager, configuration, dataset_json)  # of a cascade more than the image has
    num_classes = manager.get_label_manager(dataset_json).num_segmentation_heads
    torch.manual_seed(seed)
    network = nnUNetTrainerCDPD.build_network_architecture(
        manager, configuration, channels, num_classes, enable_deep_supervision=False
    )
    give_effect(network, 0.2)
    head = network.decoder.seg_layers[-1]
    torch.nn.init.normal_(head.weight, std=2.0)
    torch.nn.init.constant_(head.bias, -0.5)
    if network.slice_encoder is not None:
        network.slice_encoder.weights_set.fill_(True)
    return network.eval()


def write_model(
    folder: Path,
    *,
    annotation: Annotation = ANNOTATION,
    channels: int = 1,
    folds=(0,),
    universal: bool = True,
    mirroring=None,
    **configuration,
) -> Path:
    """Write a model folder: plans.json, dataset.json, and a checkpoint of other weights per fold."""
    plans, dataset_json = make_plans(annotation, channels, universal, **configuration), make_dataset_json(annotation, channels)
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    (folder / "dataset_fingerprint.json").write_text("{}")
    for seed, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": make_network(plans, dataset_json, seed).state_dict(),
            "trainer_name": TRAINER,
            "init_args": {"plans": plans, "configuration": CONFIGURATION, "fold": fold, "dataset_json": dataset_json},
            "inference_allowed_mirroring_axes": mirroring,
            "_best_ema": np.float64(0.5),
            "current_epoch": 1,
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def make_image(shape=(26, 21, 34), seed: int = 0) -> np.ndarray:
    """A smooth random CT (z, y, x) in HU, with air (0, which nnU-Net crops) on one side of every axis."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    image = (30 + 90 * noise / noise.std()).astype(np.int16)
    image[image == 0] = 1
    image[:2], image[:, -3:], image[:, :, :1] = 0, 0, 0
    return image
