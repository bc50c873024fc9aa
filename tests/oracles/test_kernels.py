"""Random kernels against a slow loop; probes and honest rows against scikit-learn and known answers."""

import numpy as np
import pytest

import einthoven.evaluate as evaluate
from einthoven.evaluate import Cohort, RandomKernels, logistic, ridge
from einthoven.evaluate.probe import fit_logistic, predict, standardised
from einthoven.evaluate.rows import Folds, Rows, demographics
from einthoven.layers.kernels import MILLIVOLTS


def made_up_ecgs(records: int = 4, time: int = 90) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.25, (records, 12, time)).astype(np.float32)


def slow_features(kernels: RandomKernels, ecg: np.ndarray) -> np.ndarray:
    out = []
    for k in range(len(kernels.bias)):
        length, dilation, padding = kernels.length[k], kernels.dilation[k], kernels.padding[k]
        padded = np.pad(ecg.astype(float) / MILLIVOLTS, ((0, 0), (padding, padding)))
        values = []
        for start in range(padded.shape[1] - (length - 1) * dilation):
            value = float(kernels.bias[k])
            for slot, lead in enumerate(kernels.leads[k]):
                for tap in range(length):
                    value += kernels.taps[k, slot, tap] * padded[lead, start + tap * dilation]
            values.append(value)
        out += [np.mean(np.array(values) > 0), max(values)]
    return np.array(out)


def test_features_are_the_loop_of_their_definition() -> None:
    kernels = RandomKernels.draw(12, 90, kernels=40, slots=3)
    assert {0, 1} <= {int(p > 0) for p in kernels.padding}  # with and without padding
    assert len(set(kernels.dilation)) > 3
    ecg = made_up_ecgs(2)
    expected = np.array([slow_features(kernels, one) for one in ecg])
    got = kernels.transform(ecg)
    np.testing.assert_allclose(got[:, 1::2], expected[:, 1::2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        got[:, 0::2], expected[:, 0::2], atol=1.01 / 60
    )  # a value of 0 may round either way
    assert (np.abs(got[:, 0::2] - expected[:, 0::2]) < 1e-6).mean() > 0.98


def test_kernels_are_drawn_as_the_paper_says() -> None:
    kernels = RandomKernels.draw(12, 1000, kernels=2000)
    assert set(kernels.length) == {7, 9, 11}
    assert (kernels.dilation >= 1).all()
    assert ((kernels.length - 1) * kernels.dilation < 1000).all()
    np.testing.assert_allclose(kernels.taps.sum(2), 0, atol=1e-5)
    assert np.mean(kernels.padding > 0) == pytest.approx(0.5, abs=0.05)
    assert (np.abs(kernels.bias) <= 1).all()
    assert all(len(set(leads)) == len(leads) for leads in kernels.leads)


def test_same_seed_same_features_in_any_chunks() -> None:
    ecg = made_up_ecgs(6)
    features = RandomKernels.draw(12, 90, kernels=30, seed=4).transform(ecg)
    again = RandomKernels.draw(12, 90, kernels=30, seed=4)
    np.testing.assert_array_equal(
        np.concatenate([again.transform(ecg[:1]), again.transform(ecg[1:])]), features
    )
    other = RandomKernels.draw(12, 90, kernels=30, seed=5).transform(ecg)
    assert (other != features).mean() > 0.9
    many = np.concatenate([ecg] * 50)  # enough work for two threads
    np.testing.assert_array_equal(again.transform(many), np.concatenate([features] * 50))


def test_refuses_ecgs_it_was_not_drawn_for() -> None:
    kernels = RandomKernels.draw(12, 90, kernels=30)
    ecg = made_up_ecgs()
    for wrong, words in (
        (ecg[:, :3], "got 3 leads"),
        (ecg[:, :, :50], "12 leads of 50 samples"),
        (ecg * np.nan, "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            kernels.transform(wrong)
    with pytest.raises(ValueError, match="at least 11 samples"):
        RandomKernels.draw(12, 10)


def separable(seed: int, records: int = 400, features: int = 12):
    random = np.random.default_rng(seed)
    x = random.normal(3, 2, (records, features))
    slope = np.random.default_rng(99).normal(size=(features, 3)) / 2
    y = (x - 3) @ slope + random.normal(0, 1, (records, 3))
    return x, y


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_logistic_regression_is_that_of_scikit_learn(strength: float) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = separable(0)
    truth = (y > 0.5).astype(float)
    truth[:60, 1] = np.nan
    (x,) = standardised(x)
    weights = fit_logistic(x, truth, strength, np.zeros((13, 3)))
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=1000).fit(x[known], truth[known, label])
        np.testing.assert_allclose(predict(x, weights)[:, label], theirs.predict_proba(x)[:, 1], atol=2e-4)


@pytest.mark.parametrize("wide", [False, True])
def test_ridge_regression_is_that_of_scikit_learn(wide: bool) -> None:
    from sklearn.linear_model import Ridge

    x, y = separable(0, 30 if wide else 200, 60 if wide else 12)
    x_test, _ = separable(1, 50, x.shape[1])
    scaled, scaled_test = standardised(x, x_test)
    for penalty in (1.0, 30.0):
        expected = Ridge(alpha=penalty).fit(scaled, y).predict(scaled_test)
        got = ridge(x, y, x, y, x_test, penalties=(penalty,))
        np.testing.assert_allclose(got, expected, atol=1e-8)


def test_probe_finds_what_is_there_and_nothing_in_noise() -> None:
    (x, y), (validation_x, validation_y), (x_test, y_test) = (separable(seed) for seed in range(3))
    truth, truth_test = y > 0, y_test > 0
    score = logistic(x, truth, validation_x, validation_y > 0, x_test)
    assert evaluate.macro_auroc(truth_test, score) > 0.8
    shuffled = np.random.default_rng(0).permutation(truth)
    chance = logistic(x, shuffled, validation_x, validation_y > 0, x_test)
    assert evaluate.macro_auroc(truth_test, chance) == pytest.approx(0.5, abs=0.2)


def test_validation_chooses_the_strength() -> None:
    random = np.random.default_rng(0)
    x = [random.normal(size=(n, 80)) for n in (60, 500, 500)]
    y = [(table[:, :1] + random.normal(0, 0.5, (len(table), 1)) > 0).astype(float) for table in x]
    alone = {c: logistic(x[0], y[0], x[1], y[1], x[2], strengths=(c,)) for c in (1e-3, 1e-1, 1e2)}
    on_validation = {
        c: evaluate.macro_auroc(y[1], logistic(x[0], y[0], x[1], y[1], x[1], strengths=(c,))) for c in alone
    }
    best = max(on_validation, key=on_validation.get)
    chosen = logistic(x[0], y[0], x[1], y[1], x[2], strengths=tuple(alone))
    np.testing.assert_allclose(chosen, alone[best], atol=2e-3)


def test_labels_with_one_value_get_a_constant_and_features_without_spread_do_no_harm() -> None:
    x, y = separable(0)
    truth = (y > 0).astype(float)
    truth[:, 0], truth[:, 1] = 0, 1
    x[:, 4] = 0.1
    score = logistic(x, truth, x, truth, x)
    assert (score[:, 0] < 1e-6).all() and (score[:, 1] > 1 - 1e-6).all()
    assert evaluate.auroc(truth, score)[2] > 0.7
    x32 = x.astype(np.float32)
    np.testing.assert_allclose(logistic(x32, truth, x32, truth, x32), score, atol=0.01)


def folds(kind: str = "labels") -> Folds:
    """Age and sex tell something; some ages and sexes are unknown."""

    def cohort(seed: int) -> Cohort:
        random = np.random.default_rng(seed)
        age, male = random.uniform(20, 90, 300), random.random(300) < 0.5
        risk = (age - 55) / 15 + male
        truth = np.stack([risk + random.normal(size=300), random.normal(size=300)], axis=1)
        sex = np.array(["male" if m else "female" for m in male], object)
        age[::17], sex[::13] = np.nan, None
        return Cohort(truth if kind == "regression" else (truth > 0).astype(float), np.arange(300), age, sex)

    return Folds(cohort(0), cohort(1), cohort(2))


def test_prevalence_is_chance() -> None:
    three = folds()
    row = Rows(three, resamples=50).prevalence()
    assert row.entry["auroc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    np.testing.assert_allclose(row.score, np.tile(three.train.truth.mean(0), (300, 1)))
    assert set(row.entry) == {"name", "what", "auroc", "seconds"}


def test_age_and_sex_tell_what_they_know() -> None:
    three = folds()
    row = Rows(three, resamples=50).age_sex()
    assert evaluate.auroc(three.test.truth, row.score)[0] > 0.85
    assert evaluate.auroc(three.test.truth, row.score)[1] == pytest.approx(0.5, abs=0.12)
    assert row.entry["auroc"]["low"] < row.entry["auroc"]["value"] < row.entry["auroc"]["high"]


def test_unknown_age_is_the_training_median_with_a_flag() -> None:
    three = folds()
    tables = demographics(*three)
    median = np.nanmedian(three.train.age)
    for table, cohort in zip(tables, three, strict=True):
        np.testing.assert_array_equal(table[::17, 0], median)
        np.testing.assert_array_equal(table[:, 1], np.isnan(cohort.age))
        np.testing.assert_array_equal(table[:, 3], [sex is None for sex in cohort.sex])
    without = Cohort(three.train.truth, three.train.patient)
    assert demographics(without, without, without)[0].tolist()[0] == [0, 1, 0, 1]


def test_rows_of_numbers_are_judged_by_their_error() -> None:
    three = folds("regression")
    rows = Rows(three, kind="regression", resamples=50)
    mean, told = rows.prevalence(), rows.age_sex()
    assert told.entry["rmse"]["value"] < mean.entry["rmse"]["value"]
    assert "ridge" in told.entry["what"]


def test_random_kernels_see_a_wave_and_take_ecgs_in_chunks() -> None:
    random = np.random.default_rng(0)
    patients, beat = np.arange(60), np.sin(np.arange(100) / 3)
    cohorts, ecgs = [], []
    for _ in range(3):
        truth = (random.random((60, 1)) < 0.5).astype(float)
        cohorts.append(Cohort(truth, patients))
        ecgs.append(
            (random.normal(0, 0.3, (60, 12, 100)) + 0.3 * truth[:, :, None] * beat).astype(np.float32)
        )
    rows = Rows(Folds(*cohorts), resamples=50)
    whole = rows.random_kernels(*([ecg] for ecg in ecgs), kernels=100)
    chunks = rows.random_kernels(*([ecg[:25], ecg[25:]] for ecg in ecgs), kernels=100)
    assert whole.entry["auroc"]["value"] > 0.9
    np.testing.assert_allclose(chunks.score, whole.score)
    probe = rows.features("random encoder", "untrained", tuple(ecg[:, 0] for ecg in ecgs), seconds=5)
    assert probe.entry["seconds"] >= 5
