"""Fine-tuning that begins with a probe: the first answers are the probe's, then all weights learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cohorts import pairs, store_of
from einthoven.data.store import Store
from einthoven.report.page import report
from einthoven.run import Progress, train

FIRST: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 1.0, "scale": "train"},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
    "task": {"column": "big"},
    "backbone": {"name": "vit", "size": [16, 1, 2]},
    "head": {"name": "probe", "pool": ["lead_max"]},
    "loss": {"name": "bce"},
    "train": {"solver": "probe-first", "batch": 16, "steps": 20, "lr": 1e-3, "average": 0.5},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("probe_first") / "store", pairs(96), signal=True)


def recipe(**changes: Any) -> dict[str, Any]:
    return FIRST | {name: FIRST[name] | change for name, change in changes.items()}


def scores(run: Path) -> np.ndarray:
    told = pd.read_parquet(run / "predictions.parquet").sort_values(["split", "record_id"])
    return told[[name for name in told if name.startswith("score/")]].to_numpy()


@pytest.mark.parametrize(
    "task", [{}, {"task": {"column": "age", "kind": "regression"}, "loss": {"name": "mse"}}]
)
def test_it_begins_with_what_the_probe_alone_says(store: Store, tmp_path: Path, task: dict[str, Any]) -> None:
    alone = recipe(backbone={"freeze": True}, train={"solver": "probe"}) | task
    still = recipe(train={"steps": 1, "lr": 1e-12}) | task
    moved = FIRST | task
    probe, first, last = (
        train(each, store.path, tmp_path / str(number)) for number, each in enumerate((alone, still, moved))
    )
    np.testing.assert_allclose(scores(first), scores(probe), rtol=1e-4, atol=1e-5)
    assert np.abs(scores(last) - scores(probe)).max() > 1e-2
    logs = [pd.read_csv(run / "log.csv") for run in (probe, last)]
    assert logs[1].step.tolist()[0] == 0 and logs[1].step.tolist()[-1] == 20
    assert logs[1].validation_loss[0] == pytest.approx(logs[0].validation_loss[0], rel=1e-4)
    assert logs[1].loss.iloc[-1] < logs[1].loss.iloc[1]
    assert report(last).is_file()


def test_weights_of_both_have_moved(store: Store, tmp_path: Path) -> None:
    alone = recipe(backbone={"freeze": True}, train={"solver": "probe"})
    probe, last = (
        load_file(train(each, store.path, tmp_path / name) / "weights.safetensors")
        for name, each in (("probe", alone), ("last", FIRST))
    )
    for name, value in probe.items():
        if not name.endswith((".mean", ".scale", ".time")) and np.any(value):
            assert not np.array_equal(last[name], value), name


def test_the_best_of_validation_may_be_the_probe_itself(store: Store, tmp_path: Path) -> None:
    wild = recipe(train={"lr": 3.0, "keep": "best-loss", "average": 0.0, "clip": 1.0})
    alone = recipe(backbone={"freeze": True}, train={"solver": "probe"})
    kept, probe = (
        train(each, store.path, tmp_path / name) for name, each in (("kept", wild), ("probe", alone))
    )
    np.testing.assert_allclose(scores(kept), scores(probe), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", [0, 8])
def test_a_killed_run_goes_on_to_the_same_bits(store: Store, tmp_path: Path, step: int) -> None:
    def stop(now: Progress) -> None:
        if now.step >= step and (not step or now.what == "training"):
            raise KeyboardInterrupt

    whole = train(FIRST, store.path, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(FIRST, store.path, tmp_path / "killed", watch=stop)
    killed = train(FIRST, store.path, tmp_path / "killed", resume=True)
    mine, theirs = (load_file(run / "weights.safetensors") for run in (whole, killed))
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    steps = [pd.read_csv(run / "log.csv").step.tolist() for run in (whole, killed)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"head": {"name": "neighbours"}},
        {"head": {"name": "linear"}},
        {"backbone": {"freeze": True}},
        {"head": {"freeze": True}},
    ],
)
def test_what_cannot_begin_with_a_probe_is_refused(
    store: Store, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"solver = 'probe-first' fits the head 'probe'"):
        train(recipe(**changes), store.path, tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("network", [{"name": "vit", "size": [16, 1, 2], "together": True}, {"name": "cnn"}])
def test_pools_that_the_tokens_cannot_serve_leave_no_run(
    store: Store, tmp_path: Path, network: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="tokens are of one lead: vit, unless together = true"):
        train(FIRST | {"backbone": network}, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
