"""Export: logits to label maps and probabilities, against nnU-Net's own export and against the exact computation."""

import time
from functools import partial
from itertools import pairwise
from threading import Event, Thread

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch.nn.functional import interpolate

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.inference import label_map as labelling
from nnunetv2_cdpd.inference.export import Geometry, place_logits, probability_slabs
from nnunetv2_cdpd.inference.label_map import label_map
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.resampling import axis_matrix, interpolation_kinds, resampled
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPD
from nnunetv2_cdpd.volumes.axes import AxisResampling, axis_resamplings

pytestmark = pytest.mark.usefixtures("one_thread")

K = 4


def flat(num_classes=K, value_of=lambda k: k + 1):
    """The tree of exclusive classes."""
    classes, values = tuple(f"class_{k}" for k in range(num_classes)), tuple(map(value_of, range(num_classes)))
    return ClassTree.of(Annotation(classes, values, tuple((value,) for value in values), (Source("s", classes),)))


def geometry_of(logits, new_shape, transpose_backward=(0, 1, 2)):
    """An image that the network saw whole, resampled linearly."""
    axes = axis_resamplings(["linear"] * 3, logits.shape[1:], new_shape)
    return Geometry(axes, tuple(map(slice, new_shape)), new_shape, transpose_backward)


def make_logits(shape, num_classes=K, seed=0, dtype=torch.half):
    """Blobs in the middle of the volume that overlap, and are nowhere near the corners."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
    logits = []
    for _ in range(num_classes):
        centre, radius = generator.uniform(0.35, 0.65, 3), generator.uniform(0.15, 0.3, 3)
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius))
        logits.append(6 * (1 - np.sqrt(distance)) + generator.normal(size=shape) * 0.3)
    return torch.from_numpy(np.stack(logits)).to(dtype)


def make_case(shape, cropped, full, corner, spacing, configuration_spacing, transpose=(2, 0, 1), **configuration):
    """Plans, configuration and properties of a case; all shapes in the network's order of axes, spacing in the image's."""
    plans = tiny_model.make_plans(spacing=list(configuration_spacing), **configuration)
    plans["transpose_forward"], plans["transpose_backward"] = list(transpose), np.argsort(transpose).tolist()
    manager = PlansManager(plans)
    properties = {
        "spacing": list(spacing),
        "shape_before_cropping": tuple(full),
        "shape_after_cropping_and_before_resampling": tuple(cropped),
        "bbox_used_for_cropping": [[start, start + length] for start, length in zip(corner, cropped)],
    }
    return manager, manager.get_configuration(tiny_model.CONFIGURATION), properties


LABELS = {"background": 0, **{f"c{k}": [k + 1, k + 1] for k in range(K)}}
DATASET_JSON = {"labels": LABELS, "regions_class_order": [1, 2, 3, 4]}
CASES = {  # logits, cropped, full, corner in it, image spacing (z, y, x), spacing of the logits (network's order)
    "finer": ((13, 21, 17), (31, 28, 40), (35, 30, 47), (1, 2, 3), (1.0, 0.5, 0.7), (1.7, 1.4, 1.1)),
    "coarser": ((33, 21, 37), (17, 20, 13), (20, 22, 16), (0, 1, 2), (2.0, 1.9, 2.2), (1.0, 1.1, 1.2)),
    "same": ((13, 21, 17), (13, 21, 17), (13, 23, 19), (0, 1, 1), (1.0, 1.2, 1.1), (1.1, 1.0, 1.2)),
    "thick slices": ((9, 21, 17), (20, 40, 33), (22, 44, 35), (1, 0, 2), (0.8, 0.7, 5.0), (6.0, 1.4, 1.1)),
    "slices of one voxel": ((1, 21, 17), (1, 40, 33), (1, 44, 35), (0, 0, 2), (0.8, 0.7, 5.0), (6.0, 1.4, 1.1)),
}


def exclusive(shape):
    """Logits of which at most one is positive anywhere, also between voxels, so that nnU-Net's order does not matter."""
    logits = make_logits(shape, dtype=torch.float64)
    order = logits.sort(0, descending=True).values
    return torch.where(logits == order[0], logits, -20.0).half()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fn", ["resample_data_or_seg_to_shape", "resample_torch_fornnunet"])
def test_label_map_is_nnunets_where_classes_do_not_overlap(case, fn):
    shape, cropped, full, corner, spacing, configuration_spacing = CASES[case]
    kwargs = {"is_seg": False, "force_separate_z": None} | ({"order": 1, "order_z": 0} if "or_seg" in fn else {})
    manager, configuration, properties = make_case(
        shape, cropped, full, corner, spacing, configuration_spacing,
        resampling_fn_probabilities=fn, resampling_fn_probabilities_kwargs=kwargs,
    )  # fmt: skip
    logits = exclusive(shape)
    expected = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.clone(), manager, configuration, manager.get_label_manager(DATASET_JSON), properties, num_threads_torch=1
    )
    placed, geometry = place_logits(logits, manager, configuration, properties)
    found = label_map(placed, range(K), geometry, flat())
    assert found.shape == expected.shape == tuple(np.array(full)[list(manager.transpose_backward)])
    assert found.dtype == np.uint8 and (found > 0).mean() > 0.02
    # nnU-Net rounds interpolated halves to halves again, which decides ties at 0.5 otherwise
    assert (found != expected).mean() <= 1e-4


@pytest.mark.parametrize("tile", [3, 12, 100])
@pytest.mark.parametrize("dtype", [torch.half, torch.float32, torch.float64])
def test_label_map_is_the_exact_computation(tile, dtype, monkeypatch):
    monkeypatch.setattr(labelling, "TILE", tile)
    logits, new_shape = make_logits((23, 17, 29), dtype=dtype), (41, 45, 37)
    geometry = geometry_of(logits, new_shape)
    exact = interpolate(logits[None].double(), new_shape, mode="trilinear")[0]
    tree = flat()
    expected = tree.winners(exact, range(K)).numpy()
    assert (label_map(logits, range(K), geometry, tree) != expected).mean() <= 1e-4


def test_logits_of_noise_everywhere_are_exact_too():
    logits, new_shape = torch.randn((K, 11, 13, 9), generator=torch.Generator().manual_seed(1)), (21, 20, 23)
    geometry = geometry_of(logits, new_shape)
    exact = interpolate(logits[None].double(), new_shape, mode="trilinear")[0]
    assert (label_map(logits, range(K), geometry, flat()) != flat().winners(exact, range(K)).numpy()).mean() <= 1e-4


@pytest.mark.parametrize("wanted", [{1}, {0, 4}, {5}, {2, 3}])
def test_some_classes_lie_where_a_run_of_all_classes_has_them(wanted):
    tree = ClassTree.of(tiny_model.ANNOTATION)
    logits, new_shape = make_logits((14, 20, 17), num_classes=6, seed=0), (30, 29, 40)
    geometry = geometry_of(logits, new_shape, (2, 0, 1))
    full = label_map(logits, range(6), geometry, tree)
    needed = tree.needed_for(wanted)
    some = label_map(logits[list(needed)], needed, geometry, tree, wanted)
    for k in wanted:
        region = tiny_model.ANNOTATION.regions[k]
        assert np.isin(full, region).any()
        assert np.array_equal(np.isin(full, region), np.isin(some, region))


def test_a_tile_of_one_class_is_filled_without_interpolating(monkeypatch):
    monkeypatch.setattr(labelling, "resampled", None)  # would be called where two classes are possible
    logits = torch.full((2, 8, 9, 10), -3.0).half()
    logits[1] = 2.0
    new_shape = (12, 15, 11)
    geometry = geometry_of(logits, new_shape)
    assert (label_map(logits, [0, 1], geometry, flat(2)) == 2).all()


def test_values_beyond_a_byte_are_written_in_two():
    logits = torch.full((1, 3, 4, 5), 1.0)
    geometry = geometry_of(logits, (3, 4, 5))
    found = label_map(logits, [0], geometry, flat(1, lambda k: 300))
    assert found.dtype == np.uint16 and (found == 300).all()


@pytest.mark.parametrize("case", ["finer", "thick slices"])
def test_probabilities_are_nnunets(case):
    shape, cropped, full, corner, spacing, configuration_spacing = CASES[case]
    manager, configuration, properties = make_case(shape, cropped, full, corner, spacing, configuration_spacing)
    logits = make_logits(shape)
    _, expected = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.clone(), manager, configuration, manager.get_label_manager(DATASET_JSON), properties, True, num_threads_torch=1
    )
    placed, geometry = place_logits(logits, manager, configuration, properties)
    for k in range(K):
        slabs = list(probability_slabs(placed[k], geometry, slices=7))
        assert max(len(slab) for slab in slabs) == 7
        np.testing.assert_allclose(np.concatenate(slabs), expected[k], atol=2e-3)


@pytest.mark.parametrize("n, m", [(1, 1), (1, 5), (5, 1), (7, 7), (7, 15), (15, 7), (4, 400)])
def test_linear_axis_is_torchs(n, m):
    axis, x = AxisResampling.of(n, m, "linear"), torch.randn(n, dtype=torch.float64)
    expected = interpolate(x[None, None], m, mode="linear")[0, 0]
    torch.testing.assert_close(axis_matrix(axis, (0, m), torch.float64) @ x[slice(*axis.inputs_of((0, m)))], expected)
    start = m // 3
    tiles = axis.tiles(3, (start, m))
    assert tiles[0][0] == start and tiles[-1][1] == m and all(a[1] == b[0] for a, b in pairwise(tiles))
    parts = [axis_matrix(axis, tile, torch.float64) @ x[slice(*axis.inputs_of(tile))] for tile in tiles]
    torch.testing.assert_close(torch.cat(parts), expected[start:])


@pytest.mark.parametrize("n, m", [(1, 5), (7, 7), (7, 15), (15, 7), (9, 20)])
def test_nearest_axis_is_nnunets(n, m):
    x = np.random.default_rng(0).normal(size=(1, n, 6, 7))
    axis = AxisResampling.of(n, m, "nearest")
    for expected in (
        resample_data_or_seg_to_shape(x, (m, 6, 7), (6, 1, 1), (6 * n / m, 1, 1), order=1, order_z=0, force_separate_z=True),
        resample_torch_fornnunet(x, (m, 6, 7), (6, 1, 1), (6 * n / m, 1, 1), force_separate_z=True),
    ):
        np.testing.assert_allclose(x[0][axis.lower], expected[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "nearest"])
@pytest.mark.parametrize("n, m", [(1, 5), (7, 7), (7, 15), (15, 7), (15, 2), (9, 20)])
def test_every_voxel_of_the_result_belongs_to_one_range_of_inputs(n, m, kind):
    axis = AxisResampling.of(n, m, kind)
    for border in range(n + 1):
        (_, end), (start, stop) = axis.outputs_of((0, border)), axis.outputs_of((border, n))
        assert end == start and stop == m
        for outputs, inputs in (((0, end), (0, border)), ((start, m), (max(0, border - 1), n))):
            if outputs[0] < outputs[1]:
                first, last = axis.inputs_of(outputs)
                assert inputs[0] <= first and last <= inputs[1]


def test_a_box_is_resampled_along_all_axes():
    box, shape = torch.randn(2, 4, 5, 6, dtype=torch.float64), (9, 7, 12)
    matrices = [
        axis_matrix(axis, (0, axis.num_outputs), torch.float64) for axis in axis_resamplings(["linear"] * 3, (4, 5, 6), shape)
    ]
    torch.testing.assert_close(resampled(box, matrices), interpolate(box[None], shape, mode="trilinear")[0])


@pytest.mark.parametrize(
    "fn, kwargs, expected",
    [
        (resample_data_or_seg_to_shape, {"order": 1, "force_separate_z": None}, ("nearest", "linear", "linear")),
        (resample_data_or_seg_to_shape, {"order": 1, "order_z": 1, "force_separate_z": None}, ("linear",) * 3),
        (resample_data_or_seg_to_shape, {"order": 1}, ("linear",) * 3),  # force_separate_z is False by default here
        (resample_data_or_seg_to_shape, {"order": 3}, None),
        (resample_data_or_seg_to_shape, {}, None),  # order is 3 by default
        (resample_data_or_seg_to_shape, {"order": 1, "is_seg": True}, None),
        (resample_data_or_seg_to_shape, {"order": 1, "order_z": 3, "force_separate_z": None}, None),
        (resample_torch_fornnunet, {}, ("nearest", "linear", "linear")),
        (resample_torch_fornnunet, {"force_separate_z": False}, ("linear",) * 3),
        (resample_torch_fornnunet, {"aniso_axis_mode": "linear"}, ("linear",) * 3),
        (resample_torch_fornnunet, {"mode": "nearest"}, None),
        (resample_torch_fornnunet, {"separate_z_anisotropy_threshold": 10}, ("linear",) * 3),
        (interpolate, {}, None),
    ],
)
def test_interpolation_is_read_from_the_plans(fn, kwargs, expected):
    assert interpolation_kinds(partial(fn, **kwargs), (6.0, 1.4, 1.1), (5.0, 0.7, 0.8)) == expected


def test_plans_of_our_planner_name_the_fast_function_of_the_same_interpolation():
    planner = object.__new__(nnUNetPlannerCDPD)
    function, kwargs = planner.determine_segmentation_softmax_export_fn()
    default, default_kwargs = super(nnUNetPlannerCDPD, planner).determine_segmentation_softmax_export_fn()
    assert function is resample_torch_fornnunet
    for spacings in (((6.0, 1.4, 1.1), (5.0, 0.7, 0.8)), ((1.5, 1.4, 1.1), (1.0, 0.7, 0.8))):
        expected = interpolation_kinds(partial(default, **default_kwargs), *spacings)
        assert interpolation_kinds(partial(function, **kwargs), *spacings) == expected


def test_another_resampling_than_linear_is_nnunets_own():
    shape, cropped, full, corner, spacing, configuration_spacing = CASES["finer"]
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    manager, configuration, properties = make_case(
        shape, cropped, full, corner, spacing, configuration_spacing, resampling_fn_probabilities_kwargs=kwargs
    )
    logits = exclusive(shape).float()
    placed, geometry = place_logits(logits.clone(), manager, configuration, properties)
    assert placed.shape == (K, *cropped)
    expected = resample_data_or_seg_to_shape(logits.numpy(), cropped, configuration_spacing, [0.7, 1.0, 0.5], **kwargs)
    np.testing.assert_array_equal(placed.numpy(), expected)
    assert label_map(placed, range(K), geometry, flat()).any()


def test_a_2d_configuration_keeps_the_slices():
    plans = tiny_model.make_plans(spacing=[1.4, 1.1])
    manager = PlansManager(plans)
    properties = {
        "spacing": [0.7, 0.5, 3.0],
        "shape_before_cropping": (5, 40, 30),
        "shape_after_cropping_and_before_resampling": (5, 40, 30),
        "bbox_used_for_cropping": [[0, 5], [0, 40], [0, 30]],
    }
    logits = make_logits((5, 20, 14))
    _, geometry = place_logits(logits, manager, manager.get_configuration(tiny_model.CONFIGURATION), properties)
    assert np.array_equal(geometry.axes[0].lower, np.arange(5)) and not geometry.axes[0].fraction.any()
    assert geometry.image_shape == (40, 30, 5)


def test_exporters_beside_each_other_leave_torch_its_threads():
    inside, numbers = Event(), []

    def wait(job):
        inside.set()
        time.sleep(0.02)

    def do(number):
        labelling._in_threads(wait, [(0, 1)] * 6)
        numbers.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, second, new = (
            Thread(target=target, args=[0]) for target in (do, do, lambda _: numbers.append(torch.get_num_threads()))
        )
        first.start()
        inside.wait()
        second.start()  # new to torch while the first one's threads have set theirs
        first.join(), second.join()
        new.start()
        new.join()
        assert numbers == [3, 3, 3]
    finally:
        torch.set_num_threads(before)
