"""What we exchange in nnU-Net is there, is exchanged, and comes back."""

import importlib
import inspect

import pytest

from nnunetv2_cdpd.host import EXCHANGES, exchanged, lent_arguments, original

pytestmark = pytest.mark.host


@pytest.mark.parametrize("which", EXCHANGES)
def test_nnunet_still_has_the_name(which):
    for module in EXCHANGES[which].modules:
        original(importlib.import_module(module), EXCHANGES[which].name, which)  # its error says what to do


@pytest.mark.parametrize("which", EXCHANGES)
def test_the_name_is_used_where_it_is_exchanged(which):
    """A name that is only imported would be exchanged without effect."""
    for module in EXCHANGES[which].modules:
        source = inspect.getsource(importlib.import_module(module))
        name = EXCHANGES[which].name
        uses = [line for line in source.splitlines() if name in line and not line.lstrip().startswith(("import", "from", "#"))]
        assert uses, f"{module} does not use {name} any more; `{which}` of nnunetv2_cdpd.host has to follow it"


@pytest.mark.parametrize("which", EXCHANGES)
def test_the_original_comes_back_whatever_happens(which):
    modules = [importlib.import_module(module) for module in EXCHANGES[which].modules]
    before = [getattr(module, EXCHANGES[which].name) for module in modules]
    replacement = object()
    with pytest.raises(KeyError), exchanged(which, replacement):
        assert all(getattr(module, EXCHANGES[which].name) is replacement for module in modules)
        raise KeyError
    assert [getattr(module, EXCHANGES[which].name) for module in modules] == before


def test_a_name_that_is_gone_is_told_with_the_way_out(monkeypatch):
    monkeypatch.delattr("nnunetv2.run.run_training.run_training")
    with (
        pytest.raises(
            RuntimeError, match="no nnunetv2.run.run_training.run_training any more; `training` .* use an older nnunetv2"
        ),
        exchanged("training", None),
    ):
        pass


def test_arguments_are_lent_with_defaults(monkeypatch):
    import sys

    monkeypatch.setattr(sys, "argv", ["mine"])
    with lent_arguments("cdpd train", ["400", "-p", "Plans"], tr="Ours", p="Others"):
        assert sys.argv == ["cdpd train", "400", "-p", "Plans", "-tr", "Ours"]
    assert sys.argv == ["mine"]
