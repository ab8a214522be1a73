"""Descriptions of exported models, and models whose vision tokens have an effect."""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from packaging.requirements import Requirement

from builders import model as tiny_model
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.portable.description import CT, Description, Normalization
from nnunetv2_cdpd.portable.rivalry import Rivalry
from nnunetv2_cdpd.volumes.axes import ResamplingRule

RULE = ResamplingRule(3, 0, None, 3)
LINEAR_RULE = ResamplingRule(1, 0, None, 3)


def make_description(**changes) -> Description:
    """Of a model of one CT channel and three classes: a liver with a tumor in it, and a spleen."""
    numbers = {"mean": 10.0, "std": 60.0, "percentile_00_5": -100.0, "percentile_99_5": 250.0}
    entries = {
        "made_by": "nnunetv2-cdpd 0",
        "about": {"folds": ["0"]},
        "channels": ("CT",),
        "reorient": False,
        "transpose": (2, 0, 1),
        "spacing": (2.5, 1.4, 1.1),
        "normalizations": (Normalization(CT, False, numbers),),
        "image_rule": RULE,
        "patch_size": (8, 16, 24),
        "mirror_axes": (),
        "logits_rule": LINEAR_RULE,
        "classes": {"liver": 1, "liver_tumor": 2, "spleen": 6},
        "outputs": ("liver", "liver_tumor", "spleen"),
        "stored": (0, 1, 2, 6),
        "rivalry": Rivalry({None: (0, 2), 0: (1,)}),
    }
    return Description(**{**entries, **changes})


def write_variant(folder: Path, name: str) -> Path:
    """A model folder with random weights whose parts all have an effect, in one of `VARIANTS`."""
    changes = dict(VARIANTS[name])
    architecture = tiny_model.make_plans()["configurations"][tiny_model.CONFIGURATION]["architecture"]
    kwargs = architecture["arch_kwargs"]
    kwargs |= changes.pop("unet", {})
    kwargs = {key: value for key, value in kwargs.items() if value != "none"}
    architecture["arch_kwargs"] = kwargs
    kwargs["vision"] |= changes.pop("vision", {})
    channels = changes.get("channels", 1)
    kwargs["vision"]["intensity_windows"] = [[-2.0, 2.0]] * channels
    kwargs["patch_size"] = changes.get("patch_size", kwargs["patch_size"])
    if changes.get("universal") is False:
        kwargs["task"] = {"prompts": kwargs["task"]["prompts"][:-1], "universal": False}
    plans = changes.pop("plans", {})
    tiny_model.write_model(folder, architecture=architecture, **changes)
    if plans:
        (folder / "plans.json").write_text(json.dumps(json.loads((folder / "plans.json").read_text()) | plans))
    for file in folder.glob("fold_*/*.pth"):
        checkpoint = torch.load(file, weights_only=False)
        checkpoint["init_args"]["plans"] |= plans
        weights = checkpoint["network_weights"]
        generator = torch.Generator().manual_seed(len(str(file.parent)))
        for key, weight in weights.items():  # cross-attention adds nothing before it is trained
            if key.startswith("fusions.") and (".project." in key or ".mlp.2." in key):
                weights[key] = 0.3 * torch.randn(weight.shape, generator=generator)
        torch.save(checkpoint, file)
    return folder


_SLICES = {
    "conv_op": "torch.nn.Conv2d",
    "norm_op": "torch.nn.InstanceNorm2d",
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
}
VARIANTS = {
    "plain": {"mirroring": (0, 2), "plans": {"image_reader_writer": "NibabelIOWithReorient"}},
    "folds": {"folds": (0, 1), "spacing": [4.0, 1.0, 1.0], "vision": {"slice_step": 3}, "patch_size": [10, 16, 24]},
    "slices": {"unet": _SLICES, "patch_size": [16, 24], "spacing": [1.4, 1.1], "mirroring": (0, 1)},
    "residual, MR": {
        "unet": {
            "unet_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
            "n_blocks_per_stage": [1, 1, 1],
            "n_conv_per_stage": "none",
        },
        "channels": 2,
        "normalization_schemes": ["ZScoreNormalization"] * 2,
        "use_mask_for_norm": [True, False],
    },
    "tasks": {"universal": False, "vision": {"model_name": "vit_small_patch14_dinov2.lvd142m", "slice_axis": 2}},
}


def write_images(folder: Path, channels: int = 1, shape=(26, 21, 34), spacing=(0.9, 0.8, 2.0)) -> list[Path]:
    """The channels of one image, turned in space."""
    folder.mkdir(exist_ok=True)
    files = []
    for channel in range(channels):
        image = sitk.GetImageFromArray(tiny_model.make_image(shape, seed=channel))
        image.SetSpacing(spacing)
        image.SetOrigin((12.5, -30.0, 7.0))
        image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
        files.append(folder / f"case_000{channel}.nii.gz")
        sitk.WriteImage(image, str(files[-1]))
    return files


def write_case(file: Path, array: np.ndarray, spacing) -> None:
    """(Z, Y, X), spacing in that order, in canonical axes."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(mm) for mm in spacing[::-1]])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(file))


def only(folder: Path, *distributions: str) -> Path:
    """A folder of links to installed distributions and what they require: what a fresh environment with them would hold."""
    folder.mkdir()
    waiting, seen = list(distributions), set()
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))
        waiting += [Requirement(text).name for text in distribution.requires or () if "extra ==" not in text]
    return folder


def labelled_case(seed: int, shape=(20, 36, 40)) -> tuple[np.ndarray, np.ndarray]:
    """A CT in HU and its label map (x, y, z) in the tiny model's values: ellipsoids of a class's intensity in noise."""
    rng = np.random.default_rng(seed)
    image, labels = np.full(shape, 10.0), np.zeros(shape, np.uint8)
    places = np.indices(shape).astype(float)
    centre = radius = np.zeros(3)
    for value, hu in ((1, 90), (2, 190), (3, -60), (4, 140), (6, 45)):
        if value == 2:  # a tumor, in the liver
            radius = radius / 2
        else:
            centre, radius = rng.uniform(0.25, 0.75, 3) * shape, rng.uniform(0.12, 0.3, 3) * shape
        inside = sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre, radius)) < 1
        image[inside], labels[inside] = hu, value
    return (image + 12 * rng.normal(size=shape)).astype(np.float32), labels


def train_model(folder: Path, steps: int) -> Path:
    """The tiny model of some optimizer steps: it labels what `labelled_case` makes, mostly right."""
    write_variant(folder, "plain")
    predictor = Predictor.from_folder(folder, device="cpu")
    network = predictor.network.network.train()
    regions = tiny_model.ANNOTATION.regions
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], 3e-3)
    patch, rng = predictor.configuration_manager.patch_size, np.random.default_rng(0)
    cases = [labelled_case(seed) for seed in range(8)]
    for _ in range(steps):
        batch = []
        for case in rng.choice(len(cases), 2):
            corner = [int(rng.integers(0, n - p + 1)) for n, p in zip(cases[case][0].shape, patch)]
            box = tuple(slice(start, start + size) for start, size in zip(corner, patch))
            batch.append([part[box] for part in cases[case]])
        images = torch.from_numpy(np.stack([(np.clip(image, -100, 250) - 10) / 60 for image, _ in batch]))[:, None]
        targets = torch.from_numpy(np.stack([[np.isin(labels, region) for region in regions] for _, labels in batch])).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    torch.save({**checkpoint, "network_weights": network.state_dict()}, file)
    return folder
