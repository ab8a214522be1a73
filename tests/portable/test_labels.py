"""Labels without torch: those of `inference.label_map`, from layers of any thickness along any axis."""

import numpy as np
import pytest
import torch
from builders.model import ANNOTATION
from builders.portable import make_description

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.export import Geometry
from nnunetv2_cdpd.inference.label_map import label_map
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.portable.labels import LayeredLabels
from nnunetv2_cdpd.portable.preprocessing import SeenImage
from nnunetv2_cdpd.portable.rivalry import Rivalry, winners_of
from nnunetv2_cdpd.portable.windows import Layer
from nnunetv2_cdpd.volumes.axes import ResamplingRule, axis_resamplings

TREE = ClassTree.of(ANNOTATION)


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [range(6), (0, 1, 5), (2, 3, 4), (4,)])
def test_winners_are_those_of_tensors(classes):
    logits = noise((len(classes), 500))
    logits[:, :50] = logits[:1, :50]  # as probable
    assert np.array_equal(winners_of(TREE, logits.numpy(), classes), TREE.winners(logits, classes).numpy())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1, 3, 50])
@pytest.mark.parametrize(("spacing", "order_z"), [((2.5, 1.4, 1.1), 0), ((9.0, 1.0, 1.0), 0), ((9.0, 1.0, 1.0), 1)])
def test_layers_make_the_label_map_of_the_whole(axis, thickness, spacing, order_z):
    shape, cropped, full = (9, 11, 8), (13, 10, 17), (15, 12, 20)
    logits = 3 * torch.nn.functional.avg_pool3d(noise((1, 6, *shape)), 3, 1, 1)[0] + 0.2
    rule, crop = ResamplingRule(1, order_z, None, 3), (slice(1, 14), slice(2, 12), slice(0, 17))
    values = TREE.stored_values(TREE.classes)
    description = make_description(
        transpose=(2, 0, 1), logits_rule=rule, stored=tuple(map(int, values)), rivalry=Rivalry(TREE.rivals)
    )
    image = SeenImage(np.empty((1, *shape), np.float32), spacing, crop, full, (1.0, 1.0, 1.0))
    geometry = Geometry(axis_resamplings(rule.linear_kinds(spacing, (1, 1, 1)), shape, cropped), crop, full, (1, 2, 0))
    expected = label_map(logits, range(6), geometry, TREE)
    labels = LayeredLabels(image, description)
    for start in range(0, shape[axis], thickness):
        part = logits.narrow(1 + axis, start, min(thickness, shape[axis] - start))
        labels.add(Layer(axis, start, np.moveaxis(part.numpy(), 1 + axis, 1)))
    assert labels.array.shape == (12, 20, 15) and labels.array.dtype == np.uint8
    assert np.array_equal(labels.array, expected)
    assert len(np.unique(expected)) > 4


def test_logits_that_are_no_numbers():
    image = SeenImage(np.empty((1, 4, 4, 4)), (1.0,) * 3, (slice(0, 4),) * 3, (4, 4, 4), (1.0,) * 3)
    with pytest.raises(UserError, match="no finite numbers"):
        LayeredLabels(image, make_description()).add(Layer(0, 0, np.full((3, 4, 4, 4), np.nan, np.float32)))
