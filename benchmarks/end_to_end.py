"""From an image to its label map: seconds by step, peak memory and agreement; ours, stock nnU-Net, and as TotalSegmentator works.

    python benchmarks/end_to_end.py [--slices 150 300 600] [--classes 14 40 104] [--memory 20]

Plans of nnUNetPlannerCDPDCPU (3 mm) for CTs of 512 x 512 x SLICES voxels of 0.8 x 0.8 x 1 mm, random weights, each class above
0.5 in one voxel of a hundred. Every run is a process of its own, one thread, without mirroring; the image is in memory.

    ours                Predictor
    nnunet              the same model and weights by nnU-Net's preprocessing, nnUNetPredictor and export
    totalsegmentator    the steps that TotalSegmentator publishes, of its 3 mm model, with this U-Net: the image resampled by
                        scipy, nnUNetPredictor with one softmax head per class, the label map brought back by nearest neighbour
                        (its own code and weights are not run)

Agreement is that of all voxels: "by our rule" labels nnU-Net's own logits as we do, and so compares windows and precision;
"as painted" compares with nnU-Net's label map, where later classes are painted over earlier ones.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import two_cores

WAYS = ("ours", "nnunet", "totalsegmentator")
STEPS = ("preprocessing", "network", "windows without network", "label map")


class Clock:
    """CPU seconds of each step; those of the network are taken out of the step that they lie in."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.in_network = 0.0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        start, in_network = time.process_time(), self.in_network
        yield
        self.seconds[name] += time.process_time() - start - (self.in_network - in_network)

    def watch(self, network: Any) -> None:
        started: list[float] = []
        network.register_forward_pre_hook(lambda *_: started.append(time.process_time()))
        network.register_forward_hook(lambda *_: self._stopped(started.pop()))

    def _stopped(self, start: float) -> None:
        self.in_network += time.process_time() - start


def make_image(slices: int) -> np.ndarray:
    """Soft tissue of smooth texture in a body of air, (z, y, x) in HU."""
    from scipy.ndimage import gaussian_filter, zoom

    shape = (slices, *two_cores.SHAPE[1:])
    coarse = gaussian_filter(np.random.default_rng(0).normal(size=[n // 8 + 1 for n in shape]).astype(np.float32), 1.5)
    texture = zoom(coarse / coarse.std(), 8, order=1)[tuple(map(slice, shape))]
    y, x = np.ogrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    return np.where((y / 0.65) ** 2 + (x / 0.9) ** 2 < 1, 40 + 60 * texture, -1000).astype(np.int16)


def run(way: str, model: Path, slices: int, output: Path) -> None:
    """One prediction in this process; prints what it took as JSON."""
    import torch

    from nnunetv2_cdpd.inference.predictor import Predictor

    torch.set_num_threads(1)
    predictor = Predictor.from_folder(model, device="cpu", use_mirroring=False)
    image, clock = make_image(slices), Clock()
    with contextlib.redirect_stdout(io.StringIO()):
        labels, by_rule = {"ours": ours, "nnunet": nnunet, "totalsegmentator": totalsegmentator}[way](predictor, image, clock)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        np.save(output, labels)
        if by_rule is not None:
            np.save(output.with_suffix(".rule.npy"), by_rule())
    print(json.dumps({"seconds": {**clock.seconds, "network": clock.in_network}, "peak_gib": peak}))


Labels = tuple[np.ndarray, Callable[[], np.ndarray] | None]


def ours(predictor: Any, image: np.ndarray, clock: Clock) -> Labels:
    from nnunetv2_cdpd.inference.label_map import LabelMap

    add = LabelMap.add

    def timed(label_map: Any, block: Any) -> None:
        start = time.process_time()
        add(label_map, block)
        inside.append(time.process_time() - start)

    inside: list[float] = []
    LabelMap.add = timed
    clock.watch(predictor.network)
    with clock.step("preprocessing"):
        case = predictor.preprocess_array(image, two_cores.SPACING_MM)
    with clock.step("windows without network"):
        labels = predictor.export(predictor.label(case)).label_map
    clock.seconds["label map"] = sum(inside)
    clock.seconds["windows without network"] -= sum(inside)
    return labels, None


def nnunet(predictor: Any, image: np.ndarray, clock: Clock) -> Labels:
    from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    from nnunetv2_cdpd.network.cdpdnet import CDPDNet

    plans, configuration, dataset_json = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    network = predictor.network.network
    assert isinstance(network, CDPDNet)
    host = host_predictor(network, plans, configuration, dataset_json)
    clock.watch(network)
    properties = {"spacing": list(two_cores.SPACING_MM)}
    with clock.step("preprocessing"):
        item = next(PreprocessAdapterFromNpy([image[None]], [None], [properties], None, plans, dataset_json, configuration))
    with clock.step("windows without network"):
        logits = host.predict_logits_from_preprocessed_data(item["data"])
    kept = logits.clone()  # the export changes them in place
    with clock.step("label map"):
        labels = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, configuration, host.label_manager, item["data_properties"], num_threads_torch=1
        )
    return labels, lambda: predictor.label_logits(kept, item["data_properties"]).labels


def totalsegmentator(predictor: Any, image: np.ndarray, clock: Clock) -> Labels:
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from scipy.ndimage import zoom

    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    architecture = configuration.configuration["architecture"]
    added = ("unet_class_name", "fused_stages", "vision", "patch_size", "text", "task")
    kwargs = {key: value for key, value in architecture["arch_kwargs"].items() if key not in added}
    names = predictor.annotation.classes
    network = get_network_from_plans(
        architecture["arch_kwargs"]["unet_class_name"], kwargs, architecture["_kw_requires_import"], 1, len(names) + 1,
        deep_supervision=False,
    )  # fmt: skip
    labels = {"background": 0, **{name: k for k, name in enumerate(names, start=1)}}
    dataset_json = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    host = host_predictor(network, plans, configuration, dataset_json)
    clock.watch(network)
    spacing = [configuration.spacing[axis] for axis in plans.transpose_backward]
    factors = [mm / wanted for mm, wanted in zip(two_cores.SPACING_MM, spacing)]
    with clock.step("preprocessing"):
        resampled = zoom(image.astype(np.float32), factors, order=3)
    with clock.step("windows without network"):
        found = host.predict_single_npy_array(torch.from_numpy(resampled)[None].numpy(), {"spacing": spacing})
    with clock.step("label map"):
        full = zoom(found.astype(np.uint8), [n / m for n, m in zip(image.shape, found.shape)], order=0)
    return full, None


def host_predictor(network: Any, plans: Any, configuration: Any, dataset_json: Any) -> Any:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    host = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    host.manual_initialization(network, plans, configuration, [network.state_dict()], dataset_json, "", None)
    return host


# ---- the table -------------------------------------------------------------------------------------------------------


def measured(way: str, model: Path, slices: int, output: Path, memory: float) -> dict[str, Any] | None:
    """A run in a process of its own; None: it did not survive the memory limit."""
    script = (
        "import resource, sys; limit = int(float(sys.argv[6]) * 2**30); "
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)); sys.path.insert(0, sys.argv[1]); "
        "import end_to_end; from pathlib import Path; "
        "end_to_end.run(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))"
    )
    arguments = [Path(__file__).parent, way, model, slices, output, memory]
    result = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1:] or [f"killed by signal {-result.returncode}"]
        print(f"{way}: did not finish within {memory:g} GiB: {reason[0][:100]}", file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def agreement(one: Path, other: Path) -> str:
    if not (one.exists() and other.exists()):
        return ""
    a, b = (np.load(file, mmap_mode="r") for file in (one, other))
    return f"{100 * np.mean([np.mean(x == y) for x, y in zip(a, b)]):.4f} %"


def row(slices: int, num_classes: int, way: str, found: dict[str, Any] | None, first: dict[str, Any], agreed: str) -> str:
    if found is None:
        return f"| {slices} | {num_classes} | {way} | does not fit | | | | | | | |"
    by_step = [found["seconds"].get(step, 0.0) for step in STEPS]
    network = found["seconds"]["network"]
    ratio, ratio_without = (
        (sum(by_step) - without * network) / (sum(first["seconds"].values()) - without * first["seconds"]["network"])
        for without in (0, 1)
    )
    figures = " | ".join(f"{seconds:.1f}" for seconds in [*by_step, sum(by_step)])
    return f"| {slices} | {num_classes} | {way} | {figures} | {ratio:.2f} | {ratio_without:.1f} | {found['peak_gib']:.2f} | {agreed} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="+", default=[150, 300, 600])
    parser.add_argument("--classes", type=int, nargs="+", default=[14, 40, 104])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--memory", type=float, default=20, help="GiB for a run (default: %(default)g)")
    args = parser.parse_args()
    print(f"| slices | classes | way | {' | '.join(STEPS)} | all | of ours | of ours, without network | peak, GiB | agreement |")
    print("|---:|---:|---|" + "---:|" * (len(STEPS) + 4) + "---|")
    for num_classes in args.classes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            command = [two_cores.__file__, "--work", folder, "--part", "make", "--classes", num_classes]
            subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
            for slices in args.slices:
                outputs = {way: folder / f"{way}.npy" for way in args.ways}
                first: dict[str, Any] = {}
                for way, output in outputs.items():
                    found = measured(way, folder / "model", slices, output, args.memory)
                    first = first or found or {}
                    agreed = ""
                    if way == "nnunet" and found:
                        by_rule = agreement(output.with_suffix(".rule.npy"), outputs["ours"])
                        agreed = f"{by_rule} by our rule, {agreement(output, outputs['ours'])} as painted"
                    print(row(slices, num_classes, way, found, first, agreed), flush=True)
                for file in folder.glob("*.npy"):
                    file.unlink()


if __name__ == "__main__":
    main()
