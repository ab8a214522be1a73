"""A browser for all tests of a module."""

import pytest
from builders.browser import BROWSER, WITHOUT, Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip(WITHOUT)
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
