"""The honest row of rhythm: rules and a linear model, on hearts whose rate is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cohorts import store_of
from einthoven import honest, rhythm
from einthoven.assemble import assemble
from einthoven.data.importing import import_
from einthoven.data.sources.synthetic import Synthetic
from einthoven.data.store import Store
from einthoven.evaluate.probe import PENALTIES
from einthoven.evaluate.rows import Folds, Rows, flagged
from einthoven.plan import plan
from einthoven.run import train

RECIPE: dict[str, Any] = {
    "task": {"column": "heart_rate", "kind": "regression", "unit": "bpm"},
    "split": {"by": "patient", "shares": [0.6, 0.2, 0.2]},
    "signal": {"seconds": 2.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8, "freeze": True},
    "head": {"name": "probe"},
    "loss": {"name": "mse"},
    "crop": {"pool": "mean"},
    "train": {"solver": "probe", "batch": 16},
    "evaluate": {
        "resamples": 50,
        "rows": ["prevalence", "age_sex", "random_encoder", "random_kernels", "rhythm"],
        "examples": 0,
    },
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return import_(Synthetic(records=150), tmp_path_factory.mktemp("rhythm") / "store")


def row_of(recipe: dict[str, Any], store: Store) -> tuple[honest.Row, Folds]:
    planned = plan(recipe, store)
    job = assemble(planned, "cpu")
    folds = Folds(*(honest.cohort(planned, rows) for rows in planned.split.named().values()))
    return honest.rhythm(job, Rows(folds, kind=planned.task.kind, resamples=10)), folds


def test_it_is_ridge_on_the_features_of_the_stored_ecg(store: Store) -> None:
    """Of whole ECGs at the store's rate, whatever the model reads of them."""
    reads = {"seconds": 2.5, "hertz": 50.0, "band": [0.5, 20.0], "leads": ["V2", "II"], "scale": "train"}
    recipe = {**RECIPE, "signal": reads}
    row, folds = row_of(recipe, store)
    split = plan(recipe, store).split
    told = rhythm.features(store.read(np.arange(len(store)))[:, [7, 1]], store.hertz, leads=("V2", "II"))
    assert np.isnan(told).sum() < len(told)
    x, known = told[split.train], ~np.isnan(told[split.train])
    usual = np.array([np.median(x[known[:, i], i]) for i in range(x.shape[1])])
    table = np.hstack([np.where(np.isnan(told), usual, told), np.isnan(told)])
    mean, sd = table[split.train].mean(0), table[split.train].std(0)
    table = (table - mean) / np.where(sd > 0, sd, np.inf)
    truth, best, wanted = folds.train.truth, np.inf, np.empty(0)
    for penalty in PENALTIES:
        fitted = Ridge(alpha=penalty).fit(table[split.train], truth)
        error = np.square(fitted.predict(table[split.validation]) - folds.validation.truth.ravel()).mean()
        if error < best:
            best, wanted = float(error), fitted.predict(table[split.test])
    np.testing.assert_allclose(row.score.ravel(), wanted.ravel(), rtol=1e-6)
    off = np.abs(wanted.ravel() - folds.test.truth.ravel())
    assert row.entry["mae"]["value"] == pytest.approx(off.mean(), rel=1e-6)
    assert row.entry["rmse"]["value"] == pytest.approx(np.sqrt(np.square(off).mean()), rel=1e-6)


def test_it_knows_the_heart_rate_better_than_any_other_row(store: Store, tmp_path: Path) -> None:
    run = train(RECIPE, store.path, tmp_path / "run")
    told = json.loads((run / "results.json").read_text())
    error = {row["name"]: row["rmse"]["value"] for row in told["rows"]}
    assert min(error, key=lambda name: error[name]) == "rhythm"
    assert error["rhythm"] < 0.35 * error["mean"] and error["rhythm"] < 0.6 * error["random kernels"]
    (row,) = (row for row in told["rows"] if row["name"] == "rhythm")
    assert row["what"] == "7 features of rhythm by hand-made rules, then ridge regression"
    assert row["gain"]["value"] > 0  # rmse: the untrained network errs more


def test_unknown_features_are_the_training_median_and_a_flag() -> None:
    nan = np.nan
    train_x = np.array([[1.0, nan], [nan, nan], [5.0, nan], [2.0, nan]])
    tables = flagged(train_x, np.array([[nan, 3.0]]), np.array([[7.0, nan]]))
    assert tables[0].tolist() == [[1, 0, 0, 1], [2, 0, 1, 1], [5, 0, 0, 1], [2, 0, 0, 1]]
    assert tables[1].tolist() == [[2, 3, 1, 0]] and tables[2].tolist() == [[7, 0, 0, 1]]


def test_it_serves_labels_and_ecgs_in_which_no_heart_beats(tmp_path: Path) -> None:
    rows = [{"big": int(i % 3 == 0), "age": 50.0} for i in range(60)]
    store = store_of(tmp_path / "store", rows, signal=True)
    recipe = {
        **RECIPE,
        "task": {"column": "big"},
        "signal": {"seconds": 0.5, "scale": "train"},
        "loss": {"name": "bce"},
    }
    row, _ = row_of(recipe, store)
    assert row.entry["what"].endswith("then logistic regression")
    assert row.score.shape == (12, 1) and ((row.score >= 0) & (row.score <= 1)).all()
