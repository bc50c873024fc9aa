"""Dynamic time warping against a slow loop from its definition, and what must hold."""

import itertools
import math

import numpy as np
import pytest
import torch

from cohorts import heartbeat
from einthoven.data.signal import resample
from einthoven.distances.dtw import DTW, neighbours, pairwise
from einthoven.warp import tensor
from einthoven.warp.missing import fill


def slow(a: np.ndarray, b: np.ndarray, band: int | None) -> float:
    """One cell after the other, in float64."""
    time = a.shape[1]
    least = np.full((time + 1, time + 1), np.inf)
    least[0, 0] = 0
    for i in range(time):
        for j in range(time):
            if band is None or abs(i - j) <= band:
                near = min(least[i, j + 1], least[i, j], least[i + 1, j])
                least[i + 1, j + 1] = np.square(a[:, i] - b[:, j].astype(float)).sum() + near
    return math.sqrt(least[time, time])


@pytest.mark.parametrize("band", [0, 1, 5, None, 1000])
@pytest.mark.parametrize("shape", [(5, 12, 33), (3, 3, 20), (18, 1, 6), (2, 5, 1)])
def test_is_its_definition(shape: tuple[int, int, int], band: int | None) -> None:
    ecg = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    told = pairwise(ecg, band=band)
    truth = np.array([[slow(a, b, band) for b in ecg] for a in ecg])
    np.testing.assert_allclose(told, truth, rtol=1e-6, atol=1e-6)
    assert not told.diagonal().any()


def test_others_and_threads_change_nothing() -> None:
    ecg = np.random.default_rng(1).normal(size=(37, 4, 25)).astype(np.float32)
    whole = pairwise(ecg, band=3, threads=1)
    assert np.array_equal(whole, whole.T)
    assert np.array_equal(whole, pairwise(ecg, band=3, threads=4))
    np.testing.assert_allclose(pairwise(ecg[:5], band=3, other=ecg), whole[:5], rtol=1e-6)
    assert pairwise(ecg[:5], band=3, other=ecg[:2]).shape == (5, 2)
    shuffled = np.random.default_rng(2).permutation(37)
    np.testing.assert_allclose(pairwise(ecg[shuffled], band=3), whole[np.ix_(shuffled, shuffled)], rtol=1e-6)


def test_without_a_band_to_bend_in_it_is_euclidean() -> None:
    ecg = np.random.default_rng(3).normal(size=(6, 12, 40)).astype(np.float32)
    gaps = np.square(ecg[:, None] - ecg[None]).sum((2, 3))
    np.testing.assert_allclose(pairwise(ecg, band=0), np.sqrt(gaps), rtol=1e-5)
    wider = [pairwise(ecg, band=band) for band in (0, 2, 8, 40)]
    assert all((b <= a + 1e-5).all() for a, b in itertools.pairwise(wider))


def test_a_delayed_copy_is_the_nearest() -> None:
    """50 ms later, 5 samples at 100 Hz; without warping strangers are nearer to some."""
    rng = np.random.default_rng(4)
    many = np.stack([heartbeat(rng, seconds=3.0) for _ in range(30)])
    now = np.pad(many, ((0, 0), (0, 0), (0, 5)), "edge")
    late = np.pad(many, ((0, 0), (0, 0), (5, 0)), "edge")
    warped = pairwise(late, band=5, other=now)
    assert not warped.diagonal().any() and np.array_equal(warped.argmin(1), np.arange(30))
    assert not np.array_equal(pairwise(late, band=0, other=now).argmin(1), np.arange(30))


@pytest.mark.parametrize("hertz", [100.0, 25.0])
def test_a_delayed_copy_is_its_own_nearest_neighbour_at_any_rate(hertz: float) -> None:
    """50 ms is a sample and a quarter at 25 Hz: then no copy is equal, and still the nearest."""
    rng = np.random.default_rng(5)
    hearts = np.stack([heartbeat(rng, hertz=200.0, seconds=2.0) for _ in range(40)])  # at half speed
    many = (hearts * rng.normal(size=(40, 12, 1))).astype(np.float32)
    pair = np.concatenate([np.pad(many, ((0, 0), (0, 0), pad), "edge") for pad in ((0, 5), (5, 0))])
    band = round(0.25 * hertz)
    index, _ = neighbours(resample(pair, 100.0, hertz), band=band)
    assert np.array_equal(index[:, 0], (np.arange(80) + 40) % 80)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_only_missing_pairs_are_compared(share: float) -> None:
    ecg = np.random.default_rng(6).normal(size=(50, 5, 24)).astype(np.float32)
    missing = np.triu(np.random.default_rng(7).random((50, 50)) < share, 1)
    missing |= missing.T
    told = fill(ecg, missing, band=4, threads=2)
    assert np.array_equal(told[missing], pairwise(ecg, band=4)[missing])
    assert fill(ecg, np.zeros((50, 50), bool)).shape == (50, 50)


@pytest.mark.parametrize("band", [0, 1, 6, None])
@pytest.mark.parametrize("shape", [(6, 12, 40), (9, 1, 7), (3, 3, 1)])
def test_in_torch_it_is_the_same(shape: tuple[int, int, int], band: int | None) -> None:
    ecg = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    told = tensor.pairwise(torch.from_numpy(ecg), band=band, memory=20_000)
    np.testing.assert_allclose(told.numpy(), pairwise(ecg, band=band), rtol=1e-4, atol=1e-6)


def test_in_torch_memory_does_not_grow_with_the_square_of_time() -> None:
    """At 12 x 2,500 a table of all costs of one pair alone is 25 MB."""
    ecg = np.stack([heartbeat(np.random.default_rng(seed), hertz=250.0) for seed in range(2)])
    assert ecg.shape == (2, 12, 2500)
    told = tensor.pairwise(torch.from_numpy(ecg), band=60, memory=2**20)
    np.testing.assert_allclose(told.numpy(), pairwise(ecg, band=60), rtol=1e-4)


def test_a_device_of_torch_is_an_option() -> None:
    ecg = np.random.default_rng(9).normal(size=(7, 12, 30)).astype(np.float32)
    missing = ~np.eye(7, dtype=bool)
    by_torch, by_kernel = DTW(device="cpu:0"), DTW()
    np.testing.assert_allclose(by_torch.compare(ecg, missing), by_kernel.compare(ecg, missing), rtol=1e-4)


def test_it_is_time_that_bends_not_the_leads() -> None:
    pulse = np.zeros((2, 12, 50), np.float32)
    pulse[0, 3, 20:25], pulse[1, 3, 24:29] = 1, 1
    assert pairwise(pulse, band=4)[0, 1] == 0
    pulse[1, 3], pulse[1, 4, 20:25] = 0, 1
    assert pairwise(pulse, band=4)[0, 1] > 2


def test_one_line_for_what_cannot_be_compared() -> None:
    ecg = np.zeros((3, 12, 50), np.float32)
    with pytest.raises(ValueError, match="same leads and length"):
        pairwise(ecg, other=ecg[:, :, :40])
    with pytest.raises(ValueError, match="samples from 0, got -1"):
        pairwise(ecg, band=-1)
    ecg[2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="ECG 2 of those to compare"):
        pairwise(ecg)
    with pytest.raises(ValueError, match="seconds from 0, got -0.1"):
        DTW(band=-0.1)
