"""Predicting: a CT from the array to the written label map, step by step, beside nnUNetPredictor with the same weights.

Steps are timed where Predictor calls them, the network by the events of the device around each of its calls; what is left of the
total is in none of the named steps.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from prediction import network_of, stock, stock_predictor

from gpu_sections.bench import Bench, Row
from gpu_sections.body import body
from gpu_sections.models import model_folder
from nnunetv2_cdpd.inference.label_map import LabelMap
from nnunetv2_cdpd.inference.predictor import Predictor

WINDOWS = "windows s"  # with the label map, which is made while they run
STEPS = {
    "preprocess_array": "preprocess s",
    "label": WINDOWS,
    "predict_logits_from_preprocessed_data": WINDOWS,
    "export": "export s",
}


def predict(bench: Bench) -> Iterator[Row]:
    """Seconds and memory of whole predictions at the network's spacing; the windows of nnUNetPredictor."""
    sizes = bench.sizes
    image = body(sizes.image, bench.device)
    predictor = warm_predictor(bench, sizes.many, sizes.network_mm)
    yield f"ours, {_case(bench, sizes.many, sizes.network_mm)}", whole(bench, predictor, image)
    yield f"nnUNetPredictor, {_case(bench, sizes.many, sizes.network_mm)}", stock_windows(bench, predictor, image)
    predictor = warm_predictor(bench, sizes.most, sizes.network_mm)
    yield f"ours, {_case(bench, sizes.most, sizes.network_mm)}", whole(bench, predictor, image)


def stock_windows(bench: Bench, predictor: Predictor, image: np.ndarray) -> dict[str, Any]:
    """The sliding window of nnUNetPredictor with the same network."""
    case = predictor.preprocess_array(image, bench.sizes.spacing_mm)
    host = stock_predictor(predictor, network_of(predictor), bench.device)
    with bench.peaks() as peaks:
        seconds, _ = bench.seconds(lambda: host.predict_logits_from_preprocessed_data(case.data))
    return {"windows s": seconds} | peaks


def native(bench: Bench) -> Iterator[Row]:
    """The most classes at the spacing of the image, for the memory."""
    sizes = bench.sizes
    image = body(sizes.image, bench.device)
    predictor = warm_predictor(bench, sizes.most, None)
    yield f"ours, {_case(bench, sizes.most, None)}", whole(bench, predictor, image)


def _case(bench: Bench, classes: int, mm: float | None) -> str:
    return f"{' x '.join(map(str, bench.sizes.image))}, {classes} classes, {f'{mm:g} mm' if mm else 'native spacing'}"


def warm_predictor(bench: Bench, classes: int, mm: float | None, **settings: Any) -> Predictor:
    """A predictor that has run: with random weights, at a spacing (`model_folder`)."""
    predictor = Predictor.from_folder(model_folder(bench, classes, mm).folder, device=bench.device, **settings)
    warm_up(predictor)
    return predictor


def warm_up(predictor: Predictor) -> None:
    """A volume of a few windows, so that the libraries of the device are loaded and their kernels chosen."""
    patch, mm = predictor.configuration_manager.patch_size, predictor.configuration_manager.spacing
    predictor.predict(body((patch[0] * 5 // 4, patch[1] * 5 // 4, patch[2])), mm)
    predictor.network.forget()


def whole(bench: Bench, predictor: Predictor, image: np.ndarray) -> dict[str, Any]:
    """One prediction by step."""
    with bench.peaks() as peaks, watched(bench, predictor) as steps:
        total, prediction = bench.seconds(lambda: predictor.predict(image, bench.sizes.spacing_mm))
    labels = prediction.label_map
    return {
        "total s": total, **steps, "write s": written_s(bench, predictor, prediction), **peaks,
        "labelled": f"{np.count_nonzero(labels) / labels.size:.0%}", "labels": len(np.unique(labels[::4, ::4, ::4])),
    }  # fmt: skip


@contextlib.contextmanager
def watched(bench: Bench, predictor: Predictor) -> Iterator[dict[str, Any]]:
    """Seconds of the steps that a prediction calls, and of its network; steps that it does not call are not in it."""
    found: dict[str, Any] = {}
    calls: list[tuple[Any, Any]] = []

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seconds, result = bench.seconds(lambda: function(*args, **kwargs))
            found[step] = round(found.get(step, 0) + seconds, 3)
            return result

        return call

    network = predictor.network
    handles = [
        network.register_forward_pre_hook(lambda *_: calls.append((_moment(bench), None))),
        network.register_forward_hook(lambda *_: calls.append((calls.pop()[0], _moment(bench)))),
    ]
    add, LabelMap.add = LabelMap.add, timed("label map s", LabelMap.add)
    names = [name for name in STEPS if hasattr(predictor, name)]
    for name in names:
        setattr(predictor, name, timed(STEPS[name], getattr(predictor, name)))
    try:
        yield found
    finally:
        LabelMap.add = add
        for name in names:
            delattr(predictor, name)
        for handle in handles:
            handle.remove()
    bench.synchronize()
    between = [first.elapsed_time(last) / 1e3 if bench.on_gpu else last - first for first, last in calls]
    found |= {"network s": round(sum(between), 3), "network calls": len(between)}


def _moment(bench: Bench) -> Any:
    if not bench.on_gpu:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def written_s(bench: Bench, predictor: Predictor, prediction: Any) -> float | str:
    """Seconds to write the label map, gzipped NIfTI."""
    if "SimpleITK" in bench.absent:
        return "no SimpleITK"
    spacing = [float(mm) for mm in reversed(bench.sizes.spacing_mm)]
    place = {"spacing": spacing, "origin": [0.0] * 3, "direction": np.eye(3).ravel().tolist()}
    writer = predictor.writer
    prediction.properties["sitk_stuff"] = place
    seconds, _ = bench.seconds(lambda: prediction.write_label_map(bench.work / "label_map.nii.gz", writer))
    return seconds


def windows(bench: Bench) -> Iterator[Row]:
    """The sliding window alone, by how many windows a batch has."""
    sizes = bench.sizes
    image = body(sizes.image, bench.device)
    data = warm_predictor(bench, sizes.many, sizes.network_mm).preprocess_array(image, sizes.spacing_mm).data
    for count, align in ((1, False), (2, False), (4, False), (4, True)):
        predictor = warm_predictor(bench, sizes.many, sizes.network_mm, windows_per_batch=count, align_windows=align)
        with bench.peaks() as peaks, watched(bench, predictor) as steps:
            predictor.predict_logits_from_preprocessed_data(data)
        yield f"{count} per batch{', aligned' if align else ''}, {sizes.many} classes", steps | peaks


def stock_export(bench: Bench) -> Iterator[Row]:
    """A smaller volume, from the preprocessed image to labels, ours and nnU-Net's.

    Labels are not compared: where classes of random heads overlap, nnU-Net takes the last one and we the most probable.
    """
    sizes = bench.sizes
    predictor = warm_predictor(bench, sizes.many, sizes.network_mm)
    image = body((sizes.cube * 3 // 4,) * 3)
    with bench.peaks() as peaks, watched(bench, predictor) as steps:
        total, _ = bench.seconds(lambda: predictor.predict(image, [1.0] * 3))
    ours_s = total - steps.get("preprocess s", 0)
    name = f"{' x '.join(map(str, image.shape))} at 1 mm, {sizes.many} classes"
    yield f"ours, {name}", {"s": round(ours_s, 3), **peaks}
    case = predictor.preprocess_array(image, [1.0] * 3)
    host = stock(predictor, network_of(predictor), bench.device)
    with bench.peaks() as peaks:
        seconds, _ = bench.seconds(lambda: host(case))
    yield f"nnUNetPredictor, {name}", {"s": seconds, **peaks, "ratio": round(seconds / ours_s, 1)}
