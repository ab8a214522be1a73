"""Every reader of nnU-Net, and a volume for it."""

import numpy as np
import pytest
from builders.nifti import READERS, SHAPE

from nnunetv2_cdpd.volumes.reading import CheckedReader


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def reader(request):
    return CheckedReader(request.param())


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)
