"""Neighbours as the head of a run: filled by the solver, the answers those of `evaluate knn`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from cohorts import store_of
from einthoven import parts, python
from einthoven.data.store import Store
from einthoven.evaluate import compare_runs
from einthoven.evaluate.knn import knn, votes
from einthoven.evaluate.nearest import Vectors
from einthoven.heads.neighbours import KINDS, Neighbours
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.run import train
from einthoven.types import Tokens

KNN: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 1.0, "scale": "train"},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
    "task": {"column": "big"},
    "backbone": {"name": "resnet1d_wang", "width": 8, "freeze": True},
    "head": {"name": "neighbours"},
    "loss": {"name": "bce"},
    "train": {"solver": "probe", "batch": 16},
}
TASKS: dict[str, dict[str, Any]] = {
    "labels": {"task": {"name": "kinds"}},
    "multiclass": {"task": {"column": "word", "kind": "multiclass"}, "loss": {"name": "cross_entropy"}},
    "regression": {"task": {"column": "age", "kind": "regression"}, "loss": {"name": "mse"}},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for i in range(160):
        big = int(chance.random() < 0.4)
        kinds = ["big", *(["old"] if i % 3 else [])] if big else ["small"]
        age = float(50 + 10 * big + chance.normal(0, 5))
        rows.append(
            {"big": big, "age": age, "patient": i // 2, "kinds": kinds, "word": "abc"[big + (i % 5 == 0)]}
        )
    return store_of(tmp_path_factory.mktemp("neighbours") / "store", rows, signal=True)


def filled(kind: str = "labels", neighbours: int = 5, *, records: int = 40) -> tuple[Neighbours, Vectors]:
    random = np.random.default_rng(0)
    truth = np.eye(3)[random.integers(0, 3, records)]
    truth = truth if kind == "multiclass" else np.where(random.random(truth.shape) < 0.1, np.nan, truth)
    shelf = random.normal(size=(records, 6)).astype(np.float32)
    shelf[5:9] = shelf[5]  # ties
    head: Neighbours = parts.build("heads", {"name": "neighbours"}, dim=6, labels=3)
    level = torch.from_numpy(np.nanmean(truth, axis=0))
    head.take(torch.from_numpy(shelf), torch.from_numpy(truth), level, neighbours=neighbours, kind=kind)
    return head, Vectors(shelf, truth, np.arange(records).astype(str))


def queries(shelf: Vectors) -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    points[:3] = shelf.vector[4:7] * 2  # copies, up to their length
    return points


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_the_answers_are_the_votes_smoothed_by_one_record(kind: str, k: int) -> None:
    head, shelf = filled(kind, k)
    points = queries(shelf)
    said = head(Tokens(torch.from_numpy(points)[:, None]))["logits"]
    level = head.level.detach()
    if kind == "regression":
        np.testing.assert_allclose(said.detach(), votes(shelf, points, [k])[0], atol=1e-6)
        return
    share = level.sigmoid() if kind == "labels" else level.softmax(0)
    known = (
        votes(Vectors(shelf.vector, (~np.isnan(shelf.truth)).astype(float), shelf.patient), points, [k])[0]
        * k
    )
    voted = np.where(known > 0, votes(shelf, points, [k])[0], 0) * known
    smooth = (voted + share.numpy()) / (known + 1)
    mine = said.sigmoid() if kind == "labels" else said.softmax(1)
    np.testing.assert_allclose(mine.detach().numpy(), smooth, atol=1e-6)


def test_the_share_is_that_of_scikit_learn() -> None:
    head, shelf = filled("multiclass", 7)
    points = np.random.default_rng(2).normal(size=(30, 6)).astype(np.float32)
    theirs = KNeighborsClassifier(7, metric="cosine", algorithm="brute").fit(
        shelf.vector, shelf.truth.argmax(1)
    )
    share = head.level.detach().softmax(0).numpy()
    mine = head(Tokens(torch.from_numpy(points)[:, None]))["logits"].softmax(1).detach().numpy()
    np.testing.assert_allclose(mine * 8 - share, theirs.predict_proba(points) * 7, atol=1e-4)


def test_a_collapsed_encoder_answers_with_the_prevalence() -> None:
    head, _ = filled("labels", 5)
    head.take(torch.ones(40, 6), torch.eye(3).repeat(14, 1)[:40], torch.zeros(3), neighbours=5, kind="labels")
    logits = head(Tokens(torch.ones(4, 1, 6)))["logits"]
    smooth = (5 * torch.tensor([14, 13, 13]) / 40 + 0.5) / 6
    torch.testing.assert_close(logits.sigmoid(), smooth.expand(4, -1))


def test_where_no_neighbour_knows_the_level_answers() -> None:
    for kind in ("labels", "regression"):
        head, _ = filled(kind, 2)
        head.take(
            torch.eye(6), torch.full((6, 3), torch.nan), torch.tensor([0.1, -2, 3]), neighbours=2, kind=kind
        )
        torch.testing.assert_close(head(Tokens(torch.eye(6)[:, None]))["logits"], head.level.expand(6, -1))


def test_bfloat16_around_it_changes_nothing() -> None:
    head, shelf = filled()
    tokens = Tokens(torch.from_numpy(queries(shelf))[:, None])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head(tokens)["logits"]
    torch.testing.assert_close(rounded, head(tokens)["logits"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_answers_as_evaluate_knn_does(store: Store, tmp_path: Path, kind: str) -> None:
    made = KNN | TASKS[kind]
    run = train(made, store.path, tmp_path / "run")
    planned, told = plan(made, store), pd.read_parquet(run / "predictions.parquet")
    vectors = python.embed(run, store.path).iloc[:, 2:].to_numpy(np.float32)
    patient = store.records["patient_id"].to_numpy(dtype=object).astype(str)
    folds = [
        Vectors(vectors[rows], planned.truth[rows], patient[rows]) for rows in planned.split.named().values()
    ]
    theirs = knn(folds[0], folds[1], folds[2].vector, regression=kind == "regression")
    model = load(run)
    head = model.method.heads.heads[0]  # type: ignore[union-attr, index]
    assert int(head.neighbours) == theirs.neighbours  # one window per record: the same choice
    assert head.shelf.shape == (len(planned.split.train), vectors.shape[1])
    test = told[told["split"] == "test"]
    assert (test["store_row"].to_numpy() == planned.split.test).all()
    mine = test[[f"score/{label}" for label in planned.task.labels]].to_numpy()
    share = np.nan_to_num(planned.truth[planned.split.train]).mean(0)
    k = theirs.neighbours
    expected = theirs.score if kind == "regression" else (theirs.score * k + share) / (k + 1)
    np.testing.assert_allclose(mine, expected, atol=2e-4)


def test_it_learns_its_task_and_stands_in_a_paired_table(store: Store, tmp_path: Path) -> None:
    taught = KNN | {"head": {"name": "linear", "hidden": []}, "train": {"epochs": 6, "batch": 16, "lr": 1e-2}}
    start = train(
        taught | {"backbone": {"name": "resnet1d_wang", "width": 8}}, store.path, tmp_path / "start"
    )
    made = KNN | {"backbone": KNN["backbone"] | {"start": str(start)}}
    run = train(made, store.path, tmp_path / "knn")
    results = json.loads((run / "results.json").read_text())
    assert results["test"]["auroc"]["macro"]["value"] > 0.9
    assert results["model"]["head"] == "neighbours" and results["model"]["steps"] == 0
    probe = train(made | {"head": {"name": "probe"}}, store.path, tmp_path / "probe")
    gap = compare_runs(run, probe)["macro"]["difference"]
    assert gap["low"] <= gap["value"] <= gap["high"]
    again = train(made, store.path, tmp_path / "again")
    assert json.loads((again / "results.json").read_text())["test"] == results["test"]


def test_windows_ask_for_records(store: Store, tmp_path: Path) -> None:
    made = KNN | {"signal": {"seconds": 0.5, "scale": "train"}, "crop": {"stride": 0.25, "pool": "mean"}}
    run = train(made, store.path, tmp_path / "run")
    shelf = load(run).method.heads.heads[0].shelf  # type: ignore[union-attr, index]
    vectors = python.embed(run, store.path).iloc[:, 2:].to_numpy(np.float32)
    np.testing.assert_allclose(shelf, vectors[plan(made, store).split.train], atol=1e-5)


def test_what_else_learns_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fits the head 'probe' or 'neighbours' alone"):
        train(KNN | {"backbone": {"name": "resnet1d_wang", "width": 8}}, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
