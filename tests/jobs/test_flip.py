"""Training labels made wrong on purpose: the asked share of them, and nobody else's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohorts import store_of
from einthoven.assemble import assemble
from einthoven.data.store import Store
from einthoven.honest import cohort
from einthoven.plan import Plan, plan
from einthoven.predict import load
from einthoven.report import report
from einthoven.run import train

RECIPE: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.6, 0.2, 0.2]},
    "signal": {"seconds": 0.5},
    "backbone": {"name": "resnet1d_wang", "width": 4},
    "head": {"name": "cosine", "hidden": []},
    "loss": {"name": "hyperspherical_margin"},
    "train": {"epochs": 2, "batch": 32, "lr": 1e-2, "validate": 2},
    "evaluate": {"resamples": 20, "rows": ["age_sex"], "examples": 0},
}
TASKS = {
    "name": {"name": "kinds"},
    "columns": {"columns": ["big", "old"]},
    "multiclass": {"column": "word", "kind": "multiclass"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(0)
    rows = []
    for i in range(1000):
        big, old = (int(x) for x in chance.random(2) < 0.3)
        word = ["red", "green", "blue", "grey"][chance.integers(4)]
        kinds = [name for name, has in (("big", big), ("old", old), ("any", 1)) if has]
        cells = {"big": big, "old": None if i % 5 == 0 else old, "word": word, "kinds": kinds}
        rows.append(cells | {"patient": i, "age": float(chance.integers(20, 90))})
    return store_of(tmp_path_factory.mktemp("flip") / "store", rows, signal=True)


def planned(store: Store, task: dict[str, Any], seed: int = 0) -> Plan:
    return plan(RECIPE | {"task": task, "seed": seed}, store)


@pytest.mark.parametrize("kind", TASKS)
def test_only_the_training_labels_are_wrong_and_as_many_as_asked(store: Store, kind: str) -> None:
    true, noisy = planned(store, TASKS[kind]), planned(store, TASKS[kind] | {"flip": 0.2})
    for name, rows in true.split.named().items():  # the same records, whatever the noise
        np.testing.assert_array_equal(rows, getattr(noisy.split, name))
    judged = np.concatenate([true.split.validation, true.split.test])
    np.testing.assert_array_equal(true.truth[judged], noisy.truth[judged])
    one, two = true.truth[true.split.train], noisy.truth[true.split.train]
    np.testing.assert_array_equal(np.isnan(one), np.isnan(two))
    known = ~np.isnan(one)
    assert known.all() == (kind != "columns")
    assert set(two[known]) == {0, 1}
    wrong = (one != two) & known
    if kind == "multiclass":
        assert (two.sum(1) == 1).all()
        before, after, wrong = one.argmax(1), two.argmax(1), wrong.any(1)
        moved = np.bincount((after - before)[wrong] % 4, minlength=4)
        assert moved[0] == 0 and (np.abs(moved[1:] - wrong.sum() / 3) < 5 * np.sqrt(wrong.sum() / 3)).all()
        known = known.any(1)
    count = known.sum(0)
    assert (np.abs(wrong.sum(0) - 0.2 * count) < 5 * np.sqrt(0.16 * count)).all()


def test_the_seed_decides_which(store: Store) -> None:
    one, again, other = (planned(store, TASKS["name"] | {"flip": 0.2}, seed).truth for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.1
    np.testing.assert_array_equal(
        planned(store, TASKS["name"] | {"flip": 0}).truth, planned(store, TASKS["name"]).truth
    )


def test_all_who_learn_learn_the_same_labels(store: Store) -> None:
    """The network's batches, the honest rows and the start of the head's bias."""
    noisy = planned(store, TASKS["columns"] | {"flip": 0.4})
    job, rows = assemble(noisy, "cpu"), noisy.split.train
    np.testing.assert_array_equal(cohort(noisy, rows).truth, noisy.truth[rows])
    batch = job.loader[0]
    np.testing.assert_array_equal(batch.target, noisy.truth[batch.row])
    (bias,) = (weight for name, weight in job.method.named_parameters() if name.endswith("heads.0.bias"))
    share = np.nanmean(noisy.truth[rows], axis=0)
    np.testing.assert_allclose(bias.detach().sigmoid(), share, rtol=1e-5)
    assert (share > 0.35).all()  # 0.3 of them in truth


@pytest.mark.parametrize("flip", [-0.1, 0.5, 1, "some", True, float("nan")])
def test_shares_that_are_none(store: Store, flip: Any) -> None:
    with pytest.raises(ValueError, match=r"\[task\] flip is a share from 0 to below 0.5, got"):
        planned(store, TASKS["name"] | {"flip": flip})


def test_a_number_has_no_label_to_flip(store: Store) -> None:
    with pytest.raises(ValueError, match="'age' is a regression and has none"):
        planned(store, {"column": "age", "kind": "regression", "flip": 0.1})


def test_a_run_says_so(store: Store, tmp_path: Path) -> None:
    out = train(RECIPE | {"task": TASKS["multiclass"] | {"flip": 0.25}}, store.path, tmp_path / "run")
    told = json.loads((out / "results.json").read_text())
    assert told["task"]["flip"] == 0.25
    page = report(out).read_text()
    assert "25 % of the training labels flipped on purpose." in page.partition("</header>")[0]
    model = load(out, "cpu")
    assert model.task.flip == 0.25
    assert model.predict(store.read(np.arange(3)), hertz=100.0).shape == (3, 4)
    said = pd.read_parquet(out / "predictions.parquet")
    words = store.records["word"].to_numpy()[said["store_row"]]
    assert (said.filter(like="truth/").idxmax(axis=1) == "truth/" + words).all()
    again = train(out / "recipe.toml", store.path, tmp_path / "again")
    assert (again / "weights.safetensors").read_bytes() == (out / "weights.safetensors").read_bytes()

    (out / "results.json").write_text(json.dumps(told | {"task": told["task"] | {"flip": 0}}))
    assert "flipped" not in report(out).read_text()
