"""The judge: every part of results.json, clean as JSON, equal to the scores taken one by one."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn

import einthoven.evaluate as evaluate
from einthoven.evaluate import Answers, bootstrap, judge_labels, judge_regression

LABELS = ("CD", "HYP", "MI", "NORM", "RARE", "NEVER")


def answers(seed: int, records: int = 150) -> Answers:
    """RARE has two positives, one patient each; NEVER has none."""
    random = np.random.default_rng(seed)
    truth = (random.random((records, len(LABELS))) < 0.3).astype(float)
    truth[:, 4:] = 0
    truth[:2, 4] = 1
    score = 1 / (1 + np.exp(-random.normal(truth - 0.5)))
    patient = np.maximum(np.arange(records) - 30, 0)  # the first 31 records are one patient's
    age, sex = random.uniform(18, 95, records), random.choice(np.array(["female", "male"], object), records)
    age[5], sex[6], truth[8, 2] = np.nan, None, np.nan
    return Answers(truth, score, patient, age, sex, LABELS)


@pytest.fixture(scope="module")
def judged() -> dict:
    return judge_labels(answers(1), answers(2), resamples=200)


def test_has_every_part_and_is_clean_json(judged: dict) -> None:
    assert list(judged) == ["test", "validation", "thresholds", "temperature", "calibrated", "subgroups"]
    assert list(judged["test"]) == [
        *("auroc", "auprc", "fmax_samples", "fmax_labels", "challenge_f2", "challenge_g2"),
        *("f1", "sensitivity", "specificity", "brier", "ece"),
    ]
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged
    for name in ("auprc", "f1", "sensitivity", "specificity", "brier", "ece"):
        assert set(judged["test"][name]) == {"macro", "per_label"}
        assert tuple(judged["test"][name]["per_label"]) == LABELS
    assert set(judged["test"]["fmax_samples"]) == {"value", "low", "high"}
    assert set(judged["test"]["fmax_labels"]) == {"value", "low", "high", "per_label"}
    assert set(judged["calibrated"]) == {"brier", "ece"}


def test_figures_are_those_of_the_bootstrap(judged: dict) -> None:
    validation, test = answers(1), answers(2)
    thresholds = evaluate.best_thresholds(validation.truth, validation.score)
    warm = evaluate.temper(test.score, judged["temperature"])
    arguments = (test.patient, 200)
    for got, metric, score in (
        (judged["test"]["auroc"]["macro"], evaluate.macro_auroc, test.score),
        (judged["test"]["fmax_samples"], evaluate.fmax_samples, test.score),
        (
            judged["test"]["f1"]["macro"],
            evaluate.macro_of(evaluate.f1.using(thresholds=thresholds)),
            test.score,
        ),
        (judged["calibrated"]["ece"]["macro"], evaluate.macro_of(evaluate.ece), warm),
    ):
        expected = bootstrap(metric, test.truth, score, *arguments)
        np.testing.assert_allclose([got["value"], got["low"], got["high"]], expected, rtol=0, atol=1e-12)
    per_label = bootstrap(evaluate.auroc, test.truth, test.score, *arguments)
    assert judged["test"]["auroc"]["per_label"]["MI"]["high"] == pytest.approx(per_label.high[2], abs=1e-12)
    expected = bootstrap(evaluate.macro_auroc, validation.truth, validation.score, validation.patient, 200)
    assert judged["validation"]["auroc"]["macro"]["low"] == pytest.approx(expected.low, abs=1e-12)


def test_names_labels_that_cannot_be_scored_and_how_often_others_were_lost(judged: dict) -> None:
    auroc = judged["test"]["auroc"]
    assert auroc["undefined"] == ["NEVER"]
    assert auroc["per_label"]["NEVER"] == {"value": None, "low": None, "high": None}
    weights = evaluate.resample_weights(answers(2).patient, 200)
    assert auroc["dropped"] == {"RARE": pytest.approx((weights[:, :2].sum(1) == 0).mean())}
    assert 0.2 < auroc["dropped"]["RARE"] < 0.5  # both positives are one patient's: e^-1
    assert judged["thresholds"]["NEVER"] is None


def test_thresholds_and_temperature_do_not_see_the_test_fold(judged: dict) -> None:
    other = judge_labels(answers(1), answers(3), resamples=5)
    assert other["thresholds"] == judged["thresholds"]
    assert other["temperature"] == judged["temperature"]
    assert judge_labels(answers(4), answers(2), resamples=5)["thresholds"] != judged["thresholds"]


def test_subgroups_count_and_score_their_own_records(judged: dict) -> None:
    test = answers(2)
    lines = {(line["column"], line["value"]): line for line in judged["subgroups"]}
    assert [*lines] == [
        ("sex", "female"), ("sex", "male"), ("sex", "unknown"),
        ("age", "under 40"), ("age", "40-59"), ("age", "60-74"), ("age", "75 and over"), ("age", "unknown"),
    ]  # fmt: skip
    for column in ("sex", "age"):
        assert sum(line["records"] for key, line in lines.items() if key[0] == column) == 150
    women = test.sex == "female"
    line = lines["sex", "female"]
    assert line["patients"] == len(np.unique(test.patient[women]))
    expected = evaluate.macro_auroc(test.truth[women], test.score[women])
    assert line["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    assert line["auroc"]["low"] < expected < line["auroc"]["high"]
    assert "NEVER" in line["undefined"]
    alone = lines["sex", "unknown"]
    assert (alone["records"], alone["auroc"]["value"], len(alone["undefined"])) == (1, None, 6)


def test_subgroups_may_be_unknown_altogether() -> None:
    test = answers(2)
    bare = Answers(test.truth, test.score, test.patient, labels=LABELS)
    assert judge_labels(answers(1), bare, resamples=5)["subgroups"] == []
    nobody = Answers(test.truth, test.score, test.patient, np.full(150, np.nan), np.full(150, None), LABELS)
    assert judge_labels(answers(1), nobody, resamples=5)["subgroups"] == []


def test_multiclass_adds_accuracy() -> None:
    random = np.random.default_rng(0)
    truth = np.eye(3)[random.integers(0, 3, 100)]
    score = random.dirichlet([1, 1, 1], 100) / 2 + truth / 2
    fold = Answers(truth, score, np.arange(100), labels=("a", "b", "c"))
    figures = judge_labels(fold, fold, kind="multiclass", resamples=50)["test"]
    assert figures["accuracy"]["value"] == np.mean(score.argmax(1) == truth.argmax(1))
    assert figures["balanced_accuracy"]["low"] <= figures["balanced_accuracy"]["value"]


def test_regression_is_judged_in_the_unit_of_its_column() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(15, 5, (120, 1))
    fold = Answers(truth, truth * 0.5 + 8, np.arange(120) // 2, random.uniform(20, 90, 120), labels=("pcwp",))
    judged = judge_regression(fold, fold, resamples=100)
    assert list(judged["test"]) == [
        *("rmse", "mae", "r2", "pearson", "calibration_slope", "calibration_intercept"),
        *("bias", "limit_low", "limit_high"),
    ]
    assert judged["test"]["calibration_slope"]["value"] == pytest.approx(2)
    assert judged["test"]["calibration_intercept"]["value"] == pytest.approx(-16)
    rmse = bootstrap(evaluate.macro_of(evaluate.rmse), truth, fold.score, fold.patient, 100)
    assert judged["test"]["rmse"] == {"value": rmse.value, "low": rmse.low, "high": rmse.high}
    assert judged["test"]["pearson"]["value"] == pytest.approx(1)
    assert [line["column"] for line in judged["subgroups"]] == ["age"] * 4
    assert "rmse" in judged["subgroups"][0]
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged


def test_numbers_are_judged_as_a_score_of_those_above_one() -> None:
    random = np.random.default_rng(0)
    truth = np.round(random.normal(15, 5, (120, 1)), 1)
    truth[:4, 0] = [18.1, np.nan, 18.1, 18.2]
    score = np.where(np.isnan(truth), 15.0, truth) + random.normal(0, 4, truth.shape)
    fold = Answers(truth, score, np.arange(120) // 2, labels=("pcwp",))
    judged = judge_regression(fold, fold, above=18.1, resamples=100)["test"]["above"]
    known = ~np.isnan(truth)
    high = truth[known] > 18.1
    assert judged["threshold"] == 18.1 and judged["positives"] == high.sum() < (truth[known] >= 18.1).sum()
    for name, theirs in (("auroc", sklearn.roc_auc_score), ("auprc", sklearn.average_precision_score)):
        assert judged[name]["value"] == pytest.approx(theirs(high, score[known]), abs=1e-12)
        binary = np.where(known, truth > 18.1, np.nan)
        interval = bootstrap(getattr(evaluate, name), binary, score, fold.patient, 100)
        assert (judged[name]["low"], judged[name]["high"]) == pytest.approx(
            (interval.low[0], interval.high[0])
        )
    stored = Answers(truth.astype(np.float32), score, fold.patient, labels=("pcwp",))
    assert judge_regression(stored, stored, above=18.1, resamples=100)["test"]["above"] == judged
    nobody = judge_regression(fold, fold, above=99.0, resamples=5)["test"]["above"]
    assert nobody["positives"] == 0 and nobody["auroc"] == {"value": None, "low": None, "high": None}


def test_an_empty_validation_fold_is_no_reason_to_fall_over() -> None:
    nobody = Answers(np.zeros((0, 6)), np.zeros((0, 6)), np.zeros(0, int), labels=LABELS)
    judged = judge_labels(nobody, answers(2), resamples=20)
    assert judged["temperature"] == 1
    assert judged["validation"]["auroc"]["macro"]["value"] is None
    assert judged["test"]["f1"]["macro"]["value"] is None
    assert judged["test"]["auroc"]["macro"]["value"] > 0.6


def test_refuses_folds_of_other_labels() -> None:
    test = answers(2)
    other = Answers(test.truth[:, :2], test.score[:, :2], test.patient, labels=LABELS[:2])
    with pytest.raises(ValueError, match="the same labels"):
        judge_labels(other, test)
    with pytest.raises(ValueError, match="one column at a time"):
        judge_regression(other, other)
