"""The modules of benchmarks/evidence, and patients whom nobody has."""

import pytest
from builders.evidence import RUNNER, made_up_patients, modules_of


@pytest.fixture
def evidence(monkeypatch):
    yield from modules_of(RUNNER, monkeypatch)


@pytest.fixture
def patients(evidence):
    return made_up_patients(evidence)
