"""Time of a volume's prediction: ours, stock nnU-Net with the same model, and stock nnU-Net with its own network.

    python benchmarks/prediction.py [-m MODEL -i IMAGE ...] [--rounds 3] [-device cuda]
    python benchmarks/evidence write     # the table, from benchmarks/results/prediction

The model and the volume are a trained one (-m, one fold) and images (-i), or random: time does not depend on weights. Every
round runs every way once, in turn, and a ratio is the median over rounds of ratios within a round: other jobs on the machine
then disturb it little. The process's CPU time is taken along with the wall time.

Ways, from preprocessed image to label map:
    nnunet plain   nnUNetPredictor, the plain U-Net that the CDPDNet of these plans is built on
    nnunet         nnUNetPredictor, CDPDNet
    ours           Predictor, CDPDNet
    ours aligned   with align_windows, so that overlapping windows share more slices
At the end, how many labels differ; on trained models only that says something.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parent / "evidence"))
from builders import model as tiny_model

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.classes import CLASS_TABLE
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase

ADDED = ("unet_class_name", "fused_stages", "vision", "patch_size", "text", "task")


def make_model(folder: Path, patch: list[int], num_classes: int, vision: str) -> Path:
    """A model folder of a CDPDNet with six stages."""
    names = tuple(entry.name for entry in CLASS_TABLE if not entry.parents)[:num_classes]
    values = tuple(range(1, len(names) + 1))
    annotation = Annotation(names, values, tuple((value,) for value in values), (Source("s", names),))
    architecture = tiny_model.make_plans(annotation)["configurations"][tiny_model.CONFIGURATION]["architecture"]
    kwargs = architecture["arch_kwargs"]
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    kwargs |= {
        "n_stages": 5, "features_per_stage": [32, 64, 128, 256, 320], "kernel_sizes": [[3, 3, 3]] * 5, "strides": strides,
        "n_conv_per_stage": [2] * 5, "n_conv_per_stage_decoder": [2] * 4, "patch_size": patch, "fused_stages": [2, 3],
    }  # fmt: skip
    kwargs["vision"] |= {"model_name": vision, "model_kwargs": {}, "slice_step": 2}
    return tiny_model.write_model(
        folder, annotation=annotation, patch_size=patch, spacing=[1.5, 1.5, 1.5], architecture=architecture,
        resampling_fn_probabilities="resample_torch_fornnunet",
        resampling_fn_probabilities_kwargs={"is_seg": False, "force_separate_z": None},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-m", dest="model", type=Path, help="a trained model (default: one with random weights)")
    parser.add_argument("-i", dest="images", type=Path, nargs="+", help="images for it (default: noise)")
    parser.add_argument("--shape", type=int, nargs=3, default=[112, 144, 144], help="of the noise, in voxels of the network")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 80, 80], help="of the model with random weights")
    parser.add_argument("--classes", type=int, default=24, help="of that model")
    parser.add_argument("--vision", default="vit_base_patch14_dinov2.lvd142m", help="of that model, by timm's name")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or make_model(Path(folder) / "model", args.patch, args.classes, args.vision)
        ours = Predictor.from_folder(model, device=args.device)
        aligned = Predictor.from_folder(model, device=args.device, align_windows=True)
    cases = [ours.preprocess_files([image]) for image in args.images or ()] or [noise(args.shape)]
    ways = {
        "nnunet plain": stock(ours, plain_network(ours), args.device),
        "nnunet": stock(ours, network_of(ours), args.device),
        "ours": new(ours),
        "ours aligned": new(aligned),
    }
    for case in cases:
        windows = len(ours._internal_get_sliding_window_slicers(tuple(case.data.shape[1:])))
        print(f"volume {tuple(case.data.shape[1:])}, patch {ours.configuration_manager.patch_size}, {windows} windows, image "
              f"{case.properties['shape_before_cropping']}, {len(ours.annotation.classes)} classes, {args.device}")  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(args.rounds):
        for name, predict in ways.items():
            ours.network.forget()
            aligned.network.forget()
            start, cpu_start = time.perf_counter(), time.process_time()
            for case in cases:
                predict(case)
            seconds[name].append(time.perf_counter() - start)
            cpu_seconds[name].append(time.process_time() - cpu_start)
        print(f"  round {index + 1}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in seconds.items()), flush=True)
    from figures import Figures  # here: another benchmark imports this one

    told = f"{'trained' if args.model else f'random weights, {args.vision}'}, {torch.get_num_threads()} threads, {args.device}"
    told += "".join(f", {'x'.join(map(str, case.data.shape[1:]))}" for case in cases)
    columns = [("model, volumes", ""), ("way", ""), ("s", ".1f"), ("of nnunet", ".2f"), ("CPU time, of nnunet", ".2f")]
    size = "images" if args.images else "x".join(map(str, args.shape))
    name = f"{'trained' if args.model else 'random'}_{size}_{torch.get_num_threads()}_threads_{args.device}"
    figures = Figures(__file__, name, columns, rounds=args.rounds, patch=ours.configuration_manager.patch_size)
    for name, times in seconds.items():
        ratio = statistics.median(time / other for time, other in zip(times, seconds["nnunet"]))
        cpu_ratio = statistics.median(time / other for time, other in zip(cpu_seconds[name], cpu_seconds["nnunet"]))
        figures.add(told, name, statistics.median(times), ratio, cpu_ratio)
    figures.write()
    for name, predictor in (("ours", ours), ("ours aligned", aligned)):
        tokens = predictor.network.slice_tokens
        print(f"  {name}: {tokens.encoded} of {tokens.asked} slices encoded")
    compare(ours, aligned, cases, ways["nnunet"])


def noise(shape: Sequence[int]) -> PreprocessedCase:
    """A volume at the network's spacing whose image grid is 1.5 times finer."""
    full = [3 * n // 2 for n in shape]
    properties = {
        "spacing": [1.0, 1.0, 1.0], "shape_before_cropping": full, "shape_after_cropping_and_before_resampling": full,
        "bbox_used_for_cropping": [[0, n] for n in full],
    }  # fmt: skip
    return PreprocessedCase(torch.randn((1, *shape), generator=torch.Generator().manual_seed(0)), properties)


def stock_predictor(ours: Predictor, network: torch.nn.Module, device: str) -> nnUNetPredictor:
    """nnU-Net's predictor with a network of the same plans."""
    with contextlib.redirect_stdout(io.StringIO()):
        host = nnUNetPredictor(device=torch.device(device), allow_tqdm=False)
    plans, configuration = ours.plans_manager, ours.configuration_manager
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    host.manual_initialization(network, plans, configuration, [weights], ours.dataset_json, "", ours.allowed_mirroring_axes)
    return host


def stock(ours: Predictor, network: torch.nn.Module, device: str) -> Callable[[PreprocessedCase], np.ndarray]:
    """nnU-Net's predictor and export."""
    host = stock_predictor(ours, network, device)

    def predict(case: PreprocessedCase) -> np.ndarray:
        logits = host.predict_logits_from_preprocessed_data(case.data)
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, ours.plans_manager, ours.configuration_manager, host.label_manager, case.properties,
            num_threads_torch=torch.get_num_threads(),
        )  # fmt: skip

    return predict


def new(predictor: Predictor) -> Callable[[PreprocessedCase], np.ndarray]:
    return lambda case: predictor.export(predictor.label(case)).label_map


def network_of(ours: Predictor) -> torch.nn.Module:
    """The model's network as nnU-Net builds it."""
    architecture = ours.configuration_manager.configuration["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"],
        ours.num_channels, len(ours.annotation.classes), deep_supervision=False,
    )  # fmt: skip
    network.load_state_dict(ours.list_of_parameters[0])
    return network


def plain_network(ours: Predictor) -> torch.nn.Module:
    """The U-Net that the model's network is built on, with random weights."""
    architecture = ours.configuration_manager.configuration["architecture"]
    kwargs = {key: value for key, value in architecture["arch_kwargs"].items() if key not in ADDED}
    return get_network_from_plans(
        architecture["arch_kwargs"]["unet_class_name"], kwargs, architecture["_kw_requires_import"],
        ours.num_channels, len(ours.annotation.classes), deep_supervision=False,
    )  # fmt: skip


def compare(
    ours: Predictor, aligned: Predictor, cases: Sequence[PreprocessedCase], nnunet: Callable[[PreprocessedCase], np.ndarray]
) -> None:
    """Print how many labels differ: from nnU-Net's, with aligned windows, and, to compare, with windows of another step size."""
    expected = [new(ours)(case) for case in cases]
    others = {"nnunet": [nnunet(case) for case in cases], "ours aligned": [new(aligned)(case) for case in cases]}
    ours.tile_step_size *= 0.9
    others[f"ours with step size {ours.tile_step_size:g}"] = [new(ours)(case) for case in cases]
    labelled = sum(int((labels > 0).sum()) for labels in expected)
    for name, found in others.items():
        differ = sum(int((a != b).sum()) for a, b in zip(found, expected))
        voxels = sum(labels.size for labels in expected)
        share = 100 * differ / max(1, labelled)
        print(f"  {name}: {differ} of {voxels} voxels differ from ours, {share:.4f} % of the labelled ones")


if __name__ == "__main__":
    main()
