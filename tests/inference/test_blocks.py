"""Blocks of logits: those of the whole volume, each voxel once, whatever the windows; labels made of them are the whole's."""

import weakref
from itertools import product

import numpy as np
import pytest
import torch
from builders import model as tiny_model

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference import blocks as blocks_module
from nnunetv2_cdpd.inference.blocks import Block, Readout
from nnunetv2_cdpd.inference.decoding import with_dice_levels
from nnunetv2_cdpd.inference.export import Geometry
from nnunetv2_cdpd.inference.label_map import LabelMap, label_map
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.sliding_window import Ensemble, blocks_of_logits
from nnunetv2_cdpd.volumes.axes import axis_resamplings

pytestmark = pytest.mark.usefixtures("one_thread")

C = 3
STARTS = {  # shape, size of the windows, where they start along each axis
    "half a window": ((40, 37, 33), (20, 20, 20), ((0, 10, 20), (0, 9, 17), (0, 7, 13))),
    "hardly overlapping": ((40, 30, 52), (20, 16, 18), ((0, 20), (0, 14), (0, 17, 34))),
    "three deep": ((31, 26, 24), (16, 16, 16), ((0, 4, 8, 12, 15), (0, 3, 6, 10), (0, 8))),
    "one window": ((12, 11, 13), (12, 11, 13), ((0,), (0,), (0,))),
}


def windows_of(size, starts):
    return [(slice(None), *(slice(a, a + n) for a, n in zip(place, size))) for place in product(*starts)]


def run(network, windows):
    """C values per voxel, other ones in every window, so that the mean over windows is no value of any of them."""
    mean = windows.mean(tuple(range(2, windows.ndim)), keepdim=True)
    return torch.cat([windows, windows * mean, (network + 1) * mean + 0 * windows], 1)


def volume(shape):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))


def exact(data, slicers, networks):
    """Mean over windows and networks in double precision, all windows weighing the same."""
    total, count = torch.zeros((C, *data.shape[1:]), dtype=torch.double), torch.zeros(data.shape[1:], dtype=torch.double)
    for slicer, network in product(slicers, range(networks)):
        total[slicer] += run(network, data[slicer][None].double())[0]
        count[slicer[1:]] += 1
    return (total / count).float()


def blocks(data, slicers, third_axis, networks=1, stacked=False, readout=None, windows_per_batch=2):
    ensemble = Ensemble(run, networks, C, stacked, readout or Readout())
    options = {"use_gaussian": False, "windows_per_batch": windows_per_batch, "device": torch.device("cpu"), "progress": False}
    return list(blocks_of_logits(data, slicers, ensemble, third_axis=third_axis, **options))


def joined(found, shape, channels=C):
    """The volume, and how often a block had each voxel."""
    logits, count = torch.full((channels, *shape), torch.nan), torch.zeros(shape, dtype=torch.long)
    for block in found:
        block.write_to(logits)
        count[tuple(slice(*own) for own in block.own)] += 1
    return logits, count


@pytest.mark.parametrize("third_axis", [0, 1, 2])
@pytest.mark.parametrize("case", STARTS)
def test_blocks_are_the_mean_over_windows_and_have_each_voxel_once(case, third_axis):
    shape, size, starts = STARTS[case]
    data, slicers = volume(shape), windows_of(size, starts)
    found = blocks(data, slicers, third_axis)
    logits, count = joined(found, shape)
    assert (count == 1).all()
    torch.testing.assert_close(logits, exact(data, slicers, 1), atol=1e-5, rtol=1e-5)
    for block in found:  # the voxel before it, of the neighbours
        assert all(first == max(0, own[0] - (own[0] > 0)) for first, own in zip(block.start, block.own))
        whole = logits[(slice(None), *(slice(first, own[1]) for first, own in zip(block.start, block.own)))]
        assert torch.equal(block.values, whole)


@pytest.mark.parametrize("stacked", [False, True])
def test_networks_are_averaged(stacked):
    shape, size, starts = STARTS["half a window"]
    data, slicers = volume(shape), windows_of(size, starts)
    readout = Readout(torch.eye(C).repeat(1, 3), torch.zeros(C)) if stacked else None
    logits, _ = joined(blocks(data, slicers, 0, networks=3, stacked=stacked, readout=readout), shape)
    torch.testing.assert_close(logits, exact(data, slicers, 3), atol=1e-5, rtol=1e-5)


def test_a_linear_layer_may_come_after_the_mean():
    shape, size, starts = STARTS["three deep"]
    data, slicers = volume(shape), windows_of(size, starts)
    weight, bias = torch.randn(7, C), torch.randn(7)
    logits, _ = joined(blocks(data, slicers, 0, readout=Readout(weight, bias)), shape, 7)
    expected = torch.einsum("kc,cxyz->kxyz", weight, exact(data, slicers, 1)) + bias.view(-1, 1, 1, 1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_slices_of_a_2d_network_are_gathered_to_blocks():
    data = volume((30, 40, 26))
    slicers = [(slice(None), x, slice(y, y + 20), slice(z, z + 16)) for x in range(30) for y in (0, 10, 20) for z in (0, 10)]
    found = blocks(data, slicers, 2)
    logits, count = joined(found, (30, 40, 26))
    assert (count == 1).all() and len(found) == 3 * 2  # of 12 or more slices, and 20 voxels along the second axis
    torch.testing.assert_close(logits, exact(data, slicers, 1), atol=1e-5, rtol=1e-5)


def test_what_is_finished_is_not_held_any_more(monkeypatch):
    """Of a long volume at most a layer of windows."""
    held = []
    finished = blocks_module.WindowSums.finished

    def spy(sums, place):
        held.append(sum(cell.numel() for cell in sums.cells.values()) // (C + 1))
        return finished(sums, place)

    monkeypatch.setattr(blocks_module.WindowSums, "finished", spy)
    starts = tuple(range(0, 257, 16))
    blocks(volume((288, 96, 20)), windows_of((32, 32, 20), (starts, (0, 16, 32, 48, 64), (0,))), 2)
    # half a layer of windows, which the windows before began, and what a row of windows adds
    assert len(held) == len(starts) * 5 and max(held) == 16 * 96 * 20 + 16 * 32 * 20


@pytest.mark.parametrize("third_axis", [0, 2])
@pytest.mark.parametrize("kinds", [("linear",) * 3, ("nearest", "linear", "linear")])
@pytest.mark.parametrize("new_shape", [(61, 70, 80), (25, 19, 30), (40, 37, 33), (3, 90, 2)])
def test_labels_made_block_by_block_are_those_of_the_whole(new_shape, kinds, third_axis):
    shape, size, starts = STARTS["half a window"]
    data, slicers = volume(shape), windows_of(size, starts)
    names = tuple("abc")
    tree = ClassTree.of(Annotation(names, (1, 2, 3), ((1,), (2,), (3,)), (Source("s", names),)))
    axes = axis_resamplings(kinds, shape, new_shape)
    geometry = Geometry(axes, tuple(map(slice, new_shape)), new_shape, (1, 2, 0))
    made = LabelMap(range(C), geometry, tree)
    found = blocks(data, slicers, third_axis)
    for block in np.random.default_rng(0).permutation(len(found)):
        made.add(found[block])
    logits, _ = joined(found, shape)
    expected = label_map(logits, range(C), geometry, tree)
    assert len(np.unique(expected)) >= 3
    assert np.array_equal(made.array, expected)


def test_a_part_of_a_block_starts_where_the_box_starts():
    shape, size, starts = STARTS["half a window"]
    found = blocks(volume(shape), windows_of(size, starts), 0)
    logits, _ = joined(found, shape)
    box = (slice(3, 40), slice(19, 30), slice(0, 33))
    inside = [part for block in found if (part := block.inside(box)) is not None]
    assert len(inside) < len(found)
    part, count = joined(inside, (37, 11, 33))
    assert (count == 1).all() and torch.equal(part, logits[(slice(None), *box)])


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_values_of_half_precision_are_summed_up_in_single_precision(dtype):
    shape, size, starts = STARTS["half a window"]
    data, slicers = volume(shape), windows_of(size, starts)
    ensemble = Ensemble(lambda network, windows: run(network, windows).to(dtype), 1, C, False, Readout())
    options = {"use_gaussian": True, "windows_per_batch": 1, "device": torch.device("cpu"), "progress": False}
    found = list(blocks_of_logits(data, slicers, ensemble, third_axis=0, **options))
    assert {block.values.dtype for block in found} == {torch.float32}
    full = list(blocks_of_logits(data, slicers, Ensemble(run, 1, C, False, Readout()), third_axis=0, **options))
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(joined(found, shape)[0], joined(full, shape)[0], atol=4 * rounding, rtol=rounding)


class Crowded:
    """A predictor of two blocks whose GPU has no memory after some of them.

    sums: Those that are held by each device.
    made_on: The kind of device on which each block was made.
    """

    device, perform_everything_on_device, network = torch.device("cuda"), True, torch.nn.Identity()

    def __init__(self, enough_for=2):
        self.network.to = lambda device: self.network
        self.enough_for, self.sums, self.made_on = enough_for, weakref.WeakSet(), []

    def _blocks(self, data, device):
        assert not self.sums, "memory of the GPU is free before it is tried once more"
        sums = torch.zeros(3)
        self.sums.add(sums)
        for number, (start, stop) in enumerate(((0, 20), (20, 40))):
            if device.type == "cuda" and number == self.enough_for:
                raise torch.cuda.OutOfMemoryError
            self.made_on.append(device.type)
            yield Block(((start, stop), (0, 20), (0, 20)), (start, 0, 0), data[:, start:stop], Readout())


@pytest.mark.parametrize("enough_for, made_on", [(0, ["cpu"] * 2), (1, ["cuda", "cpu", "cpu"]), (2, ["cuda"] * 2)])
def test_without_memory_on_the_gpu_the_cpu_makes_the_blocks_and_each_is_given_once(enough_for, made_on):
    crowded, data = Crowded(enough_for), torch.zeros(1, 40, 20, 20)
    assert [block.own[0] for block in Predictor.logit_blocks(crowded, data)] == [(0, 20), (20, 40)]
    assert crowded.made_on == made_on


def test_without_memory_on_the_cpu_either_that_is_told():
    crowded = Crowded()
    crowded._blocks = lambda data, device: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        list(Predictor.logit_blocks(crowded, torch.zeros(1, 2, 2, 2)))


def test_levels_for_dice_are_the_same_whatever_memory_there_is():
    data = torch.full((1, 40, 20, 20), -6.0)
    data[:, 2:18, 4:14, 4:14] = 0.3 + 1.5 * torch.randn(1, 16, 10, 10, generator=torch.Generator().manual_seed(0))
    data[:, 22:39, 2:18, 2:18] = -0.9  # all of it below 0.5, where a level that counts the first block twice is higher
    found = [list(with_dice_levels(Predictor.logit_blocks(Crowded(enough), data), 1)) for enough in (0, 1, 2)]
    assert [len(blocks) for blocks in found] == [2, 2, 2]
    (level,) = {block.readout.levels.item() for blocks in found for block in blocks}
    assert level < -0.9


# ---- of a network with fewer features than classes -------------------------------------------------------------------

MANY = tuple(f"organ_{k}" for k in range(20))
SOURCES = (Source("A", MANY[:12]), Source("B", MANY[8:]))
ANNOTATION = Annotation(MANY, tuple(range(1, 21)), tuple((k,) for k in range(1, 21)), SOURCES, case_source={"case_1": "A"})


@pytest.mark.parametrize(
    "folds, universal, expected", [((0,), True, 6), ((0, 1, 2), True, 18), ((0,), False, 12), ((0, 1), False, 0)]
)
def test_features_are_averaged_where_they_are_fewer_than_classes(folds, universal, expected, tmp_path, monkeypatch):
    folder = tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION, folds=folds, universal=universal)
    predictor = Predictor.from_folder(folder, device="cpu")
    data = predictor.preprocess_array(tiny_model.make_image(), (2.0, 0.8, 0.9)).data
    channels = {block.values.shape[0] for block in predictor.logit_blocks(data)}
    assert channels == {expected or len(MANY)}
    found = predictor.predict_logits_from_preprocessed_data(data)
    monkeypatch.setattr(type(predictor.network), "readout", lambda *_: None)
    torch.testing.assert_close(found, predictor.predict_logits_from_preprocessed_data(data), atol=2e-3, rtol=2e-3)
    assert (found > 0).any()


def test_after_features_the_network_and_nnunets_own_methods_give_logits(tmp_path):
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION), device="cpu")
    data = predictor.preprocess_array(tiny_model.make_image(), (2.0, 0.8, 0.9)).data
    found = predictor.predict_logits_from_preprocessed_data(data)
    with torch.inference_mode():
        assert predictor.network(torch.zeros(1, 1, 8, 16, 24)).shape[1] == len(MANY)
    torch.testing.assert_close(found, predictor.predict_sliding_window_return_logits(data), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_last_layer_that_is_no_finite_numbers_is_told(part, tmp_path):
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION), device="cpu")
    broken = dict(predictor.list_of_parameters[0])
    name = f"decoder.seg_layers.1.{part}"
    broken[name] = broken[name].clone()
    broken[name][3] = torch.nan
    predictor.list_of_parameters = [broken]
    with pytest.raises(UserError, match="no finite numbers"):
        predictor.predict(tiny_model.make_image(), (2.0, 0.8, 0.9))


def test_logits_beyond_what_a_half_can_hold_are_certain_and_no_nan(tmp_path):
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION), device="cpu")
    huge = dict(predictor.list_of_parameters[0])
    huge["decoder.seg_layers.1.weight"] = 1e5 * huge["decoder.seg_layers.1.weight"]
    predictor.list_of_parameters = [huge]
    probabilities = predictor.predict(tiny_model.make_image(), (2.0, 0.8, 0.9), probabilities=True).probabilities
    assert np.isfinite(probabilities).all() and probabilities.max() == 1


def test_a_labelled_case_keeps_what_was_selected_when_it_was_labelled(tmp_path):
    predictor = Predictor.from_folder(tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION), device="cpu")
    case = predictor.preprocess_array(tiny_model.make_image(), (2.0, 0.8, 0.9))
    predictor.select(["organ_2", "organ_3"])
    labelled = predictor.label(case)
    predictor.select(["organ_5"])
    prediction = predictor.export(labelled)
    assert set(prediction.values) == {"organ_2", "organ_3"}
    assert set(np.unique(prediction.label_map)) <= {0, 3, 4}


def test_features_of_some_classes_under_a_task(tmp_path):
    folder = tiny_model.write_model(tmp_path / "model", annotation=ANNOTATION)
    predictor = Predictor.from_folder(folder, device="cpu")
    image = tiny_model.make_image()
    full = predictor.predict(image, (2.0, 0.8, 0.9), task="B", probabilities=True)
    some = predictor.predict(image, (2.0, 0.8, 0.9), task="B", classes=["organ_10", "organ_9"], probabilities=True)
    for name in some.values:
        found, expected = (prediction.probabilities[list(prediction.values).index(name)] for prediction in (some, full))
        np.testing.assert_allclose(found, expected, atol=2e-3)
