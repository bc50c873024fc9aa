"""F2 and G2 of the CPSC 2018 benchmark: by hand, against slow loops, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import fbeta_score

import einthoven.evaluate as evaluate
from einthoven.evaluate import (
    Answers,
    bootstrap,
    challenge_thresholds,
    f_beta,
    g_beta,
    judge_labels,
    macro_of,
)

LABELS = 5


def made_up(
    seed: int, *, records: int = 80, unlabelled: bool = False, unknown: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Truth with one to three labels a record (or none), and scores with ties."""
    random = np.random.default_rng(seed)
    truth = np.zeros((records, LABELS))
    for line in truth:
        line[random.choice(LABELS, random.integers(0 if unlabelled else 1, 4), replace=False)] = 1
    score = np.round(1 / (1 + np.exp(-random.normal(2 * truth - 1.5))), 2)
    truth[random.random(truth.shape) < unknown] = np.nan
    return truth, score


def slow(
    truth: np.ndarray, score: np.ndarray, thresholds: np.ndarray, beta: float = 2.0, *, flat: bool = False
) -> tuple[list[float], list[float]]:
    """F and G of each label, record by record; `flat` gives every record the weight 1."""
    sums = np.zeros((3, truth.shape[1]))
    for true, scored in zip(truth, score, strict=True):
        said = [s > t for s, t in zip(scored, thresholds, strict=True)]
        if not any(said):
            said[list(scored).index(max(scored))] = True
        number = sum(t == 1 for t in true)
        weight = 1.0 if flat or number == 0 else 1 / number
        for label in range(len(true)):
            if true[label] == 1 and said[label]:
                sums[0, label] += weight
            elif true[label] == 0 and said[label]:
                sums[1, label] += weight
            elif true[label] == 1:
                sums[2, label] += weight
    f = [(1 + beta**2) * tp / ((1 + beta**2) * tp + fp + beta**2 * fn) for tp, fp, fn in sums.T]
    return f, [tp / (tp + fp + beta * fn) for tp, fp, fn in sums.T]


@pytest.mark.parametrize("unknown", [0.0, 0.1])
@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_are_the_loops_of_their_definition(seed: int, beta: float, unknown: float) -> None:
    truth, score = made_up(seed, unlabelled=seed > 1, unknown=unknown)
    thresholds = np.round(np.random.default_rng(seed).uniform(0.3, 0.9, LABELS), 2)  # met by scores: > not >=
    assert (score == thresholds).any() and (score <= thresholds).all(1).any()
    f, g = slow(truth, score, thresholds, beta)
    how = {"thresholds": thresholds, "beta": beta}
    np.testing.assert_allclose(f_beta(truth, score, **how), f, rtol=0, atol=1e-12)
    np.testing.assert_allclose(g_beta(truth, score, **how), g, rtol=0, atol=1e-12)
    assert macro_of(f_beta)(truth, score, **how) == pytest.approx(np.mean(f), abs=1e-12)


def test_a_worked_example() -> None:
    truth = np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    score = np.array([[0.9, 0.6, 0.1], [0.7, 0.2, 0.1], [0.1, 0.4, 0.3], [0.3, 0.2, 0.1]])
    # Above 0.5: {1, 2}, {1}, nothing (so the second, of highest score), nothing (so the first).
    # Weights 1, 1/2, 1, 1. First label: TP 1 + 1/2, FP 1, FN 0. Second: TP 1, FP 1, FN 1/2. Third: FN 1.
    f = [5 * 1.5 / (5 * 1.5 + 1), 5 / (5 + 1 + 4 * 0.5), 0]
    g = [1.5 / (1.5 + 1), 1 / (1 + 1 + 2 * 0.5), 0]
    np.testing.assert_allclose(f_beta(truth, score), f, rtol=1e-15)
    np.testing.assert_allclose(g_beta(truth, score), g, rtol=1e-15)
    assert macro_of(g_beta)(truth, score) == pytest.approx((0.6 + 1 / 3) / 3, abs=1e-15)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_one_label_a_record_makes_f_the_usual_one(beta: float) -> None:
    random = np.random.default_rng(0)
    truth = np.eye(4)[random.integers(0, 4, 200)]
    score = np.round(random.random((200, 4)) * 0.6 + truth * 0.3, 2)
    said = score > 0.5
    silent = ~said.any(1)
    assert 0 < silent.sum() < 200
    said[silent] = np.eye(4, dtype=bool)[score[silent].argmax(1)]
    expected = fbeta_score(truth, said, beta=beta, average=None)
    np.testing.assert_allclose(f_beta(truth, score, beta=beta), expected, rtol=0, atol=1e-12)
    assert macro_of(f_beta)(truth, score, beta=beta) == pytest.approx(
        fbeta_score(truth, said, beta=beta, average="macro"), abs=1e-12
    )


@pytest.mark.parametrize("metric", [f_beta, g_beta, macro_of(f_beta)], ids=repr)
def test_weights_are_repetitions(metric: evaluate.Metric) -> None:
    truth, score = made_up(5, records=40, unlabelled=True, unknown=0.05)
    truth[:, 0] = np.arange(40) < 2  # lost in some draws
    weights = np.random.default_rng(2).integers(0, 3, (30, 40))
    fast = metric.weighted(truth, score, weights)
    for line, drawn in zip(fast, weights, strict=True):
        rows = np.repeat(np.arange(40), drawn)
        np.testing.assert_allclose(line, metric(truth[rows], score[rows]), rtol=0, atol=1e-12)
    assert metric is not f_beta or 0 < np.isnan(fast[:, 0]).sum() < 30


@pytest.mark.parametrize("distinct", [None, 100])
@pytest.mark.parametrize("seed", range(3))
def test_thresholds_are_the_best_of_the_grid(seed: int, distinct: int | None) -> None:
    truth, score = made_up(seed, unknown=0.05)
    score = np.round(score * 99) / 99 if distinct else score  # on the points of the grid themselves
    best = challenge_thresholds(truth, score)
    for label in range(LABELS):
        known = ~np.isnan(truth[:, label])
        true, scored = truth[known, label], score[known, label]
        gains = []
        for point in np.linspace(0, 1, 100):
            hits = sum(1 for t, s in zip(true, scored, strict=True) if t and s > point)
            alarms = sum(1 for t, s in zip(true, scored, strict=True) if not t and s > point)
            gains.append(hits / (hits + alarms + 2 * (true.sum() - hits)))
        assert best[label] == np.linspace(0, 1, 100)[gains.index(max(gains))]


def test_a_label_without_both_values_has_no_score_and_leaves_the_others_alone() -> None:
    truth, score = made_up(1)
    thresholds = challenge_thresholds(truth, score)
    truth[:, 0], truth[:, 1] = 0, 1
    chosen = challenge_thresholds(truth, score)
    assert np.isnan(chosen[:2]).all() and (chosen[2:] == thresholds[2:]).all()
    for metric in (f_beta, g_beta):
        told = metric(truth, score, thresholds=thresholds)
        assert np.isnan(told[:2]).all() and not np.isnan(told[2:]).any()
        assert np.isnan(metric(truth, score, thresholds=chosen)[:2]).all()
        assert macro_of(metric)(truth, score, thresholds=thresholds) == pytest.approx(told[2:].mean())


def test_the_judge_takes_thresholds_from_validation_and_draws_patients() -> None:
    names = tuple("abcde")
    patient = np.arange(80) // 2
    folds = [Answers(*made_up(seed), patient, labels=names) for seed in (1, 2)]
    figures = judge_labels(*folds, resamples=60)["test"]
    chosen = challenge_thresholds(folds[0].truth, folds[0].score)
    assert (chosen != challenge_thresholds(folds[1].truth, folds[1].score)).any()
    for name, metric, place in (("challenge_f2", f_beta, 0), ("challenge_g2", g_beta, 1)):
        expected = bootstrap(
            macro_of(metric.using(thresholds=chosen)), folds[1].truth, folds[1].score, patient, 60
        )
        assert figures[name] == pytest.approx(expected._asdict(), abs=1e-12)
        assert figures[name]["value"] == pytest.approx(
            np.mean(slow(folds[1].truth, folds[1].score, chosen)[place])
        )
        assert figures[name]["low"] < figures[name]["value"] < figures[name]["high"]


def test_the_judge_leaves_them_out_where_there_is_no_choice_among_labels() -> None:
    truth, score = made_up(1)
    one = Answers(truth[:, :1], score[:, :1], np.arange(80), labels=("a",))
    assert "challenge_f2" not in judge_labels(one, one, resamples=5)["test"]
    classes = np.eye(LABELS)[score.argmax(1)]
    several = Answers(classes, score, np.arange(80), labels=tuple("abcde"))
    assert "challenge_g2" not in judge_labels(several, several, kind="multiclass", resamples=5)["test"]
