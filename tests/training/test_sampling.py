"""The loader: which source, which class, which task, and batches that the loss can read."""

from collections import Counter

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source, dataset_json_entries, read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.coordinates import coordinates_of_box
from nnunetv2_cdpd.training.sampling import AnnotatedCases, SourceBalancedDataLoader

SHAPE = (12, 17, 14)  # larger than the patch, every axis different
PATCH = (8, 12, 10)
ANNOTATION = Annotation(
    classes=("liver", "right_kidney", "left_kidney", "spleen"),
    values=(1, 2, 3, 4),
    regions=((1,), (2,), (3,), (4,)),
    sources=(Source("A", ("liver", "spleen")), Source("B", ("liver",), ("kidney",)), Source("C", ("spleen",))),
    case_source={**{f"a{i}": "A" for i in range(9)}, **{f"b{i}": "B" for i in range(4)}, "c0": "C"},
    merged_labels=(MergedLabel("kidney", 5, ("right_kidney", "left_kidney")),),
)
LABELS = LabelManager(dataset_json_entries(ANNOTATION)["labels"], dataset_json_entries(ANNOTATION)["regions_class_order"])
STORED = {"A": (1, 4), "B": (1, 5), "C": (4,)}


class InMemoryDataset:
    """nnU-Net's dataset interface; each stored value of a case fills one voxel row, and class_locations list all regions."""

    def __init__(self):
        self.identifiers = sorted(ANNOTATION.case_source)

    def load_case(self, identifier):
        seg = np.zeros((1, *SHAPE), np.int16)
        for row, value in enumerate(STORED[ANNOTATION.case_source[identifier]]):
            seg[0, 5 + 2 * row] = value  # far enough from the border to be the centre of a patch
        locations = {region: np.argwhere(np.isin(seg, np.atleast_1d(region))) for region in LABELS.foreground_regions}
        return np.zeros((1, *SHAPE), np.float32), seg, None, {"class_locations": locations}


@pytest.fixture
def cases():
    return AnnotatedCases(InMemoryDataset(), ANNOTATION)


def make_loader(cases, batch_size=4, **kwargs):
    kwargs = {"source_exponent": 0.5, "universal_probability": 0.5, **kwargs}
    return SourceBalancedDataLoader(
        cases, batch_size, PATCH, PATCH, LABELS, oversample_foreground_percent=1.0, sampling_probabilities=None,
        pad_sides=None, transforms=None, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize(
    "exponent, expected", [(0, (1 / 3, 1 / 3, 1 / 3)), (0.5, (3 / 6, 2 / 6, 1 / 6)), (1, (9 / 14, 4 / 14, 1 / 14))]
)
def test_source_is_drawn_by_its_number_of_cases(cases, exponent, expected):
    probabilities = dict(zip(cases.identifiers, cases.case_probabilities(exponent)))
    drawn = [sum(p for case, p in probabilities.items() if ANNOTATION.case_source[case] == name) for name in "ABC"]
    assert drawn == pytest.approx(expected)
    assert len({round(p, 12) for case, p in probabilities.items() if case.startswith("a")}) == 1


def test_long_simulation_draws_sources_and_tasks_at_their_rates(cases):
    np.random.seed(0)
    loader = make_loader(cases, universal_probability=0.25)
    batches = [next(loader) for _ in range(400)]
    sources = torch.cat([batch["target"][-1] for batch in batches])
    tasks = torch.cat([batch["task"] for batch in batches])
    counts = np.bincount(sources, minlength=3) / len(sources)
    assert counts == pytest.approx([3 / 6, 2 / 6, 1 / 6], abs=0.04)
    universal = tasks == 3
    assert universal.float().mean() == pytest.approx(0.25, abs=0.04)
    assert (tasks[~universal] == sources[~universal]).all()


def test_patches_are_centred_on_what_the_source_annotates(cases):
    np.random.seed(0)
    loader = make_loader(cases, source_exponent=0)
    centres = Counter()
    for _ in range(150):
        batch = next(loader)
        for label_map, source in zip(batch["target"][0], batch["target"][1]):
            centre = int(label_map[0, PATCH[0] // 2, PATCH[1] // 2, PATCH[2] // 2])
            centres[ANNOTATION.sources[source].name, centre] += 1
    for name, values in STORED.items():
        assert {value for source, value in centres if source == name} == set(values)


def test_with_jitter_the_voxel_lies_anywhere_in_its_patch(cases):
    locations = {1: np.array([[0, 6, 8, 7]])}  # one voxel in the middle of the image
    for jitter, expected in ((0, [{4}, {6}, {5}]), (0.5, [{3, 4, 5}, {4, 5, 6, 7, 8}, {3, 4, 5, 6, 7}]), (1, None)):
        np.random.seed(0)
        loader = make_loader(cases, foreground_jitter=jitter)
        boxes = [loader.get_bbox(SHAPE, True, locations) for _ in range(400)]
        assert all(end - start == size for lower, upper in boxes for start, end, size in zip(lower, upper, PATCH))
        places = [{int(voxel) - box[0][axis] for box in boxes} for axis, voxel in enumerate(locations[1][0, 1:])]
        assert all(0 <= place < size for seen, size in zip(places, PATCH) for place in seen)
        if expected:
            assert places == expected


def test_jitter_of_a_voxel_at_the_border_stays_in_the_image(cases):
    loader = make_loader(cases, foreground_jitter=1)
    corner = np.array([[0, *(size - 1 for size in SHAPE)]])
    centres = np.concatenate([loader._draw_centre(corner, SHAPE) for _ in range(200)])
    assert (centres[:, 0] == 0).all()
    assert (centres[:, 1:] < SHAPE).all() and (centres[:, 1:].min(0) < np.array(SHAPE) - 2).all()


@pytest.mark.parametrize("corner", [(0, 0, 0), (11, 16, 13), (11, 0, 13)])
def test_patches_of_what_lies_at_a_border_end_there(cases, corner):
    locations = {1: np.array([[0, *corner]])}
    lower, upper = make_loader(cases, border_patches=True).get_bbox(SHAPE, True, locations)
    assert lower == [0 if voxel == 0 else size - side for voxel, size, side in zip(corner, SHAPE, PATCH)]
    assert upper == [start + side for start, side in zip(lower, PATCH)]
    beyond = [end - size for end, size in zip(make_loader(cases).get_bbox(SHAPE, True, locations)[1], SHAPE)]
    assert [excess > 0 for excess in beyond] == [voxel > 0 for voxel in corner]  # nnU-Net's hang over the high borders


def test_patches_anywhere_end_at_both_borders_as_often_as_voxels_there_are_drawn(cases):
    np.random.seed(0)
    loader = make_loader(cases, border_patches=True)
    lower = np.array([loader.get_bbox(SHAPE, False, {})[0] for _ in range(2000)])
    for axis, (size, side) in enumerate(zip(SHAPE, PATCH)):
        assert set(lower[:, axis]) == set(range(size - side + 1))
        assert (lower[:, axis] == 0).mean() == pytest.approx((side // 2 + 1) / size, abs=0.04)
        assert (lower[:, axis] == size - side).mean() == pytest.approx((side - side // 2) / size, abs=0.04)


@pytest.mark.parametrize("is_foreground", [True, False])
def test_patches_from_which_one_is_rotated_hang_over_every_border_alike(cases, is_foreground):
    np.random.seed(0)
    rotated = tuple(side + 3 for side in PATCH)
    loader = SourceBalancedDataLoader(
        cases, 2, rotated, PATCH, LABELS, source_exponent=0.5, universal_probability=0.5, border_patches=True
    )  # fmt: skip
    corners = {1: np.argwhere(np.ones((1, *SHAPE)))}
    boxes = np.array([loader.get_bbox(SHAPE, is_foreground, corners) for _ in range(2000)])
    assert boxes[:, 0].min(0).tolist() == [-2, -2, -2]
    assert (boxes[:, 1].max(0) - SHAPE).tolist() == [2, 2, 2]


def test_patches_larger_than_the_image_hold_all_of_it(cases):
    small = (5, 17, 9)
    loader = make_loader(cases, border_patches=True)
    for is_foreground in (True, False):
        lower, upper = loader.get_bbox(small, is_foreground, {1: np.array([[0, 4, 16, 8]])})
        assert lower[0] <= 0 and upper[0] >= 5 and lower[2] <= 0 and upper[2] >= 9


def test_long_simulation_centres_on_rare_classes_at_their_rates(cases):
    """Source A: liver (annotated in 13 cases) and spleen (10); source B: liver and kidney (4)."""
    np.random.seed(0)
    loader = make_loader(cases)
    drawn = Counter()
    for case in ("a0", "b0"):
        locations = cases.load_case(case)[3]["class_locations"]
        drawn.update((case[0], loader._draw_class(locations)) for _ in range(3000))
    for source, first, second, counts in (("a", 1, 4, (13, 10)), ("b", 1, (2, 5), (13, 4))):
        weights = [count**-0.5 for count in counts]
        assert drawn[source, first] / 3000 == pytest.approx(weights[0] / sum(weights), abs=0.03)
        assert drawn[source, first] + drawn[source, second] == 3000


def test_merged_label_counts_as_one_class_to_centre_on(cases):
    _, _, _, properties = cases.load_case("b0")
    assert sorted(properties["class_locations"], key=str) == sorted([(2, 5), 1], key=str)


def test_rarely_annotated_classes_are_preferred(cases):
    # liver: 9 + 4 cases, spleen: 9 + 1, kidney: 4
    weights = {key: cases.centre_weights[frozenset(np.atleast_1d(key))] for key in (1, 4, (2, 5))}
    assert weights[2, 5] > weights[4] > weights[1]
    assert weights[2, 5] / weights[1] == pytest.approx((13 / 4) ** 0.5)


def test_case_without_foreground_gives_a_random_patch(cases):
    loader = make_loader(cases)
    lower, upper = loader.get_bbox(SHAPE, True, {1: np.zeros((0, 4), int)})
    assert [end - start for start, end in zip(lower, upper)] == list(PATCH)


def test_cases_preprocessed_with_other_labels_are_told(cases):
    annotation = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2, "aorta": 7}, "name": "plain"})
    dataset = InMemoryDataset()
    dataset.load_case = lambda case: (None, None, None, {"class_locations": {1: [1], 2: [2]}})
    with pytest.raises(UserError, match="case a0: preprocessed with another dataset.json than .*; preprocess the dataset again"):
        AnnotatedCases(dataset, annotation).load_case("a0")


def test_stock_labels_without_regions_are_found(cases):
    annotation = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2}, "name": "plain"})
    dataset = InMemoryDataset()
    plain = AnnotatedCases(dataset, annotation)
    dataset.load_case = lambda case: (None, None, None, {"class_locations": {1: [1], 2: [2], (-1, 0, 1, 2): [3]}})
    assert set(plain.load_case("a0")[3]["class_locations"]) == {1, 2, (-1, 0, 1, 2)}
    assert plain.case_probabilities(0.5) == pytest.approx(np.full(14, 1 / 14))


def test_same_seed_draws_the_same_batches(cases):
    def keys():
        np.random.seed(3)
        loader = make_loader(cases)
        return [(list(batch["keys"]), batch["task"].tolist()) for batch in (next(loader) for _ in range(5))]

    assert keys() == keys()


class LocatedImages(InMemoryDataset):
    """Images of three channels, which are the coordinates of each voxel."""

    def load_case(self, identifier):
        _, *others = super().load_case(identifier)
        return coordinates_of_box((0, 0, 0), SHAPE, SHAPE).numpy(), *others


class WherePatchesAre:
    """In place of files of tokens: the mean coordinates of a patch, and the number of its case's source."""

    def at(self, case, coordinates):
        return torch.cat([coordinates.flatten(1).mean(1), torch.tensor([float("abc".index(case[0]))])]).view(1, 4, 1, 1, 1)


def located_batch(**settings):
    np.random.seed(0)
    loader = SourceBalancedDataLoader(
        AnnotatedCases(LocatedImages(), ANNOTATION), 4, PATCH, PATCH, LABELS, oversample_foreground_percent=0.0,
        sampling_probabilities=None, pad_sides=None, transforms=ComposeTransforms([]), source_exponent=0.5,
        universal_probability=0.5, coordinates=True, **settings,
    )  # fmt: skip
    return loader, loader.generate_train_batch()


def test_patches_tell_their_coordinates_behind_the_image():
    _, batch = located_batch()
    assert batch["data"].shape == (4, 6, *PATCH) and "tokens" not in batch
    torch.testing.assert_close(batch["data"][:, 3:], batch["data"][:, :3])
    assert len(batch["data"][:, 3].unique()) > PATCH[0]  # patches lie in several places


def test_batches_hold_the_tokens_of_each_patch_in_place_of_its_coordinates():
    loader, batch = located_batch(token_files=WherePatchesAre())
    assert batch["data"].shape == (4, 3, *PATCH) and batch["tokens"].dtype == torch.half
    tokens = batch["tokens"].float().view(4, 4)
    torch.testing.assert_close(tokens[:, :3], batch["data"].flatten(2).mean(2), atol=2e-3, rtol=0)
    assert tokens[:, 3].tolist() == batch["target"][-1].tolist()
    assert loader.generate_train_batch()["tokens"].shape == (4, 1, 4, 1, 1, 1)  # those of the batch before are gone
