"""Temperature scaling must find a distortion that was put in; reliability must add up to the ECE."""

import numpy as np
import pytest

import einthoven.evaluate as evaluate
from einthoven.evaluate import fit_temperature, reliability, temper


def calibrated(seed: int, records: int = 4000, labels: int = 3):
    random = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-random.normal(-0.5, 1.5, (records, labels))))
    return (random.random(score.shape) < score).astype(float), score


@pytest.mark.parametrize("distortion", [0.4, 1.0, 2.5])
def test_recovers_a_known_distortion(distortion: float) -> None:
    truth, score = calibrated(0)
    distorted = temper(score, 1 / distortion)
    found = fit_temperature(truth, distorted)
    assert found == pytest.approx(distortion, rel=0.05)
    fresh_truth, fresh = calibrated(1)
    distorted = temper(fresh, 1 / distortion)
    assert evaluate.macro(evaluate.ece(fresh_truth, temper(distorted, found))) < 0.02


def test_is_the_minimum_of_the_log_loss() -> None:
    from sklearn.metrics import log_loss

    truth, score = calibrated(2, records=200)
    truth[:20] = np.nan
    found = fit_temperature(truth, score)
    known = truth[20:].ravel()

    def loss(t: float) -> float:
        return log_loss(known, temper(score, t)[20:].ravel())

    assert loss(found) <= min(loss(found * 1.01), loss(found * 0.99), loss(1.0))


def test_keeps_the_order_and_the_ends() -> None:
    truth, score = calibrated(3)
    score[0], score[1] = 0, 1
    warm = temper(score.astype(np.float32), 1.7)
    np.testing.assert_array_equal(
        evaluate.auroc(truth, warm), evaluate.auroc(truth, score.astype(np.float32).astype(float))
    )
    assert (warm[0] == 0).all() and (warm[1] == 1).all()


def test_leaves_alone_what_it_cannot_fit() -> None:
    assert fit_temperature(np.zeros((5, 2)), np.full((5, 2), 0.3)) == 1
    assert fit_temperature(np.zeros((0, 2)), np.zeros((0, 2))) == 1
    assert np.isfinite(fit_temperature(np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0])))


@pytest.mark.parametrize("distinct", [None, 12])
def test_reliability_adds_up_to_the_calibration_error(distinct: int | None) -> None:
    truth, score = calibrated(4, records=137, labels=1)
    score = np.round(score * distinct) / distinct if distinct else score
    truth[7] = np.nan
    for bins in (5, 10):
        curve = reliability(truth[:, 0], score[:, 0], bins=bins)
        assert curve.records.sum() == 136
        assert (np.diff(curve.score) < 0).all()
        error = (curve.records * np.abs(curve.score - curve.share)).sum() / 136
        assert error == pytest.approx(evaluate.ece(truth, score, bins=bins)[0], abs=1e-12)
    if not distinct:
        assert set(reliability(truth[:, 0], score[:, 0]).records) == {13, 14}
