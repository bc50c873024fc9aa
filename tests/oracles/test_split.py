"""A share of the training patients, and a subgroup made thin: whole patients, nested, nobody else touched."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from einthoven.data.split import Rule, divide


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    """300 patients of one to three ECGs, in ten folds."""
    chance = np.random.default_rng(0)
    patient = np.repeat(np.arange(300), chance.integers(1, 4, 300))
    sex, age = chance.choice(["female", "male"], 300), chance.uniform(20, 95, 300)
    age[::10] = np.nan
    told: dict[str, Any] = {
        "patient_id": patient.astype(str),
        "fold": patient % 10 + 1,
        "sex": sex[patient],
        "age": age[patient],
    }
    return pd.DataFrame(told | {"all": [["MI"]] * len(patient)})


def rows_of(records: pd.DataFrame, **said: Any) -> dict[str, np.ndarray]:
    rows = np.arange(len(records))
    return divide(records, rows, np.zeros((len(rows), 1)), Rule(**said)).named()


def patients(records: pd.DataFrame, rows: np.ndarray) -> set[str]:
    return set(records["patient_id"].iloc[rows])


def test_a_share_is_of_whole_patients_and_part_of_a_larger_one(records: pd.DataFrame) -> None:
    whole = rows_of(records)
    before: set[str] = set()
    for share in (0.01, 0.05, 0.25, 1.0):
        split = rows_of(records, keep=share)
        mine = patients(records, split["train"])
        assert len(mine) == round(share * len(patients(records, whole["train"])))
        assert before <= mine
        assert records["patient_id"].isin(mine).sum() == len(split["train"])  # all ECGs of each
        for name in ("validation", "test"):
            assert np.array_equal(split[name], whole[name])
        before = mine
    assert np.array_equal(rows_of(records, keep=1.0)["train"], whole["train"])


def test_another_draw_is_of_others_and_leaves_the_test_alone(records: pd.DataFrame) -> None:
    for how in ({}, {"by": "patient"}):
        one, two = (rows_of(records, keep=0.2, draw=draw, **how) for draw in (0, 1))
        assert set(one["train"]) != set(two["train"])
        assert np.array_equal(one["test"], two["test"])


@pytest.mark.parametrize("said", [{"column": "sex", "equal": "female"}, {"column": "age", "least": 75.0}])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_thinned_subgroup_leaves_everybody_else(
    records: pd.DataFrame, said: dict[str, Any], share: float
) -> None:
    whole = rows_of(records)["train"]
    left = rows_of(records, thin={**said, "keep": share})["train"]
    column = records[said["column"]]
    group = (column == said["equal"] if "equal" in said else column >= said["least"]).to_numpy()
    assert set(whole[~group[whole]]) == set(left[~group[left]])  # unknown ages among them
    members = patients(records, whole[group[whole]])
    assert len(patients(records, left[group[left]])) == round(share * len(members))


def test_a_thinned_patient_goes_with_all_ecgs_and_keep_goes_first(records: pd.DataFrame) -> None:
    mixed = records.assign(age=np.where(np.arange(len(records)) % 2, 80.0, 60.0), fold=1)
    mixed.loc[mixed["patient_id"].astype(int) % 3 == 1, "fold"] = 9
    mixed.loc[mixed["patient_id"].astype(int) % 3 == 2, "fold"] = 10
    old = mixed["patient_id"].isin(mixed.loc[mixed["age"] >= 75, "patient_id"])
    none = rows_of(mixed, thin={"column": "age", "least": 75.0, "keep": 0.0})["train"]
    assert len(none) and not old.iloc[none].any()
    women = (records["sex"] == "female").to_numpy()
    few = rows_of(records, keep=0.5)["train"]
    thinned = rows_of(records, keep=0.5, thin={"column": "sex", "equal": "female", "keep": 0.5})["train"]
    assert set(thinned) < set(few) and set(few[~women[few]]) == set(thinned[~women[thinned]])
    of = [len(patients(records, some[women[some]])) for some in (few, thinned)]
    assert of[1] == round(0.5 * of[0])


def test_a_column_with_gaps_can_be_thinned(records: pd.DataFrame) -> None:
    ward = pd.array([None if i % 7 == 0 else i % 3 for i in range(len(records))], dtype="Int64")
    left = rows_of(records.assign(ward=ward), thin={"column": "ward", "equal": 1, "keep": 0.0})["train"]
    assert not (pd.Series(ward).iloc[left] == 1).any() and pd.Series(ward).iloc[left].isna().any()


def test_held_patients_stay_and_official_folds_do_not_test_on_them(records: pd.DataFrame) -> None:
    rows, truth = np.arange(len(records)), (np.arange(len(records)) % 4 == 0).astype(float)[:, None]
    who = records["patient_id"]
    plain = divide(records, rows, np.zeros((len(rows), 0)), Rule(by="patient"))
    held = {name: side for side, part in enumerate(plain.named().values()) for name in who.iloc[part]}
    other = divide(records, rows, truth, Rule(by="patient"))
    assert set(who.iloc[other.test]) & set(who.iloc[plain.train])  # without a memory they would leak
    again = divide(records, rows, truth, Rule(by="patient"), held)
    assert all(
        np.array_equal(a, b) for a, b in zip(plain.named().values(), again.named().values(), strict=True)
    )
    few = dict(list(held.items())[:150])
    some = divide(records, rows, truth, Rule(by="patient"), few).named()
    for side, part in enumerate(some.values()):
        assert all(few.get(name, side) == side for name in who.iloc[part])
        assert len(part) == pytest.approx((0.8, 0.1, 0.1)[side] * len(rows), rel=0.35)
    with pytest.raises(ValueError, match="patients of the validation or test split were learned from"):
        divide(records, rows, truth, Rule(by="fold"), held)
    divide(records, rows, truth, Rule(by="fold"), dict.fromkeys(held, 2))  # tested on before: harmless


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"keep": 0.0}, "keep is a share of the training patients, above 0; got 0"),
        ({"thin": {"column": "sex", "keep": 0.5}}, "either equal or least"),
        ({"thin": {"column": "sex", "keep": 2.0, "equal": "male"}}, r"keep \(0 to 1\)"),
        (
            {"thin": {"column": "weight", "keep": 0.5, "least": 90.0}},
            "no column 'weight'.* Known: patient_id",
        ),
        ({"thin": {"colum": "sex"}}, r"\[split.thin\] has no option 'colum'.* Did you mean 'column'"),
        ({"keep": 1e-4}, r"The train split has no record: \[split\] keep and thin left none of"),
        (
            {"thin": {"column": "sex", "keep": 0.5, "equal": "F"}},
            "sex = 'F'; values: '(fe)?male', '(fe)?male'",
        ),
        ({"thin": {"column": "all", "keep": 0.5, "equal": "MI"}}, "column 'all' holds lists"),
    ],
)
def test_what_cannot_be_meant(records: pd.DataFrame, said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rows_of(records, **said)
