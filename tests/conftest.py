"""What all tests share: one thread, one seed, shapes checked as the code runs."""

import os
import sys
from pathlib import Path

import pytest

import typecheck

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and numpy load: two workers share two cores
os.environ.setdefault("MPLBACKEND", "agg")
typecheck.install()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what this machine lacks, so that a plain `pytest` passes anywhere."""
    if item.get_closest_marker("data") and not os.environ.get("EINTHOVEN_DATA"):
        pytest.skip("EINTHOVEN_DATA is not set")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU")


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start each test from one seed; a test without torch does not wait for it to load."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """Real ECGs in PTB-XL's layout."""
    if folder := os.environ.get("EINTHOVEN_DATA"):
        return Path(folder)
    pytest.skip("EINTHOVEN_DATA is not set")
