"""A server with the tiny model, started once per module of tests."""

import httpx
import pytest
from builders import model as tiny_model
from builders.serving import RunningServer, write_volume


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("served") / "model", folds=(0,))


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def server(model, state, request):
    """Options by a list OPTIONS of the module."""
    with RunningServer(f"tiny={model}", "--state", state, *getattr(request.module, "OPTIONS", ())) as running:
        yield running


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as its:
        yield its


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_volume(tmp_path_factory.mktemp("volume") / "scan.nii.gz")
