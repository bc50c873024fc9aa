"""Paired comparisons against their definition, and of run folders."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import einthoven.evaluate as evaluate
from einthoven.evaluate import compare_runs, paired, resample_weights


def cohort(seed: int = 0, records: int = 300):
    random = np.random.default_rng(seed)
    truth = (random.random((records, 2)) < 0.4).astype(float)
    shared = random.normal(truth)
    weak = 1 / (1 + np.exp(-shared - random.normal(0, 1.0, truth.shape)))
    strong = 1 / (1 + np.exp(-shared - random.normal(0, 0.2, truth.shape)))
    return truth, weak, strong, random.integers(0, 200, records)


def test_is_the_loop_of_its_definition() -> None:
    truth, a, b, patient = cohort()
    result = paired(evaluate.auroc, truth, a, b, patient, resamples=150, seed=2)
    gaps = []
    for line in resample_weights(patient, 150, 2):
        rows = np.repeat(np.arange(len(truth)), line)
        gaps.append(evaluate.auroc(truth[rows], b[rows]) - evaluate.auroc(truth[rows], a[rows]))
    gaps = np.array(gaps)
    np.testing.assert_allclose(result.difference.low, np.percentile(gaps, 2.5, axis=0), atol=1e-12)
    np.testing.assert_allclose(result.difference.high, np.percentile(gaps, 97.5, axis=0), atol=1e-12)
    np.testing.assert_allclose(result.difference.value, result.b - result.a, atol=1e-12)
    np.testing.assert_allclose(result.beats, (gaps > 0).mean(0), atol=1e-12)
    np.testing.assert_allclose(result.p, np.minimum(1, 2 * (1 + (gaps <= 0).sum(0)) / 151), atol=1e-12)


def test_pairing_sees_what_two_intervals_do_not() -> None:
    truth, a, b, patient = cohort()
    result = paired(evaluate.macro_auroc, truth, a, b, patient)
    alone = evaluate.bootstrap(evaluate.macro_auroc, truth, a, patient)
    assert result.difference.low > 0
    assert result.difference.high - result.difference.low < alone.high - alone.low
    assert result.beats > 0.95
    assert result.p < 0.05


def test_exchange_turns_the_sign_and_itself_is_no_difference() -> None:
    truth, a, b, patient = cohort()
    there, back = (
        paired(evaluate.macro_auroc, truth, *two, patient, resamples=99) for two in ((a, b), (b, a))
    )
    np.testing.assert_allclose(there.difference, [-back.difference[i] for i in (0, 2, 1)], atol=1e-12)
    assert there.p == back.p
    assert there.beats == pytest.approx(1 - back.beats)
    same = paired(evaluate.macro_auroc, truth, a, a, patient, resamples=99)
    assert (*same.difference, same.beats, same.p) == (0, 0, 0, 0.5, 1)


def test_two_coins_differ_by_chance_only() -> None:
    truth, *_, patient = cohort()
    random = np.random.default_rng(0)
    ps = [
        paired(evaluate.macro_auroc, truth, *random.random((2, *truth.shape)), patient, resamples=100).p
        for _ in range(60)
    ]
    assert np.mean(np.array(ps) < 0.05) < 0.17
    assert 0.3 < np.mean(ps) < 0.7


def test_lower_error_is_better() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=100)
    near, far = truth + random.normal(0, 0.1, 100), truth + random.normal(0, 1, 100)
    result = paired(evaluate.rmse, truth, far, near, np.arange(100), better="lower", resamples=99)
    assert result.difference.value < 0
    assert result.beats == 1


def write_run(folder: Path, truth: np.ndarray, score: np.ndarray, patient: np.ndarray, **columns) -> Path:
    folder.mkdir()
    table = {
        "record_id": [f"r{i}" for i in range(len(truth))],
        "patient_id": [f"p{i}" for i in patient],
        "store_row": np.arange(len(truth)),
        "split": np.where(np.arange(len(truth)) < 40, "validation", "test"),
        "age": np.where(np.arange(len(truth)) == 50, np.nan, 60.0),
        "sex": [None if i % 3 == 0 else ("female", "male")[i % 2] for i in range(len(truth))],
    }
    for k, label in enumerate(("CD", "MI")):
        table |= {f"truth/{label}": truth[:, k], f"score/{label}": score[:, k].astype(np.float32)}
    pd.DataFrame(table | columns).to_parquet(folder / "predictions.parquet")
    return folder


def test_compares_the_test_records_of_two_runs(tmp_path: Path) -> None:
    truth, a, b, patient = cohort()
    run_a, run_b = (write_run(tmp_path / n, truth, s, patient) for n, s in (("a", a), ("b", b)))
    table = pd.read_parquet(run_b / "predictions.parquet")
    table.sample(frac=1, random_state=0).to_parquet(
        run_b / "predictions.parquet"
    )  # the order does not matter
    result = compare_runs(run_a, run_b, resamples=200)
    a, b = (x.astype(np.float32).astype(float) for x in (a, b))
    expected = paired(
        evaluate.macro_auroc, truth[40:], a[40:], b[40:], patient_names(patient[40:]), resamples=200
    )
    assert (result["metric"], result["records"], result["better"]) == ("auroc", 260, "higher")
    assert result["patients"] == len(np.unique(patient[40:]))
    assert list(result["labels"]) == ["CD", "MI"]
    assert result["macro"]["difference"]["low"] == pytest.approx(expected.difference.low, abs=1e-12)
    assert result["macro"]["p"] == expected.p
    both = [line["difference"]["value"] for line in result["labels"].values()]
    assert np.mean(both) == pytest.approx(result["macro"]["difference"]["value"])


def patient_names(patient: np.ndarray) -> np.ndarray:
    return np.array([f"p{i}" for i in patient], object)


def test_numbers_are_compared_by_their_error(tmp_path: Path) -> None:
    truth, a, b, patient = cohort()
    runs = [write_run(tmp_path / n, truth * 9.5, s, patient) for n, s in (("a", a), ("b", b))]
    result = compare_runs(*runs, resamples=50)
    assert (result["metric"], result["better"]) == ("rmse", "lower")


def test_reads_what_is_unknown_as_unknown(tmp_path: Path) -> None:
    truth, a, _, patient = cohort()
    truth[45, 1] = np.nan
    answers = evaluate.read_answers(write_run(tmp_path / "a", truth, a, patient))
    assert np.isnan(answers.truth[5, 1])
    assert np.isnan(answers.age[10])
    assert answers.sex[2] is None
    assert len(evaluate.read_answers(tmp_path / "a", "validation").truth) == 40


def test_refuses_runs_that_answer_different_questions(tmp_path: Path) -> None:
    truth, a, _, patient = cohort()
    run = write_run(tmp_path / "a", truth, a, patient)

    def changed(name: str, table: pd.DataFrame) -> Path:
        (tmp_path / name).mkdir()
        table.to_parquet(tmp_path / name / "predictions.parquet")
        return tmp_path / name

    table = pd.read_parquet(run / "predictions.parquet")
    labels = changed("labels", table.rename(columns={"truth/MI": "truth/HYP", "score/MI": "score/HYP"}))
    fewer = changed("fewer", table[:-3])
    twice = changed("twice", pd.concat([table, table[-1:]]))
    flipped = changed("flipped", table.assign(**{"truth/CD": 1 - table["truth/CD"]}))
    lacking = changed("lacking", table.drop(columns="patient_id"))
    trained = changed("trained", table[table["split"] == "validation"])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "predictions.parquet").write_bytes(b"no table")
    for other, words in (
        (labels, "labels differ .* HYP, MI"),
        (fewer, "3 test records are not in both"),
        (twice, "twice"),
        (flipped, "the truth of r40, CD, is not a's"),
        (lacking, "lacks the column 'patient_id'"),
        (trained, "no records of the split 'test'"),
        (broken, "cannot be read"),
        (tmp_path / "nowhere", "is missing"),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            compare_runs(run, other)
        assert re.search(other.name, str(refused.value))
        assert "\n" not in str(refused.value)
