"""Fixtures that several test modules need."""

import pytest
import torch
from reference import open_golden


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory):
    """Open a golden checkpoint by name."""
    scratch = tmp_path_factory.mktemp("golden")
    return lambda name: open_golden(name, scratch)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield
