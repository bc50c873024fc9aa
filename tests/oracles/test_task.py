"""Tasks: what is true of a record, and how an answer is read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohorts import store_of
from einthoven.data.split import Rule, divide
from einthoven.data.store import Store
from einthoven.data.task import find_task

ROWS = [
    {"superdiag": ["MI", "CD"], "pcwp": 12.0, "blood": "A", "dead": 0, "site": 1.0},
    {"superdiag": ["NORM"], "pcwp": 25.0, "blood": None, "dead": 1, "site": 2.0},
    {"superdiag": [], "pcwp": None, "blood": "B", "dead": 1, "site": 1.0},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("task") / "store", ROWS)


@pytest.mark.parametrize("source", [False, True])
def test_statements_become_zeros_and_ones_and_an_empty_list_is_unknown(store: Store, source: bool) -> None:
    made = find_task(store, {"name": f"{store.source}/superdiag" if source else "superdiag"})
    assert made.labels == ("CD", "MI", "NORM")
    np.testing.assert_equal(made.truth(store.records), [[1, 1, 0], [0, 0, 1], [np.nan] * 3])


def test_a_column_above_a_number(store: Store) -> None:
    made = find_task(store, {"column": "pcwp", "above": 18.0})
    assert made.labels == ("pcwp > 18",) and made.kind == "labels"
    np.testing.assert_equal(made.truth(store.records), [[0], [1], [np.nan]])


def test_a_column_of_at_least_a_number(store: Store) -> None:
    made = find_task(store, {"column": "pcwp", "least": 25.0})
    assert made.labels == ("pcwp >= 25",) and made.kind == "labels"
    np.testing.assert_equal(made.truth(store.records), [[0], [1], [np.nan]])
    strict = find_task(store, {"column": "pcwp", "above": 25.0})
    np.testing.assert_equal(strict.truth(store.records), [[0], [0], [np.nan]])
    assert find_task(store, made.table()) == made and find_task(store, strict.table()) == strict
    assert made.table()["least"] == 25 and "above" not in made.table() and "least" not in strict.table()


@pytest.mark.parametrize("number", [14.9, 15.3, 18.1, 0.1])
def test_a_number_with_decimals_is_at_least_itself_and_not_above(tmp_path: Path, number: float) -> None:
    tenths = store_of(tmp_path / "store", [{"mmhg": number + step} for step in (-0.1, 0.0, 0.1)])
    least, above = (
        find_task(tenths, {"column": "mmhg", key: number}).truth(tenths.records).ravel().tolist()
        for key in ("least", "above")
    )
    assert least == [0, 1, 1] and above == [0, 0, 1]


@pytest.mark.parametrize(
    ("number", "told"),
    [(1234567.4, "1234567.4"), (18, "18"), (15.3, "15.3"), (-0.00001234567, "-1.234567e-05")],
)
def test_a_label_is_named_by_the_whole_number(store: Store, number: float, told: str) -> None:
    made = find_task(store, {"column": "pcwp", "above": number})
    assert made.labels == (f"pcwp > {told}",) and made.name == f"pcwp > {told}"
    assert find_task(store, made.table()) == made


def test_a_regression_is_scaled_by_the_training_split(store: Store) -> None:
    made = find_task(store, {"column": "pcwp", "kind": "regression"})
    truth = made.truth(store.records)
    made = made.fitted(truth)
    assert (made.mean, made.sd) == pytest.approx((18.5, 6.5))
    np.testing.assert_allclose(made.scaled(truth)[:2, 0], [-1, 1])
    np.testing.assert_allclose(made.answer(made.scaled(truth)[:2]), truth[:2])
    plain = find_task(store, {"column": "pcwp", "kind": "regression", "standardise": False}).fitted(truth)
    np.testing.assert_equal(plain.scaled(truth), truth)


def test_classes_that_exclude_each_other(store: Store) -> None:
    made = find_task(store, {"column": "blood", "kind": "multiclass"})
    assert made.labels == ("A", "B")
    np.testing.assert_equal(made.truth(store.records), [[1, 0], [np.nan] * 2, [0, 1]])
    np.testing.assert_allclose(made.answer(np.log([[1.0, 3.0]])), [[0.25, 0.75]])
    assert find_task(store, {"column": "site", "kind": "multiclass"}).labels == ("1", "2")


def test_several_columns_of_zeros_and_ones(store: Store) -> None:
    made = find_task(store, {"columns": ["dead", "dead"]})
    assert made.labels == ("dead", "dead")
    np.testing.assert_equal(made.truth(store.records), [[0, 0], [1, 1], [1, 1]])


def test_probabilities_are_logistic_and_never_overflow(store: Store) -> None:
    said = find_task(store, {"name": "superdiag"}).answer(np.array([[-800.0, 0.0, np.log(3)]]))
    np.testing.assert_allclose(said, [[0, 0.5, 0.75]])


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "labels"}, "needs a name or a column. Tasks of .*: superdiag"),
        ({"name": "subdiag"}, "No task 'subdiag' .*Did you mean 'superdiag'"),
        ({"name": "pwcp"}, "No task 'pwcp' .*columns .*pcwp.*Did you mean 'pcwp'"),
        ({"column": "pwcp"}, "No column 'pwcp' .*Did you mean 'pcwp'"),
        ({"column": "pcwp"}, "holds numbers; say above"),
        ({"column": "blood", "kind": "regression"}, "holds no numbers"),
        ({"column": "site", "kind": "labels"}, "more than 0 and 1"),
        ({"column": "dead", "kind": "ordinal"}, "kind is 'labels', 'multiclass' or 'regression'"),
        ({"column": "pcwp", "above": 18.0, "kind": "regression"}, "leave out above, or kind"),
        ({"column": "pcwp", "least": 15.0, "kind": "regression"}, "least = 15 .*leave out least, or kind"),
        ({"column": "pcwp", "least": 15.0, "above": 18.0}, "takes one number: above .>. or least .>=."),
        ({"column": "pcwp", "least": "high"}, "takes one number: .*got least = 'high'"),
        ({"column": "pcwp", "least": float("nan")}, "takes one number: .*got least = nan"),
        ({"column": "pcwp", "above": float("inf")}, "takes one number: .*got above = inf"),
        ({"column": "pcwp", "least": 15.0, "unit": "mmHg"}, "least = 15 .*leave out unit"),
        ({"column": "pcwp", "above": 15.0, "standardise": False}, "above = 15 .*leave out standardise"),
        ({"column": "pcwp", "above": 15.0, "labels": ["ill"]}, r"names .*\(pcwp > 15\); leave out labels"),
        ({"name": "superdiag", "least": 15.0}, "least goes with a column of numbers"),
        ({"colum": "dead"}, r"\[task\] has no option 'colum'.*Did you mean 'column"),
    ],
)
def test_one_line_for_a_task_that_cannot_be(store: Store, table: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        find_task(store, table)


def test_one_class_is_refused(tmp_path: Path) -> None:
    alone = store_of(tmp_path / "store", [{"word": "a"}, {"word": "a"}, {"word": None}])
    with pytest.raises(ValueError, match="one class only: a"):
        find_task(alone, {"column": "word", "kind": "multiclass"})


def cohort(patients: int = 300, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    chance = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), chance.integers(1, 5, patients))
    truth = (chance.random((len(owner), 3)) < [0.5, 0.1, 0.02]).astype(np.float32)
    return pd.DataFrame({"patient_id": owner.astype(str).astype(object)}), truth


def test_patients_are_never_in_two_splits_and_labels_are_shared_out() -> None:
    records, truth = cohort()
    split = divide(records, np.arange(len(records)), truth, Rule(by="patient", shares=(0.6, 0.2, 0.2)))
    owners = [set(records["patient_id"].iloc[rows]) for rows in split.named().values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert sum(len(rows) for rows in split.named().values()) == len(records)
    for rows, share in zip(split.named().values(), (0.6, 0.2, 0.2), strict=True):
        assert len(rows) / len(records) == pytest.approx(share, abs=0.03)
        np.testing.assert_allclose(truth[rows].sum(0) / truth.sum(0), share, atol=0.07)


def test_splits_are_seeded() -> None:
    records, truth = cohort()
    rows = np.arange(len(records))
    a, b, c = (divide(records, rows, truth, Rule(by="patient", seed=seed)).test for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_numbers_are_shared_out_by_their_rank() -> None:
    records, truth = cohort()
    values = np.random.default_rng(1).normal(16, 8, (len(truth), 1)).astype(np.float32)
    split = divide(records, np.arange(len(records)), values, Rule(by="patient", shares=(0.6, 0.2, 0.2)))
    for rows in split.named().values():
        np.testing.assert_allclose(
            np.quantile(values[rows], [0.25, 0.75]), np.quantile(values, [0.25, 0.75]), atol=1.5
        )


def test_official_folds() -> None:
    records, truth = cohort()
    records["fold"] = records["patient_id"].astype(int) % 10 + 1
    split = divide(records, np.arange(len(records)), truth, Rule())
    assert set(records["fold"].iloc[split.train]) == set(range(1, 9))
    assert set(records["fold"].iloc[split.test]) == {10} and split.by == "folds of the store"
    records.loc[0, "fold"] = 10
    records.loc[1, ["patient_id", "fold"]] = [records.loc[0, "patient_id"], 1]
    with pytest.raises(ValueError, match=r"Patient '0' stands in train and test \(1 such"):
        divide(records, np.arange(len(records)), truth, Rule())
    records.loc[5, "fold"] = None
    with pytest.raises(ValueError, match="some records have no fold"):
        divide(records, np.arange(len(records)), truth, Rule(by="fold"))
    with pytest.raises(ValueError, match="validation split has no record: .* labelled ones of 300 patients"):
        divide(records.drop(columns="fold").assign(fold=1), np.arange(len(records)), truth, Rule())
