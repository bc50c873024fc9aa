"""The bootstrap against a slow loop over patients, and what an interval must do."""

import warnings

import numpy as np
import pytest
from jaxtyping import TypeCheckError

import einthoven.evaluate as evaluate
from einthoven.evaluate import Interval, bootstrap, resample_weights


def cohort(seed: int = 0, *, patients: int = 80, labels: int = 4):
    """Patients with one to four records each, in mixed order."""
    random = np.random.default_rng(seed)
    patient = random.permutation(np.repeat(np.arange(patients), random.integers(1, 5, patients)))
    truth = (random.random((len(patient), labels)) < 0.3).astype(float)
    score = 1 / (1 + np.exp(-random.normal(truth)))
    return truth, score, np.array([f"p{number}" for number in patient], object)


def mean_gap(truth: np.ndarray, score: np.ndarray) -> float:
    return float((truth - score).mean())


def test_is_the_slow_loop_over_drawn_patients() -> None:
    truth, score, patient = cohort()
    names = np.unique(patient)
    random = np.random.default_rng(3)
    values = []
    for drawn in random.integers(0, len(names), (200, len(names))):
        rows = np.concatenate([np.flatnonzero(patient == names[who]) for who in drawn])
        values.append(evaluate.auroc(truth[rows], score[rows]).mean())
    result = bootstrap(evaluate.macro_auroc, truth, score, patient, 200, 3)
    assert result.value == pytest.approx(evaluate.auroc(truth, score).mean(), abs=1e-12)
    np.testing.assert_allclose(result[1:], np.percentile(values, [2.5, 97.5]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["auroc", "macro_auroc", "fmax_samples", "ece", "rmse"])
def test_fast_path_is_the_plain_path(name: str) -> None:
    truth, score, patient = cohort()
    truth[:, 0] = np.arange(len(truth)) < 2  # lost in some resamples
    metric = getattr(evaluate, name)
    fast = bootstrap(metric, truth, score, patient, resamples=100)
    plain = bootstrap(lambda t, s: metric(t, s), truth, score, patient, resamples=100)
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
        assert np.shape(one) == np.shape(metric(truth, score))


def test_takes_any_function_of_one_or_two_axes() -> None:
    truth, score, patient = cohort()
    one = bootstrap(mean_gap, truth[:, 0], score[:, 0], patient, resamples=50)
    assert isinstance(one, Interval)
    assert all(isinstance(number, float) for number in one)
    many = bootstrap(lambda t, s: (t - s).mean(0), truth, score, patient, resamples=50)
    assert [np.shape(x) for x in many] == [(4,)] * 3
    np.testing.assert_allclose([x[0] for x in many], one, rtol=0, atol=1e-12)


def test_weights_count_whole_patients_and_do_not_depend_on_the_order_of_records() -> None:
    _, _, patient = cohort()
    weights = resample_weights(patient, 50, 1)
    names, first = np.unique(patient, return_index=True)
    assert (weights[:, first].sum(1) == len(names)).all()
    for name in names:
        assert (weights[:, patient == name] == weights[:, patient == name][:, :1]).all()
    order = np.random.default_rng(0).permutation(len(patient))
    np.testing.assert_array_equal(resample_weights(patient[order], 50, 1), weights[:, order])
    assert (resample_weights(patient, 50, 2) != weights).any()


def test_repeating_each_patients_records_does_not_shrink_the_interval() -> None:
    truth, score, patient = cohort(patients=50)
    for metric in (mean_gap, evaluate.macro_auroc):
        once = bootstrap(metric, truth, score, patient)
        tenfold = bootstrap(metric, *(np.repeat(x, 10, axis=0) for x in (truth, score, patient)))
        np.testing.assert_allclose(tenfold, once, rtol=0, atol=1e-12)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        level = np.repeat(random.normal(size=60), 3)  # patients differ; their records are alike
        records = level + random.normal(0, 0.3, 180)
        result = bootstrap(mean_gap, records, np.zeros(180), np.repeat(np.arange(60), 3), 200, trial)
        covered += result.low <= 0 <= result.high
    assert 0.89 <= covered / 200 <= 0.98  # 0.95 +- 0.03 of chance, less the percentile method's own bias


def test_resampling_records_instead_would_be_too_sure() -> None:
    truth, score, _ = cohort(patients=40)
    truth, score = np.repeat(truth, 5, axis=0), np.repeat(score, 5, axis=0)
    by_patient = bootstrap(evaluate.macro_auroc, truth, score, np.repeat(np.arange(len(truth) // 5), 5))
    by_record = bootstrap(evaluate.macro_auroc, truth, score, np.arange(len(truth)))
    assert by_record.high - by_record.low < 0.6 * (by_patient.high - by_patient.low)


def test_a_lost_class_leaves_that_resample_and_says_nothing_aloud() -> None:
    truth, score, patient = np.zeros((40, 2)), np.linspace(0, 1, 80).reshape(40, 2), np.arange(40)
    truth[7, 0] = 1  # one positive: in 63 % of the resamples; label 1 has none
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = bootstrap(evaluate.auroc, truth, score, patient, 200)
        plain = bootstrap(lambda t, s: np.nanmean(evaluate.auroc(t, s)), truth, score, patient, 200)
        rare = bootstrap(lambda t, s: s[0, 0] if (t[:, 0].sum() > 2) else np.nan, truth, score, patient, 200)
        never = bootstrap(
            lambda t, s: np.nanmean(evaluate.auroc(t[:, 1:], s[:, 1:])), truth, score, patient, 20
        )
    assert result.low[0] < result.value[0] < result.high[0]
    assert np.isnan([x[1] for x in result]).all()
    np.testing.assert_allclose(plain, [x[0] for x in result], rtol=0, atol=1e-12)
    assert np.isnan(rare).all()
    assert np.isnan(never).all()


def test_value_without_enough_resamples_has_no_interval() -> None:
    truth, score, patient = np.zeros(30), np.linspace(0, 1, 30), np.arange(30)
    truth[4] = 1

    def often_undefined(t: np.ndarray, s: np.ndarray) -> float:
        return float(s.mean()) if t.sum() == 1 else np.nan  # in e^-1 = 37 % of the resamples

    result = bootstrap(often_undefined, truth, score, patient)
    assert result.value == pytest.approx(0.5)
    assert np.isnan(result[1:]).all()


def test_same_seed_same_interval() -> None:
    arguments = (evaluate.macro_auroc, *cohort(), 100)
    assert bootstrap(*arguments, 5) == bootstrap(*arguments, 5) != bootstrap(*arguments, 6)


def test_refuses_records_without_a_patient() -> None:
    truth, score, patient = cohort()
    with pytest.raises((ValueError, TypeCheckError)):  # the shape hook of the tests sees it first
        bootstrap(evaluate.auroc, truth, score, patient[:-1])
