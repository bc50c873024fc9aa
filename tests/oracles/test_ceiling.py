"""The ceiling of the made-up pressure, drawn record by record, against the integral over all of them."""

import numpy as np
import pytest

from einthoven.data.synthesis import ceiling as of_pressure
from einthoven.data.synthesis.ceiling import ceiling, expected
from einthoven.data.synthesis.cohort import draw_visit, pressure

ERRORS = 1.5 * np.array([np.sqrt(2) * x for x in np.polynomial.hermite.hermgauss(120)[0]])  # mmHg
SHARES = np.polynomial.hermite.hermgauss(120)[1] / np.sqrt(np.pi)


def reading(true: np.ndarray, error: np.ndarray) -> np.ndarray:
    """What the catheter shows, in every combination."""
    return np.round(np.clip(np.add.outer(true, error), 4.0, 40.0), 1)


@pytest.mark.parametrize("true", [4.1, 5.0, 18.0, 39.5, 41.0, 80.0])
def test_the_expected_reading_is_the_mean_of_many(true: float) -> None:
    chance = np.random.default_rng(0).normal(0, 1.5, 400_000)
    assert expected(true) == pytest.approx(np.clip(true + chance, 4, 40).mean(), abs=0.01)


def test_the_figures_are_those_of_endlessly_many_records() -> None:
    filling = np.linspace(-5, 5, 4001)
    density = np.exp(-0.5 * (filling / np.hypot(0.93, 0.37)) ** 2)
    density /= density.sum()
    true = np.array([pressure(one) for one in filling])
    read = reading(true, ERRORS)
    best = read @ SHARES
    noise = density @ ((read - best[:, None]) ** 2 @ SHARES)
    variance = density @ ((read - density @ best) ** 2 @ SHARES)
    high = reading(true, np.random.default_rng(0).normal(0, 1.5, 2000)) > 18
    yes, no = density * high.mean(1), density * (1 - high.mean(1))
    area = yes @ (np.cumsum(no) - no / 2) / (yes.sum() * no.sum())  # a pair: the high one truly higher
    told = ceiling(records=10_000)
    assert told.rmse == pytest.approx(np.sqrt(noise), abs=0.03)
    assert told.r2 == pytest.approx(1 - noise / variance, abs=0.004)
    assert told.pearson == pytest.approx(np.sqrt(1 - noise / variance), abs=0.002)
    assert told.auroc == pytest.approx(area, abs=0.002)
    assert told.share == pytest.approx(yes.sum(), abs=0.015)


def test_nobody_does_better_and_one_who_knows_less_does_worse() -> None:
    """Against the same truth: the true pressure itself, shifted, shrunk, or blurred."""
    visits = [draw_visit(0, index) for index in range(4000)]
    truth, told = np.array([visit.pcwp for visit in visits]), ceiling(records=4000)
    true = np.array([pressure(visit.filling) for visit in visits])
    blurred = true + np.random.default_rng(0).normal(0, 1, len(true))
    for other in (true, np.clip(true, 4, 40) + 0.3, 16 + 0.95 * (np.clip(true, 4, 40) - 16), blurred):
        assert np.sqrt(np.mean((other - truth) ** 2)) > told.rmse
    assert told.mae < told.rmse and told.pearson**2 == pytest.approx(told.r2, abs=0.002)


def test_a_threshold_that_nobody_passes_has_no_area() -> None:
    told = ceiling(records=20, above=40.0)
    assert np.isnan(told.auroc) and told.share == 0
    assert of_pressure.normal(0.0) == 0.5
