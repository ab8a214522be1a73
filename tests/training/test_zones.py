"""Place as supervision: where an unannotated class cannot lie it gets a gradient, and nowhere else; zones move with the patch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from builders.partial_labels import ANNOTATION, CLASSES, KITS, LITS, ORGANS, SHAPE

from nnunetv2_cdpd.annotation import NEGATIVE, UNSUPERVISED, Annotation, Source
from nnunetv2_cdpd.place.files import LearnedPlace
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.references import AxisModel, Reference
from nnunetv2_cdpd.training import zones as module
from nnunetv2_cdpd.training.label_resampling import LabelMapSpatialTransform
from nnunetv2_cdpd.training.loss import PartialLabelLoss
from nnunetv2_cdpd.training.sampling import SourceBalancedDataLoader
from nnunetv2_cdpd.training.zones import PlacedCases, SegmentationWithZones, placed_cases, with_zones

SPLEEN, RIGHT, LEFT = (CLASSES.index(name) for name in ("spleen", "right_kidney", "left_kidney"))


def gradient_of(loss, logits, target):
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    return gradient


def background_batch(source):
    """Logits, a label map of background, zones of which the second holds half of the voxels, and the source."""
    logits = torch.randn(1, len(CLASSES), *SHAPE, requires_grad=True, generator=torch.Generator().manual_seed(0))
    zones = torch.zeros(1, 1, *SHAPE, dtype=torch.int16)
    zones[:, :, 1:] = 1
    return logits, torch.zeros_like(zones), zones, torch.tensor([source])


def impossible_for(*classes):
    """(1, 2 zones, K): these cannot lie in the second zone."""
    table = torch.zeros(1, 2, len(CLASSES), dtype=torch.bool)
    table[0, 1, list(classes)] = True
    return table


def test_an_unannotated_class_gets_a_gradient_only_where_it_is_impossible():
    logits, label_map, zones, sources = background_batch(LITS)
    label_map[0, 0, 0, 0, 0] = 1
    loss = PartialLabelLoss(ANNOTATION)
    gradient = gradient_of(loss, logits, [label_map, zones, impossible_for(SPLEEN), sources])
    assert (gradient[0, SPLEEN, 1:] > 0).all()  # towards a lower probability
    open_voxels = gradient[0, SPLEEN, 0].clone()
    open_voxels[0, 0] = 0  # liver, which is no spleen, as without zones
    assert (open_voxels == 0).all()
    without = gradient_of(loss, logits, [label_map, sources])
    others = [k for k in range(len(CLASSES)) if k != SPLEEN]
    torch.testing.assert_close(gradient[:, others], without[:, others])


def test_annotated_classes_and_the_ignore_label_are_what_they_were():
    annotation = replace(ANNOTATION, ignore_value=8)
    logits, label_map, zones, sources = background_batch(LITS)
    label_map[0, 0, 2] = 8
    loss = PartialLabelLoss(annotation)
    everything = impossible_for(*range(len(CLASSES)))
    gradient = gradient_of(loss, logits, [label_map, zones, everything, sources])
    assert (gradient[0, :, 2] == 0).all()
    assert (gradient[0, SPLEEN, 1] > 0).all()
    annotated = [CLASSES.index(name) for name in ("liver", "liver_tumor")]
    without = gradient_of(loss, logits, [label_map, sources])
    torch.testing.assert_close(gradient[:, annotated], without[:, annotated])


def test_a_merged_label_is_the_other_side_where_one_is_impossible():
    label_map = torch.full((1, 1, 2, 1, 1), 7, dtype=torch.int16)  # right or left kidney
    zones = torch.tensor([0, 1], dtype=torch.int16).view(1, 1, 2, 1, 1)
    tables = torch.from_numpy(ANNOTATION.tables[[KITS]]).transpose(1, 2)
    unions = [tuple(row.nonzero()[0].tolist()) for row in ANNOTATION.members]
    values, told = with_zones(label_map, zones, tables, impossible_for(RIGHT), unions, None)
    num_values = ANNOTATION.num_values
    assert values.flatten().tolist() == [7, num_values + 7]
    assert told[0, RIGHT, 7] == UNSUPERVISED and told[0, RIGHT, num_values + 7] == NEGATIVE
    assert told[0, LEFT, num_values + 7] == UNSUPERVISED
    union = len(CLASSES) + unions.index((RIGHT, LEFT))
    assert told[0, union, num_values + 7] == tables[0, union, 7]  # positive stays so
    _, both = with_zones(label_map, zones, tables, impossible_for(RIGHT, LEFT), unions, None)
    open_value = 0
    assert tables[0, SPLEEN, open_value] == UNSUPERVISED and both[0, SPLEEN, num_values + open_value] == UNSUPERVISED


def test_each_output_of_deep_supervision_has_its_zones():
    logits, label_map, zones, sources = background_batch(ORGANS)
    loss = PartialLabelLoss(ANNOTATION, weights=(0.5, 0.5))
    small = [tensor[..., ::2, ::2] for tensor in (logits, label_map, zones)]
    tumor = CLASSES.index("kidney_tumor")
    target = [label_map, small[1], zones, small[2], impossible_for(tumor), sources]
    alone = PartialLabelLoss(ANNOTATION)
    mean = (alone(logits, [label_map, zones, target[4], sources]) + alone(small[0], [small[1], small[2], target[4], sources])) / 2
    assert loss([logits, small[0]], target).item() == pytest.approx(mean.item(), rel=1e-5)


def test_zones_move_with_the_label_map():
    """A map of zones that equals the label map is the same after nnU-Net's rotation and zoom."""
    random = np.random.default_rng(0)
    label_map = torch.from_numpy(random.integers(0, 5, (1, 12, 14, 16)).repeat(2, 2).astype(np.int16))
    patch = tuple(label_map.shape[1:])
    rotated = SpatialTransform(
        patch, patch_center_dist_from_border=0, random_crop=False, p_elastic_deform=0, p_rotation=1, rotation=(0.3, 0.4),
        p_scaling=1, scaling=(0.8, 1.2), bg_style_seg_sampling=False, border_mode_seg="constant", padding_value_seg=-1,
    )  # fmt: skip
    transform = LabelMapSpatialTransform(rotated)
    both = torch.cat([label_map, label_map])
    moved = transform(image=torch.zeros(1, *patch), segmentation=both)["segmentation"]
    assert (moved[0] == moved[1]).all() and (moved[0] != label_map[0]).any() and (moved == -1).any()


# ---- loader ------------------------------------------------------------------------------------------------------------

TWO = Annotation(
    classes=("low", "high"),
    values=(1, 2),
    regions=((1,), (2,)),
    sources=(Source("A", ("low",)), Source("B", ("high",))),
    case_source={"a": "A", "b": "B", "unknown": "B"},
)
LENGTHS = (20, 8, 8)


class InMemory:
    """nnU-Net's dataset interface, with the properties that it keeps."""

    def __init__(self):
        self.identifiers = ["a", "b", "unknown"]

    def load_case(self, identifier):
        seg = np.zeros((1, *LENGTHS), np.int8)
        seg[0, 10, 4, 4] = 1 if identifier == "a" else 2
        properties = {
            "class_locations": {1: np.argwhere(seg == 1), 2: np.argwhere(seg == 2)},
            "shape_before_cropping": LENGTHS,
            "bbox_used_for_cropping": [[0, length] for length in LENGTHS],
            "shape_after_cropping_and_before_resampling": LENGTHS,
            "sitk_stuff": {"spacing": (1.0,) * 3, "origin": (0.0,) * 3, "direction": tuple(np.eye(3).ravel())},
        }
        return np.zeros((1, *LENGTHS), np.float32), seg, None, properties


@pytest.fixture
def placed():
    """Class low lies from 4 to 20 mm, high from 14 mm on; nothing is known of the case `unknown`."""
    along = AxisModel(np.array([[4.0, 0.0], [14.0, np.nan]]), np.zeros((2, 2)), np.zeros((2, 2)), 1.0)
    nowhere = AxisModel(*(np.full((2, 2), np.nan) for _ in range(3)), image_spread=np.nan)
    model = PlaceModel(("low", "high"), (9, 9), None, np.zeros((2, 2)), (along, nowhere, nowhere))
    known = (Reference(10.0, 0.0), None, None)
    return LearnedPlace("Dataset001_Two", model, {"a": known, "b": known})


def test_batches_hold_the_zones_of_their_patches(placed):
    np.random.seed(0)
    cases = PlacedCases(InMemory(), TWO, placed, (0, 1, 2))
    labels = type("Labels", (), {"has_ignore_label": False, "all_labels": [0, 1, 2], "foreground_labels": [1, 2]})
    labels.has_regions, labels.foreground_regions = False, None
    loader = SourceBalancedDataLoader(
        cases, 4, (20, 8, 8), (20, 8, 8), labels, oversample_foreground_percent=1.0, sampling_probabilities=None,
        pad_sides=None, transforms=None, source_exponent=0.0, universal_probability=0.5,
    )  # fmt: skip
    for batch in (next(loader) for _ in range(3)):
        label_map, zones, impossible, sources = batch["target"]
        assert label_map.shape == zones.shape == (4, 1, 20, 8, 8) and impossible.shape[::2] == (4, 2)
        for sample, case in enumerate(batch["keys"]):
            told = impossible[sample][zones[sample, 0, :, 3, 3].long()]  # (20, K): along the body
            assert not told[:, int(sources[sample])].any()  # annotated: nothing to tell
            open_class = 1 - int(sources[sample])
            expected = {"a": list(range(14)), "b": list(range(4)), "unknown": []}[case]
            assert told[:, open_class].nonzero().flatten().tolist() == expected


def test_a_cut_segmentation_reads_no_more_than_it_is_asked_for():
    asked, taken = [], []

    class Stored:
        shape = (1, 30, 30, 30)

        def __getitem__(self, part):
            asked.append(part)
            return np.ones((1, 4, 5, 6), np.int8)

    ranges = np.array([[[-np.inf, 3.0]] * 3])
    part = (slice(None), slice(2, 6), slice(0, 5), slice(0, 6))
    cut = SegmentationWithZones(Stored(), ranges, np.array([True]), taken)[part]
    assert asked == [part] and cut.dtype == np.int16 and (cut[0] == 1).all()
    np.testing.assert_array_equal(
        taken[0][cut[1], 0], ~np.array([[[x < 4 and y < 4 and z < 4 for z in range(6)] for y in range(5)] for x in range(2, 6)])
    )


def test_a_place_of_other_cases_is_refused(placed, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "read_place", lambda path, annotation: replace(placed, cases={"other": (None,) * 3}))
    with pytest.raises(module.UserError, match=r"lacks the cases a, b, unknown; make it anew: cdpd place"):
        placed_cases(InMemory(), TWO, None, tmp_path)
