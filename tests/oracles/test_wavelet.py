"""Wavelet statistics against a loop over bands; the perceptron on what is and is not there."""

import json
import math
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pywt
import torch
from scipy.stats import entropy

from cohorts import heartbeat, store_of
from einthoven.evaluate import auroc, rmse
from einthoven.perceptron import Examples, perceptron
from einthoven.run import train
from einthoven.wavelet import STATISTICS, wavelet_features


def ecgs(records: int = 3, seconds: float = 10.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([heartbeat(rng, seconds=seconds) for _ in range(records)])


def slow_statistics(band: list[float]) -> list[float]:
    """Tell one band of one lead by plain loops and other libraries."""
    mean = statistics.fmean(band)
    cuts = statistics.quantiles(band, n=100, method="inclusive")
    energy = [c * c for c in band]

    def changes(level: float) -> int:
        return sum((a > level) != (b > level) for a, b in pairwise(band))

    return [
        float(entropy(energy)),
        changes(0.0),
        changes(mean),
        *(cuts[share - 1] for share in (5, 25, 50, 75, 95)),
        mean,
        statistics.pstdev(band),
        statistics.pvariance(band),
        math.sqrt(statistics.fmean(energy)),
    ]


def test_features_are_the_loop_of_their_definition() -> None:
    signals = ecgs(2).astype(np.float64)
    expected = [
        [
            statistic
            for lead in record
            for band in pywt.wavedec(lead, "db6", level=5)
            for statistic in slow_statistics(band.tolist())
        ]
        for record in signals
    ]
    got = wavelet_features(signals)
    assert got.shape == (2, 12 * 6 * len(STATISTICS)) == (2, 864)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_single_precision_is_enough() -> None:
    signals = ecgs()
    got, exact = (wavelet_features(signals.astype(kind)) for kind in (np.float32, np.float64))
    crossing = np.char.find(np.tile(STATISTICS, 72), "crossings") >= 0
    np.testing.assert_allclose(got[:, ~crossing], exact[:, ~crossing], rtol=1e-3, atol=1e-5)
    assert np.abs(got - exact)[:, crossing].max() <= 2  # a value of 0 may round either way


def test_entropy_is_between_one_peak_and_an_even_spread() -> None:
    told = wavelet_features(ecgs()).reshape(3, 12, 6, 12)[..., STATISTICS.index("entropy")]
    lengths = np.array([len(band) for band in pywt.wavedec(np.zeros(1000), "db6", level=5)])
    assert (told > 0).all() and (told < np.log(lengths)).all()


def test_a_silent_lead_and_a_short_ecg_do_no_harm() -> None:
    signals = ecgs(2, seconds=0.5)
    signals[0, 6] = 0
    told = wavelet_features(signals).reshape(2, 12, -1)
    assert np.isfinite(told).all()
    assert not told[0, 6].any()
    assert told[1, 6].any()


def test_records_do_not_mix_and_nan_is_refused() -> None:
    signals = ecgs()
    np.testing.assert_array_equal(wavelet_features(signals)[1:2], wavelet_features(signals[1:2]))
    signals[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        wavelet_features(signals)


def rings(seed: int, records: int = 600) -> Examples:
    """Two labels that no line can tell: inside a ring; and the quadrants."""
    x = np.random.default_rng(seed).normal(3, 2, (records, 2))
    one, two = ((x - 3) / 2).T
    truth = np.stack([one**2 + two**2 < 1.4, one * two > 0], 1)
    return Examples(x, truth.astype(float))


def test_learns_what_no_line_can_tell() -> None:
    folds = [rings(seed) for seed in range(3)]
    score = perceptron(folds[0], folds[1], folds[2].x)
    assert ((score > 0) & (score < 1)).all()
    assert auroc(folds[2].truth, score).min() > 0.9


def test_shuffled_labels_are_chance() -> None:
    def sums(seed: int) -> Examples:
        x = np.random.default_rng(seed).normal(size=(600, 30))
        return Examples(x, (x @ np.tri(30, 2) > 0).astype(float))

    folds, shuffle = [sums(seed) for seed in range(3)], np.random.default_rng(0).permutation
    mixed = [Examples(fold.x, shuffle(fold.truth)) for fold in folds[:2]]
    assert auroc(folds[2].truth, perceptron(*folds[:2], folds[2].x)).min() > 0.9
    assert abs(auroc(folds[2].truth, perceptron(*mixed, folds[2].x)) - 0.5).max() < 0.15


def test_the_same_seed_gives_the_same_answers_and_leaves_torch_alone() -> None:
    folds = [rings(seed, 200) for seed in range(3)]
    before = torch.get_rng_state()
    first, again = (perceptron(*folds[:2], folds[2].x, epochs=3, seed=5) for _ in range(2))
    other = perceptron(*folds[:2], folds[2].x, epochs=3, seed=6)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_targets_teach_nothing() -> None:
    folds = [rings(seed) for seed in range(3)]
    some = [Examples(fold.x, np.where([False, True], np.nan, fold.truth)) for fold in folds[:2]]
    lies = [Examples(fold.x, np.hstack([fold.truth[:, :1], np.full((600, 1), np.nan)])) for fold in folds[:2]]
    score = perceptron(*some, folds[2].x)
    np.testing.assert_array_equal(score, perceptron(*lies, folds[2].x))
    assert auroc(folds[2].truth, score)[0] > 0.9
    holes = [Examples(fold.x, fold.truth.copy()) for fold in folds[:2]]
    for fold in holes:
        fold.truth[::3, 1] = np.nan
    assert auroc(folds[2].truth, perceptron(*holes, folds[2].x)).min() > 0.85


def test_numbers_come_in_their_own_unit() -> None:
    def pressures(seed: int) -> Examples:
        x = np.random.default_rng(seed).normal(size=(600, 4))
        truth = np.stack([120 + 15 * np.abs(x[:, 0]), np.full(600, 7.0)], 1)
        truth[::5, 0] = np.nan
        return Examples(x, truth)

    folds = [pressures(seed) for seed in range(3)]
    answers = perceptron(folds[0], folds[1], folds[2].x, numbers=True, epochs=100)
    known = ~np.isnan(folds[2].truth[:, 0])
    assert rmse(folds[2].truth[known, 0], answers[known, 0]) < 0.4 * folds[2].truth[known, 0].std()
    np.testing.assert_allclose(answers[:, 1], 7, atol=0.5)


@pytest.mark.parametrize("task", ["big", "mmhg"])
def test_is_a_row_that_a_recipe_may_ask_for(task: str, tmp_path: Path) -> None:
    rows = [{"big": i % 2, "mmhg": float(i % 7)} for i in range(90)]
    store = store_of(tmp_path / "store", rows, signal=True)
    recipe = {
        "task": {"column": task} | ({"kind": "regression"} if task == "mmhg" else {}),
        "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
        "signal": {"seconds": 1.0},
        "backbone": {"name": "resnet1d_wang", "width": 4},
        "head": {"name": "linear", "hidden": []},
        "loss": {"name": "mse" if task == "mmhg" else "bce"},
        "train": {"epochs": 1, "batch": 16},
        "evaluate": {"resamples": 20, "rows": ["wavelet"]},
    }
    run = train(recipe, store.path, tmp_path / "run")
    (row,) = json.loads((run / "results.json").read_text())["rows"]
    assert row["name"] == "wavelet" and row["what"].startswith("864 wavelet statistics")
    assert row["rmse" if task == "mmhg" else "auroc"]["value"] > (0 if task == "mmhg" else 0.8)
