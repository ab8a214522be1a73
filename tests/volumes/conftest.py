"""Every reader of nnU-Net and a volume for it, and a CT to write as a DICOM series."""

import numpy as np
import pytest
from builders.nifti import READERS, SHAPE
from builders.replica_files import make_truth

from nnunetv2_cdpd.volumes.reading import CheckedReader


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def reader(request):
    return CheckedReader(request.param())


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def volume():
    return make_truth(["liver"], 3).image
