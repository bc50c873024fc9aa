"""Scores against scikit-learn, against slow loops from the definitions, and under their own laws."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from sklearn import metrics as sklearn

import einthoven.evaluate as evaluate
from einthoven.evaluate import scores
from einthoven.evaluate.metric import Metric

PER_LABEL = ("auroc", "auprc", "fmax_labels", "f1", "sensitivity", "specificity", "brier", "ece")
NUMBERS = ("rmse", "mae", "r2", "pearson", "bias", "limit_low", "limit_high")
NUMBERS += ("calibration_slope", "calibration_intercept")


def made_up(seed: int, *, records: int = 120, labels: int = 6, distinct: int | None = None):
    """Truth with an empty and a full label, and scores that may be tied."""
    random = np.random.default_rng(seed)
    truth = (random.random((records, labels)) < random.uniform(0.02, 0.6, labels)).astype(float)
    score = 1 / (1 + np.exp(-random.normal(truth, 1.5)))
    if distinct:
        score = np.round(score * distinct) / distinct
    truth[:, 0], truth[:, 1] = 0, 1
    return truth, score


def each_label(function, truth, score, **options):
    """Apply a function of one label to each label, where it has both values among its known records."""
    out = []
    for t, s in zip(truth.T, score.T, strict=True):
        known = ~np.isnan(t)
        both = len(np.unique(t[known])) == 2
        out.append(function(t[known], s[known], **options) if both else np.nan)
    return np.array(out)


@pytest.mark.parametrize("distinct", [None, 5, 1])
@pytest.mark.parametrize("seed", range(5))
def test_areas_and_brier_are_those_of_scikit_learn(seed: int, distinct: int | None) -> None:
    truth, score = made_up(seed, distinct=distinct)
    for ours, theirs in (
        (evaluate.auroc, sklearn.roc_auc_score),
        (evaluate.auprc, sklearn.average_precision_score),
        (evaluate.brier, sklearn.brier_score_loss),
    ):
        expected = each_label(theirs, truth, score)
        assert np.isnan(expected[:2]).all()
        np.testing.assert_allclose(ours(truth, score), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_unknown_truth_is_as_if_the_record_were_not_there(seed: int) -> None:
    truth, score = made_up(seed, distinct=20)
    truth[np.random.default_rng(seed).random(truth.shape) < 0.3] = np.nan
    for name in PER_LABEL:
        metric = getattr(evaluate, name)
        np.testing.assert_allclose(metric(truth, score), each_label(metric, truth, score), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        evaluate.auroc(truth, score), each_label(sklearn.roc_auc_score, truth, score), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_decisions_are_those_of_scikit_learn(seed: int) -> None:
    truth, score = made_up(seed, distinct=10)
    thresholds = np.round(np.random.default_rng(seed).random(truth.shape[1]), 1)
    said = score >= thresholds
    for k in range(2, truth.shape[1]):
        expected = (
            sklearn.f1_score(truth[:, k], said[:, k], zero_division=0),
            sklearn.recall_score(truth[:, k], said[:, k]),
            sklearn.recall_score(truth[:, k], said[:, k], pos_label=0),
        )
        got = [
            m(truth, score, thresholds=thresholds)[k]
            for m in (scores.f1, scores.sensitivity, scores.specificity)
        ]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def slow_fmax_labels(truth: np.ndarray, score: np.ndarray) -> float:
    return max(sklearn.f1_score(truth, score >= t, zero_division=0) for t in np.unique(score))


def slow_fmax_samples(truth: np.ndarray, score: np.ndarray, thresholds: np.ndarray) -> float:
    best = 0.0
    for threshold in thresholds:
        precisions, recalls = [], []
        for t, s in zip(truth, score, strict=True):
            said, true = s >= threshold, t == 1
            said &= ~np.isnan(t)
            if said.any():
                precisions.append((said & true).sum() / said.sum())
            if true.any():
                recalls.append((said & true).sum() / true.sum())
        if precisions and recalls:
            p, r = np.mean(precisions), np.mean(recalls)
            best = max(best, 2 * p * r / (p + r) if p + r else 0.0)
    return best


@pytest.mark.parametrize("distinct", [None, 7])
@pytest.mark.parametrize("seed", range(3))
def test_both_fmax_are_the_loops_of_their_definitions(seed: int, distinct: int | None) -> None:
    truth, score = made_up(seed, records=30, labels=5, distinct=distinct)
    truth[:, 1] = truth[:, 2]  # else every record has a label, and the rule for those without is not tried
    truth[3, 4] = np.nan
    expected = each_label(slow_fmax_labels, truth, score)
    np.testing.assert_allclose(evaluate.fmax_labels(truth, score), expected, rtol=0, atol=1e-12)
    exact = slow_fmax_samples(truth, score, np.unique(score))
    assert evaluate.fmax_samples(truth, score) == pytest.approx(exact, abs=1e-12)
    coarse = slow_fmax_samples(truth, score, np.arange(21) / 20)
    assert evaluate.fmax_samples(truth, score, grid=0.05) == pytest.approx(coarse, abs=1e-12)
    assert coarse <= exact + 1e-12


def test_the_two_fmax_differ_and_a_worked_example_says_how() -> None:
    truth, score = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.9, 0.8], [0.2, 0.3]])
    # Each label alone ranks perfectly or not; one threshold for all of 0.3 gives P = 3/4, R = 1.
    assert evaluate.fmax_samples(truth, score) == pytest.approx(6 / 7)
    np.testing.assert_allclose(evaluate.fmax_labels(truth, score), [1, 2 / 3])


def slow_ece(truth: np.ndarray, score: np.ndarray, bins: int = 10) -> float:
    ranked = sorted(zip(-score, truth, strict=True))
    error = 0.0
    for bin_ in range(bins):
        inside = []
        for value, answer in ranked:
            places = [i for i, (other, _) in enumerate(ranked) if other == value]
            middle = (places[0] + places[-1] + 1) / 2  # of the run of ties, in records
            if bin_ == int(bins * middle // len(ranked)):
                inside.append(-value - answer)
        error += abs(sum(inside)) / len(ranked)
    return error


@pytest.mark.parametrize("distinct", [None, 9])
def test_calibration_error_is_the_loop_of_its_definition(distinct: int | None) -> None:
    truth, score = made_up(4, records=43, distinct=distinct)
    for bins in (1, 4, 10):
        expected = each_label(slow_ece, truth, score, bins=bins)
        np.testing.assert_allclose(evaluate.ece(truth, score, bins=bins), expected, rtol=0, atol=1e-12)


def test_calibration_error_without_ties_is_the_textbook_one() -> None:
    random = np.random.default_rng(0)
    score = random.random(200)
    truth = (random.random(200) < score).astype(float)
    order = np.argsort(-score)
    textbook = sum(abs((score[bin_] - truth[bin_]).sum()) for bin_ in np.split(order, 10)) / 200
    assert evaluate.ece(truth, score) == pytest.approx(textbook, abs=1e-12)


@pytest.mark.parametrize("name", (*PER_LABEL, "fmax_samples", "macro_auroc", "macro_auprc"))
@pytest.mark.parametrize("distinct", [None, 6])
def test_weights_are_repetitions(name: str, distinct: int | None) -> None:
    truth, score = made_up(1, records=60, distinct=distinct)
    truth[np.random.default_rng(1).random(truth.shape) < 0.1] = np.nan
    check_weights(getattr(evaluate, name), truth, score)


@pytest.mark.parametrize("name", NUMBERS)
def test_weights_are_repetitions_for_numbers_too(name: str) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(1000, 1, (60, 2))
    score = truth + random.normal(1, 2, truth.shape)
    truth[5, 0] = np.nan
    check_weights(getattr(evaluate, name), truth, score)


def check_weights(metric: Metric, truth: np.ndarray, score: np.ndarray) -> None:
    weights = np.random.default_rng(2).integers(0, 4, (20, len(truth)))
    fast = metric.weighted(truth, score, weights)
    for line, drawn in zip(fast, weights, strict=True):
        rows = np.repeat(np.arange(len(truth)), drawn)
        np.testing.assert_allclose(line, metric(truth[rows], score[rows]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_laws_of_auroc(seed: int) -> None:
    truth, score = made_up(seed, distinct=8)
    area = evaluate.auroc(truth, score)
    np.testing.assert_allclose(evaluate.auroc(1 - truth, score), 1 - area)
    np.testing.assert_array_equal(evaluate.auroc(truth, score**3 * 5 - 2), area)
    np.testing.assert_array_equal(evaluate.auroc(truth[::-1], score[::-1]), area)
    np.testing.assert_array_equal(evaluate.auroc(truth, np.ones_like(score))[2:], 0.5)


def test_shuffled_truth_scores_half() -> None:
    random = np.random.default_rng(0)
    truth, score = made_up(0, records=2000, labels=10)
    assert evaluate.macro_auroc(truth, score) > 0.65
    assert evaluate.macro_auroc(random.permutation(truth), score) == pytest.approx(0.5, abs=0.03)


def test_takes_any_kind_of_truth_and_one_label() -> None:
    truth, score = made_up(0)
    for kind in (bool, int, np.float32):
        np.testing.assert_array_equal(evaluate.auroc(truth.astype(kind), score), evaluate.auroc(truth, score))
    assert evaluate.auroc(truth[:, 3], score[:, 3]) == evaluate.auroc(truth, score)[3]
    assert np.isnan(evaluate.auroc(np.zeros((0, 3)), np.zeros((0, 3)))).all()


def test_refuses_what_is_not_a_prediction() -> None:
    truth, score = made_up(0)
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        evaluate.auroc(truth + 1, score)
    with pytest.raises((ValueError, TypeCheckError)):  # the shape hook of the tests sees it first
        evaluate.auroc(truth, score[:, :2])
    score[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"\[3, 2\] is NaN"):
        evaluate.auroc(truth, score)


def test_macro_leaves_out_what_is_undefined_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            evaluate.macro(np.array([[1, np.nan, 0.5], [np.nan] * 3])), [0.75, np.nan]
        )
    truth, score = made_up(0)
    assert evaluate.macro_auroc(truth, score) == pytest.approx(
        np.nanmean(evaluate.auroc(truth, score)), abs=1e-15
    )


@pytest.mark.parametrize("distinct", [None, 10])
@pytest.mark.parametrize("by", ["f1", "youden"])
def test_no_threshold_is_better_than_the_best(by: str, distinct: int | None) -> None:
    truth, score = made_up(3, distinct=distinct)

    def gain(thresholds: np.ndarray) -> np.ndarray:
        if by == "f1":
            return evaluate.f1(truth, score, thresholds=thresholds)
        yes, no = evaluate.sensitivity, evaluate.specificity
        return yes(truth, score, thresholds=thresholds) + no(truth, score, thresholds=thresholds) - 1

    best = evaluate.best_thresholds(truth, score, by)
    assert np.isnan(best[:2]).all()
    every = np.array([gain(np.full(truth.shape[1], t)) for t in np.unique(score)])
    np.testing.assert_allclose(gain(best)[2:], every.max(0)[2:], rtol=0, atol=1e-12)
    assert np.isnan(gain(best)[:2]).all()


def test_multiclass_accuracies_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    named = random.integers(0, 4, 100)
    score = random.random((100, 5)) + np.eye(5)[named] * 0.3
    guess = score.argmax(1)
    truth = np.eye(5)[named]  # the fifth class never occurs
    assert evaluate.accuracy(truth, score) == pytest.approx(sklearn.accuracy_score(named, guess), abs=1e-12)
    expected = np.mean([(guess[named == k] == k).mean() for k in range(4)])
    assert evaluate.balanced_accuracy(truth, score) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="exactly one true class"):
        evaluate.accuracy(truth * 0, score)


def test_scores_of_numbers() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(15, 5, 80)
    score = truth * 0.7 + random.normal(4, 3, 80)
    assert evaluate.rmse(truth, score) == pytest.approx(
        sklearn.root_mean_squared_error(truth, score), abs=1e-12
    )
    assert evaluate.mae(truth, score) == pytest.approx(sklearn.mean_absolute_error(truth, score), abs=1e-12)
    assert evaluate.r2(truth, score) == pytest.approx(sklearn.r2_score(truth, score), abs=1e-12)
    assert evaluate.pearson(truth, score) == pytest.approx(np.corrcoef(truth, score)[0, 1], abs=1e-12)
    assert np.isnan(evaluate.pearson(truth, np.full(80, 0.1)))
    assert np.isnan(evaluate.r2(np.full(80, 0.1), score))


def test_calibration_is_the_line_of_least_squares() -> None:
    random = np.random.default_rng(0)
    score = random.normal(1000, 5, 80)  # far from 0, where digits are lost
    truth = 0.6 * score + 400 + random.normal(0, 3, 80)
    slope, intercept = np.polynomial.Polynomial.fit(score, truth, 1).convert().coef[::-1]
    assert evaluate.calibration_slope(truth, score) == pytest.approx(slope, rel=1e-9)
    assert evaluate.calibration_intercept(truth, score) == pytest.approx(intercept, rel=1e-9)
    best = slope * score + intercept  # what is calibrated on its own records has slope 1 and no intercept
    assert evaluate.calibration_slope(truth, best) == pytest.approx(1, abs=1e-9)
    assert evaluate.calibration_intercept(truth, best) == pytest.approx(0, abs=1e-6)
    assert evaluate.calibration_slope(truth, 2 * best) == pytest.approx(0.5, abs=1e-9)
    assert np.isnan(evaluate.calibration_slope(truth, np.full(80, 0.1)))
    assert np.isnan(evaluate.calibration_intercept(truth, np.full(80, 0.1)))


def test_bland_altman_by_hand() -> None:
    truth, score = np.array([10.0, 12, 14, 16]), np.array([11.0, 12, 16, 17])
    # differences 1 0 2 1: mean 1, variance (0 + 1 + 1 + 0) / 3
    assert evaluate.bias(truth, score) == 1
    assert evaluate.limit_low(truth, score) == pytest.approx(1 - 1.96 * np.sqrt(2 / 3))
    assert evaluate.limit_high(truth, score) == pytest.approx(1 + 1.96 * np.sqrt(2 / 3))


def test_the_package_loads_quickly_and_brings_no_heavy_package() -> None:
    program = (
        "import sys, einthoven.evaluate as e; e.auroc, e.bootstrap; "
        "print([m for m in ('torch', 'numba', 'sklearn', 'scipy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", evaluate.__all__)
def test_every_name_that_is_promised_is_there(name: str) -> None:
    assert getattr(evaluate, name) is not None


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    import einthoven.evaluate.bootstrap
    import einthoven.evaluate.scores  # noqa: F401

    assert callable(evaluate.bootstrap)
    with pytest.raises(AttributeError, match="no attribute 'aurocc'"):
        evaluate.aurocc  # noqa: B018
