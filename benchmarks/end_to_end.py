"""From an image to its label map: seconds by step, peak memory and agreement; ours, stock nnU-Net, and as TotalSegmentator works.

    python benchmarks/end_to_end.py [--sizes 256x256x150 512x512x300] [--classes 14 40 104] [--memory 20]
    python benchmarks/evidence write     # the table, from benchmarks/results/end_to_end

Plans of nnUNetPlannerCDPDCPU (3 mm); images of 410 x 410 x 300 or 600 mm. Weights are random, and a random network says noise:
every class somewhere in every cubic centimetre. So that classes lie in compact pieces, as organs do, the last layer reads waves
of the place in the window in place of the features that were computed (--noise leaves them). Every run is a process of its
own, one thread, without mirroring; the image is in memory.

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
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import two_cores

SIZES = {  # shape, voxel size in mm; z, y, x
    "256x256x150": ((150, 256, 256), (2.0, 1.6, 1.6)),
    "512x512x300": ((300, 512, 512), (1.0, 0.8, 0.8)),
    "512x512x600": ((600, 512, 512), (1.0, 0.8, 0.8)),
}
WAYS = ("ours", "nnunet", "totalsegmentator")
_RADIUS, _EXTENT, _STEEPNESS = 8.0, 0.6, 20.0  # voxels; where 0.5 is; logits
STEPS = ("preprocessing", "network", "windows without network", "label map")
COLUMNS = [("image", ""), ("classes", "d"), ("way", ""), *((step, ".1f") for step in (*STEPS, "all")), ("of ours", ".2f")]
COLUMNS += [("of ours, without network", ".1f"), ("peak, GiB", ".2f"), ("agreement", "")]


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


def make_image(size: str) -> np.ndarray:
    """Soft tissue of smooth texture in a body of air, (z, y, x) in HU."""
    from scipy.ndimage import gaussian_filter, zoom

    shape, spacing_mm = SIZES[size]
    coarse = gaussian_filter(np.random.default_rng(0).normal(size=(30, 24, 24)).astype(np.float32), 1.5)  # of 25 mm
    texture = zoom(coarse / coarse.std(), [25 / mm for mm in spacing_mm], order=1)[tuple(map(slice, shape))]
    y, x = np.ogrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    return np.where((y / 0.65) ** 2 + (x / 0.9) ** 2 < 1, 40 + 60 * texture, -1000).astype(np.int16)


def read_waves(model: Path) -> None:
    """Set the last layer of a model so that it finds a place per class in the waves of `waves`."""
    import torch

    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=True)
    names = [name for name in checkpoint["network_weights"] if name.startswith("decoder.seg_layers.")]
    last = sorted(names)[-1].rpartition(".")[0]
    weight, bias = (checkpoint["network_weights"][f"{last}.{name}"] for name in ("weight", "bias"))
    patch = checkpoint["init_args"]["plans"]["configurations"]["3d_fullres"]["patch_size"]
    voxels = waves(weight.shape[1], patch).flatten(1)
    at = torch.randint(voxels.shape[1], (len(weight),), generator=torch.Generator().manual_seed(1))
    weight.copy_(_STEEPNESS * voxels[:, at].T.reshape(weight.shape))
    bias.fill_(-_STEEPNESS * _EXTENT)
    torch.save(checkpoint, file)


def waves(num_features: int, size: Sequence[int]) -> Any:
    """(F, x, y, z) of unit length: products of two of them are near 1 at one place, and fall off within `_RADIUS` voxels."""
    import torch

    frequencies = torch.randn(num_features // 2, 3, generator=torch.Generator().manual_seed(0)) / _RADIUS
    places = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))
    phases = torch.einsum("fa,axyz->fxyz", frequencies, places)
    return torch.cat([phases.sin(), phases.cos()]) / (num_features / 2) ** 0.5


def show_waves(network: Any) -> None:
    """Let the network's last layer read waves."""
    shown: dict[tuple[int, ...], Any] = {}

    def replace(layer: Any, given: tuple[Any]) -> tuple[Any]:
        size = tuple(given[0].shape[1:])
        if size not in shown:
            shown[size] = waves(size[0], size[1:])
        return (shown[size].expand(given[0].shape),)

    network.decoder.seg_layers[-1].register_forward_pre_hook(replace)


def run(way: str, model: Path, size: str, output: Path, noise: bool) -> None:
    """One prediction in this process; prints what it took as JSON."""
    import torch

    from nnunetv2_cdpd.inference.predictor import Predictor

    torch.set_num_threads(1)
    predictor = Predictor.from_folder(model, device="cpu", use_mirroring=False)
    image, clock = make_image(size), Clock()
    prepare = (lambda network: None) if noise else show_waves
    with contextlib.redirect_stdout(io.StringIO()):
        function = {"ours": ours, "nnunet": nnunet, "totalsegmentator": totalsegmentator}[way]
        labels, by_rule = function(predictor, image, SIZES[size][1], clock, prepare)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        np.save(output, labels)
        if by_rule is not None:
            np.save(output.with_suffix(".rule.npy"), by_rule())
    print(json.dumps({"seconds": {**clock.seconds, "network": clock.in_network}, "peak_gib": peak}))


Prepare = Callable[[Any], None]
Labels = tuple[np.ndarray, Callable[[], np.ndarray] | None]


def ours(predictor: Any, image: np.ndarray, spacing_mm: Sequence[float], clock: Clock, prepare: Prepare) -> Labels:
    from nnunetv2_cdpd.inference.label_map import LabelMap

    add = LabelMap.add

    def timed(label_map: Any, block: Any) -> None:
        start = time.process_time()
        add(label_map, block)
        inside.append(time.process_time() - start)

    inside: list[float] = []
    LabelMap.add = timed
    prepare(predictor.network.network)
    clock.watch(predictor.network)
    with clock.step("preprocessing"):
        case = predictor.preprocess_array(image, spacing_mm)
    with clock.step("windows without network"):
        labels = predictor.export(predictor.label(case)).label_map
    clock.seconds["label map"] = sum(inside)
    clock.seconds["windows without network"] -= sum(inside)
    return labels, None


def nnunet(predictor: Any, image: np.ndarray, spacing_mm: Sequence[float], clock: Clock, prepare: Prepare) -> Labels:
    from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    from nnunetv2_cdpd.network.cdpdnet import CDPDNet

    plans, configuration, dataset_json = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    network = predictor.network.network
    assert isinstance(network, CDPDNet)
    host = host_predictor(network, plans, configuration, dataset_json)
    prepare(network)
    clock.watch(network)
    properties = {"spacing": list(spacing_mm)}
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


def totalsegmentator(predictor: Any, image: np.ndarray, spacing_mm: Sequence[float], clock: Clock, prepare: Prepare) -> Labels:
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
    own, other = network.decoder.seg_layers[-1], predictor.network.network.decoder.seg_layers[-1]
    own.weight.data[0], own.bias.data[0] = 0, 0
    own.weight.data[1:], own.bias.data[1:] = other.weight.data, other.bias.data
    labels = {"background": 0, **{name: k for k, name in enumerate(names, start=1)}}
    dataset_json = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    host = host_predictor(network, plans, configuration, dataset_json)
    prepare(network)
    clock.watch(network)
    spacing = [configuration.spacing[axis] for axis in plans.transpose_backward]
    factors = [mm / wanted for mm, wanted in zip(spacing_mm, spacing)]
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


def measured(way: str, model: Path, size: str, output: Path, memory: float, noise: bool) -> dict[str, Any] | None:
    """A run in a process of its own; None: it did not survive the memory limit."""
    script = (
        "import resource, sys; limit = int(float(sys.argv[6]) * 2**30); "
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)); sys.path.insert(0, sys.argv[1]); "
        "import end_to_end; from pathlib import Path; "
        "end_to_end.run(sys.argv[2], Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]), sys.argv[7] == 'True')"
    )
    arguments = [Path(__file__).parent, way, model, size, output, memory, noise]
    result = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1:] or [f"killed by signal {-result.returncode}"]
        if result.returncode != -signal.SIGKILL and "memory" not in reason[0].lower():
            sys.exit(f"{way}: {result.stderr}")
        print(f"{way}: did not finish within {memory:g} GiB: {reason[0][:100]}", file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def agreement(one: Path, other: Path) -> str:
    if not (one.exists() and other.exists()):
        return ""
    a, b = (np.load(file, mmap_mode="r") for file in (one, other))
    return f"{100 * np.mean([np.mean(x == y) for x, y in zip(a, b)]):.4f} %"


def cells_of(found: dict[str, Any] | None, first: dict[str, Any], agreed: str) -> list[Any]:
    """After image, classes and way."""
    if found is None:
        return ["does not fit", *[None] * (len(COLUMNS) - 4)]
    by_step = [found["seconds"].get(step, 0.0) for step in STEPS]
    network = found["seconds"]["network"]
    ratio, ratio_without = (
        (sum(by_step) - without * network) / (sum(first["seconds"].values()) - without * first["seconds"]["network"])
        for without in (0, 1)
    )
    return [*by_step, sum(by_step), ratio, ratio_without, found["peak_gib"], agreed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--classes", type=int, nargs="+", default=[14, 40, 104])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--memory", type=float, default=20, help="GiB for a run (default: %(default)g)")
    parser.add_argument("--noise", action="store_true", help="leave what the random network says")
    args = parser.parse_args()
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: it would count in the memory of the processes that are measured

    for num_classes in args.classes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            command = [two_cores.__file__, "--work", folder, "--part", "make", "--classes", num_classes]
            subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
            if not args.noise:
                read_waves(folder / "model")
            for size in args.sizes:
                outputs = {way: folder / f"{way}.npy" for way in args.ways}
                first: dict[str, Any] = {}
                name = f"{size}_{num_classes:03d}{'_noise' * args.noise}"
                figures = Figures(__file__, name, COLUMNS, memory_gib=args.memory, noise=args.noise)
                for way, output in outputs.items():
                    found = measured(way, folder / "model", size, output, args.memory, args.noise)
                    first = first or found or {}
                    agreed = ""
                    if way == "nnunet" and found:
                        by_rule = agreement(output.with_suffix(".rule.npy"), outputs["ours"])
                        agreed = f"{by_rule} by our rule, {agreement(output, outputs['ours'])} as painted"
                    figures.add(size, num_classes, way, *cells_of(found, first, agreed))
                figures.write()
                for file in folder.glob("*.npy"):
                    file.unlink()


if __name__ == "__main__":
    main()
