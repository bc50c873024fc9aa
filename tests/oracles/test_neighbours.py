"""Nearest neighbours against sorting all distances: equal to the last bit."""

import numpy as np
import pytest

from cohorts import heartbeat
from einthoven.distances.dtw import neighbours, pairwise
from einthoven.warp import neighbours as module


@pytest.fixture(autouse=True)
def always_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ECGs are compared with all, which would prove nothing."""
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(module, "WIDE", 0)


def sorted_rows(apart: np.ndarray, k: int, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """The first k of each row, the lower index first where two are equal."""
    apart = apart.copy()
    if same:
        np.fill_diagonal(apart, np.inf)
    index = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return index, np.take_along_axis(apart, index, 1)


def agree(ecg: np.ndarray, *, k: int = 1, band: int | None = None, other: np.ndarray | None = None) -> None:
    expected = sorted_rows(pairwise(ecg, band=band, other=other), k, other is None)
    for threads in (1, 3):
        told = neighbours(ecg, band=band, other=other, k=k, threads=threads)
        for one, truth in zip(told, expected, strict=True):
            np.testing.assert_array_equal(one, truth)


@pytest.mark.parametrize("band", [0, 2, 9, None])
@pytest.mark.parametrize("shape", [(60, 12, 40), (90, 3, 17), (33, 1, 50), (20, 15, 8), (2, 4, 1)])
def test_noise(shape: tuple[int, int, int], band: int | None) -> None:
    agree(np.random.default_rng(0).normal(size=shape).astype(np.float32), band=band)


@pytest.mark.parametrize("seed", range(6))
def test_beating_hearts(seed: int) -> None:
    """Alike in families, so that bounds have something to prune; one outlier far from all."""
    rng = np.random.default_rng(seed)
    hearts = np.stack([heartbeat(rng, hertz=25.0, seconds=4.0) for _ in range(12)])
    size = rng.uniform(0.5, 2, (90, 1, 1))
    ecg = hearts[rng.integers(0, 12, 90)] * size + rng.normal(0, 0.02, (90, 12, 100))
    ecg[17] *= 30
    ecg = ecg.astype(np.float32)
    for band in (0, 4, 25):
        agree(ecg, band=band)
    agree(ecg, band=6, k=5)
    agree(ecg, band=6, k=40)
    agree(ecg[:25], band=6, k=3, other=ecg[20:])


def test_of_equals_the_first_is_nearest() -> None:
    rng = np.random.default_rng(1)
    ecg = np.repeat(np.stack([heartbeat(rng, hertz=25.0, seconds=3.0) for _ in range(10)]), 5, axis=0)
    ecg = ecg[rng.permutation(50)]
    for k in (1, 3, 4, 7):
        agree(ecg, band=5, k=k)
    agree(ecg[:20], other=ecg, band=5, k=6)
    agree(np.zeros((40, 12, 30), np.float32), k=2)


def test_values_far_from_zero_and_very_small() -> None:
    rng = np.random.default_rng(2)
    for ecg in (rng.normal(size=(50, 12, 30)) + 100, rng.normal(size=(50, 12, 30)) * 1e-6):
        agree(ecg.astype(np.float32), band=3, k=2)


def test_few_ecgs_are_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH", 1_000_000)
    monkeypatch.delattr(module, "searched")
    ecg = np.random.default_rng(3).normal(size=(30, 12, 20)).astype(np.float32)
    ecg[7] = ecg[21]
    agree(ecg, band=3)
    agree(ecg, band=3, k=29)
    agree(ecg[:5], band=3, k=4, other=ecg)


def test_one_line_for_what_has_no_neighbour() -> None:
    ecg = np.zeros((1, 12, 20), np.float32)
    with pytest.raises(ValueError, match="1 nearest neighbours were asked for among 0 ECGs"):
        neighbours(ecg)
    with pytest.raises(ValueError, match="0 nearest"):
        neighbours(ecg, other=ecg, k=0)
    with pytest.raises(ValueError, match="same leads and length"):
        neighbours(ecg, other=np.zeros((3, 12, 25), np.float32))
    with pytest.raises(ValueError, match="samples from 0, got -2"):
        neighbours(ecg, other=ecg, band=-2)
    with pytest.raises(ValueError, match="ECG 0 of those to compare"):
        neighbours(ecg * np.nan, other=ecg)
