"""The planner's memory estimate beside the measured peak of a training step on a GPU.

    python benchmarks/planner_memory.py [--planners nnUNetPlannerCDPD nnUNetPlannerCDPDM] [--classes 2 32] [--encoder dinov2]

Plans an imagined abdominal CT dataset (spacing 3 x 0.8 x 0.8 mm, 100 x 400 x 400 voxels), builds the network of every
configuration, and runs the trainer's own step on random data: mixed precision, the partial-label loss, deep supervision, AdamW.
Printed per configuration: patch, batch, the estimate in GB by nnU-Net's reference (so many units are so many GB), the peak of
the memory allocated and reserved, and their ratio to the estimate. Weights are random, which costs the same memory.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SPACING, SHAPE, CASES = [3.0, 0.8, 0.8], [100, 400, 400], 200
INTENSITIES = {
    "mean": 75.0,
    "std": 50.0,
    "percentile_00_5": -100.0,
    "percentile_99_5": 250.0,
    "median": 70.0,
    "min": -200.0,
    "max": 300.0,
}
STEPS = 3  # the optimizer's state is there from the second one on


def imagined_dataset(folder: Path, classes: int, encoder: str) -> None:
    """What planning reads of a dataset, and nnU-Net's folders and the encoder of vision tokens set to it; '': no tokens."""
    os.environ["CDPD_VISION_ENCODER"] = encoder
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(folder / name)
    raw, preprocessed = (folder / name / "Dataset999_Imagined" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    files = {f"case_{i}": {"images": [f"case_{i}.nii.gz"], "label": f"label_{i}.nii.gz"} for i in range(CASES)}
    labels = {"background": 0, **{f"class {k}": [k, k] for k in range(1, classes + 1)}}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "regions_class_order": list(range(1, classes + 1))}
    description |= {
        "numTraining": CASES,
        "file_ending": ".nii.gz",
        "dataset": files,
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    fingerprint = {
        "spacings": [SPACING] * CASES,
        "shapes_after_crop": [SHAPE] * CASES,
        "median_relative_size_after_cropping": 1.0,
    }
    fingerprint["foreground_intensity_properties_per_channel"] = {"0": INTENSITIES}
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


def peak_gb(configuration: dict, planner: Any, compile_network: bool) -> tuple[float, float]:
    """Peak of the memory allocated and reserved by training steps, in GB."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    from nnunetv2_cdpd.training.loss import PartialLabelLoss

    architecture, batch, patch = configuration["architecture"], configuration["batch_size"], configuration["patch_size"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"], 1,
        len(planner.annotation.classes), deep_supervision=True,
    ).cuda().train()  # fmt: skip
    step = torch.compile(network) if compile_network else network
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-4)
    scaler = torch.amp.GradScaler("cuda")
    x = torch.randn(batch, 1, *patch, device="cuda")
    with torch.no_grad(), torch.autocast("cuda"):
        shapes = [output.shape[2:] for output in network(x)]
    loss_function = PartialLabelLoss(planner.annotation, weights=[1 / 2**i for i in range(len(shapes))]).cuda()
    sources = torch.zeros(batch, dtype=torch.long, device="cuda")
    target: list[Tensor] = [torch.randint(0, 2, (batch, 1, *shape), device="cuda", dtype=torch.int16) for shape in shapes]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda"):
            loss = loss_function(step(x), [*target, sources])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return torch.cuda.max_memory_allocated() / 1e9, torch.cuda.max_memory_reserved() / 1e9


def estimate_gb(configuration: dict, planner: Any) -> float:
    """The planner's count for the whole batch, by nnU-Net's reference."""
    architecture, patch = configuration["architecture"], configuration["patch_size"]
    added = ("unet_class_name", "fused_stages", "vision", "patch_size", "text", "task")
    unet = {key: value for key, value in architecture["arch_kwargs"].items() if key not in added}
    units = planner.static_estimate_VRAM_usage(
        patch,
        1,
        len(planner.annotation.classes),
        architecture["arch_kwargs"]["unet_class_name"],
        unet,
        architecture["_kw_requires_import"],
    )
    flat = len(patch) == 2
    reference = planner.UNet_reference_val_2d if flat else planner.UNet_reference_val_3d
    reference_batch = planner.UNet_reference_val_corresp_bs_2d if flat else planner.UNet_reference_val_corresp_bs_3d
    return planner.UNet_reference_val_corresp_GB * units * configuration["batch_size"] / (reference * reference_batch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planners", nargs="+", default=["nnUNetPlannerCDPD", "nnUNetPlannerCDPDM"])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 32])
    parser.add_argument("--encoder", default="dinov2", help="of vision tokens; '': none")
    parser.add_argument("--compile", action="store_true", help="torch.compile, as nnU-Net on a GPU")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "planner_memory.py: no CUDA device here; the peak memory of a training step can only be measured on one",
            file=sys.stderr,
        )
        return 1
    print(
        "| planner | classes | configuration | patch | batch | fused stages | slice step | estimate GB | allocated GB | "
        "reserved GB | allocated / estimate |"
    )
    print("|---|---:|---|---|---:|---|---:|---:|---:|---:|---:|")
    for classes in args.classes:
        with tempfile.TemporaryDirectory() as folder:
            imagined_dataset(Path(folder), classes, args.encoder)
            from nnunetv2_cdpd.link import find_class  # nnU-Net reads its folders when it is imported

            for name in args.planners:
                planner = find_class(name)(999)
                with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net prints its plans
                    configurations = planner.plan_experiment()["configurations"]
                for configuration_name, configuration in configurations.items():
                    if "architecture" not in configuration:
                        continue
                    estimate = estimate_gb(configuration, planner)
                    allocated, reserved = peak_gb(configuration, planner, args.compile)
                    kwargs = configuration["architecture"]["arch_kwargs"]
                    fused, step = (kwargs["fused_stages"], kwargs["vision"]["slice_step"]) if kwargs["vision"] else ("", "")
                    patch = " x ".join(map(str, configuration["patch_size"]))
                    print(
                        f"| {name} | {classes} | {configuration_name} | {patch} | {configuration['batch_size']} | "
                        f"{fused} | {step} | {estimate:.1f} | {allocated:.1f} | "
                        f"{reserved:.1f} | {allocated / estimate:.2f} |"
                    )
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}{', compiled' if args.compile else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
