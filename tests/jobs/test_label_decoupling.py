"""Label decoupling end to end: one label, a label without positives in training, a batch of one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohorts import store_of
from einthoven.data.store import Store
from einthoven.predict import load
from einthoven.run import train

RECIPE: dict[str, Any] = {
    "task": {"name": "kinds"},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "fcn_wang", "width": 8},
    "head": {"name": "decoupled", "size": 2},
    "loss": [{"name": "bce"}, {"name": "label_triplet", "weight": 0.1, "optional": True}],
    "train": {"epochs": 5, "batch": 16, "lr": 1e-2},
    "evaluate": {"resamples": 50, "rows": []},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Folds 1, 9 and 10; `late` occurs in fold 10 only."""
    chance = np.random.default_rng(1)
    rows = [{"big": int(chance.random() < 0.4), "fold": (1, 1, 9, 10)[i % 4]} for i in range(160)]
    for i, row in enumerate(rows):
        row["kinds"] = ["big" if row["big"] else "small"] + ["late"] * (row["fold"] == 10 and i % 3 == 0)
    return store_of(tmp_path_factory.mktemp("labels") / "store", rows, signal=True)


def test_a_label_without_positives_in_training(store: Store, tmp_path: Path) -> None:
    out = train(RECIPE, store.path, tmp_path / "run")
    told = json.loads((out / "results.json").read_text())
    areas = told["test"]["auroc"]["per_label"]
    assert areas["big"]["value"] > 0.9 and areas["small"]["value"] > 0.9
    assert told["counts"]["train"]["positives"]["late"] == 0
    assert "loss/label_triplet" in (out / "log.csv").read_text().splitlines()[0]
    model = load(out)
    said = model.predict(store.read(np.arange(3)), hertz=100)
    np.testing.assert_allclose(model.predict(store.read(np.arange(1)), hertz=100), said[:1], atol=1e-6)


def test_one_label(store: Store, tmp_path: Path) -> None:
    out = train(RECIPE | {"task": {"column": "big"}}, store.path, tmp_path / "run")
    assert json.loads((out / "results.json").read_text())["test"]["auroc"]["macro"]["value"] > 0.9


def test_what_cannot_be_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    triplet = {"name": "label_triplet", "weight": 0.1}
    plain = {"head": {"name": "linear"}, "loss": [{"name": "bce"}, triplet]}
    with pytest.raises(ValueError, match="choose head decoupled; or leave the loss out"):
        train(RECIPE | plain, store.path, tmp_path / "run")
    with pytest.raises(ValueError, match="batch from 2"):
        train(RECIPE | {"train": {"batch": 1}}, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
