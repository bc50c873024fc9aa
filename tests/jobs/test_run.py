"""Whole jobs: a recipe becomes a run folder, is killed and goes on, and is used."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import einthoven
from cohorts import store_of
from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal
from einthoven.evaluate import Answers
from einthoven.examples import pick
from einthoven.log import CLOCK
from einthoven.plan import mean_and_sd, plan
from einthoven.predict import load
from einthoven.python import Arrays
from einthoven.run import Progress, train

RECIPE: dict[str, Any] = {
    "task": {"column": "big"},
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "head": {"name": "linear", "hidden": []},
    "loss": {"name": "bce"},
    "augment": [{"name": "noise"}],
    "train": {"epochs": 6, "batch": 16, "lr": 1e-2, "average": 0.5, "validate": 2},
    "evaluate": {"resamples": 50, "rows": ["prevalence", "age_sex"]},
}


def recipe(**tables: Any) -> dict[str, Any]:
    return RECIPE | {name: RECIPE.get(name, {}) | table for name, table in tables.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(1)
    rows = [
        {
            "big": int(chance.random() < 0.4),
            "age": float(50 + i % 30),
            "patient": i // 2,
            "mmhg": float(i % 7),
        }
        for i in range(160)
    ]
    for row in rows:
        row["kinds"] = ["big"] if row["big"] else ["small", "plain"]
        row["word"] = "yes" if row["big"] else "no"
    return store_of(tmp_path_factory.mktemp("run") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(), store.path, tmp_path_factory.mktemp("runs") / "one")


def results(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "results.json").read_text())
    return told


def test_a_run_learns_what_is_there(run: Path) -> None:
    told = results(run)
    area = told["test"]["auroc"]["macro"]
    assert area["low"] <= area["value"] <= area["high"] and area["value"] > 0.9
    assert told["rows"][0]["auroc"]["value"] == 0.5
    assert told["counts"]["train"]["records"] + told["counts"]["test"]["records"] < 160
    names = {"recipe.toml", "environment.json", "log.csv", "weights.safetensors", "predictions.parquet"}
    assert names | {"results.json", "examples.npy"} <= {file.name for file in run.iterdir()}


def test_no_patient_is_in_two_splits(store: Store, run: Path) -> None:
    planned = plan(recipe(), store)
    owners = [set(store.records["patient_id"].iloc[rows]) for rows in planned.split.named().values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 80
    said = pd.read_parquet(run / "predictions.parquet")
    for name in ("validation", "test"):
        rows = said.loc[said["split"] == name, "store_row"]
        assert sorted(rows) == sorted(getattr(planned.split, name))


def test_one_seed_gives_the_same_results(store: Store, run: Path, tmp_path: Path) -> None:
    again = train(recipe(), store.path, tmp_path / "again")
    assert (again / "results.json").read_bytes() == (run / "results.json").read_bytes()
    assert (again / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    other = train(recipe() | {"seed": 1}, store.path, tmp_path / "other")
    assert (other / "weights.safetensors").read_bytes() != (run / "weights.safetensors").read_bytes()


KILLED = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from einthoven.run import train
recipe, store, out = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
train(recipe, store, out, resume=True, watch=lambda now: (print(now.step, flush=True), time.sleep(0.3)))
"""


@pytest.mark.parametrize("keep", ["last", "best-loss"])
def test_a_killed_run_ends_as_one_that_never_was(store: Store, tmp_path: Path, keep: str) -> None:
    made = recipe(train={"keep": keep})
    whole = train(made, store.path, tmp_path / "whole")
    out = tmp_path / "killed"
    call = [sys.executable, "-c", KILLED, json.dumps(made), str(store.path), str(out)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=quiet) as killed:
        assert killed.stdout is not None
        steps = [int(line) for line, _ in zip(killed.stdout, range(3), strict=False)]
        killed.send_signal(signal.SIGKILL)
    assert steps and not (out / "results.json").exists()
    assert list((out / "resume").glob("*/resume.json"))
    train(made, store.path, out, resume=True)
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    lines = [pd.read_csv(each / "log.csv").drop(columns=list(CLOCK)) for each in (out, whole)]
    pd.testing.assert_frame_equal(lines[0], lines[1])


def test_a_finished_run_is_kept_and_never_overwritten(store: Store, run: Path) -> None:
    before = (run / "results.json").stat().st_mtime_ns
    train(recipe(), store.path, run, resume=True)
    assert (run / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds a run that is finished: choose another --out"):
        train(recipe(), store.path, run)
    with pytest.raises(ValueError, match="is another recipe"):
        train(recipe(train={"lr": 2e-2}), store.path, run, resume=True)


def test_a_run_goes_on_with_its_own_store_only(store: Store, tmp_path: Path) -> None:
    made = recipe(signal={"scale": "none"}, train={"epochs": 1})
    out = train(made, store.path, tmp_path / "run")
    other = store_of(tmp_path / "store", [{"big": i % 2} for i in range(40)])
    with pytest.raises(ValueError, match="was begun on another store"):
        train(made, other.path, out, resume=True)


def test_evaluation_in_between_changes_nothing(store: Store, run: Path, tmp_path: Path) -> None:
    often = train(recipe(train={"validate": 1}), store.path, tmp_path / "often")
    assert (often / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


def test_relabelled_patients_score_chance(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    rows = [{"big": int(chance.random() < 0.5), "patient": i} for i in range(300)]
    told = store_of(tmp_path / "store", rows, signal=False)
    made = recipe(split={"shares": [0.4, 0.1, 0.5]}, train={"epochs": 3})
    area = results(train(made, told.path, tmp_path / "run"))["test"]["auroc"]["macro"]["value"]
    assert 0.36 < area < 0.64  # 150 records: sd of the AUROC about 0.047


@pytest.mark.parametrize(
    ("task", "loss", "figure"),
    [
        ({"name": "kinds"}, "bce", "auroc"),
        ({"column": "word", "kind": "multiclass"}, "cross_entropy", "auroc"),
        ({"column": "mmhg", "kind": "regression"}, "huber", "rmse"),
        ({"column": "mmhg", "above": 3.0}, "bce", "auroc"),
    ],
)
def test_every_kind_of_task_runs(
    store: Store, tmp_path: Path, task: dict[str, Any], loss: str, figure: str
) -> None:
    made = recipe(train={"epochs": 2}) | {"task": task, "loss": {"name": loss}}
    out = train(made, store.path, tmp_path / "run")
    assert figure in results(out)["test"]
    model = load(out)
    said = model.predict(store.read(np.arange(3)), hertz=100.0)
    kept = pd.read_parquet(out / "predictions.parquet").set_index("store_row")
    columns = [f"score/{label}" for label in model.labels]
    for row in range(len(store)):
        if row in kept.index:
            again = model.predict(store.read(np.array([row])), hertz=100.0)[0]
            np.testing.assert_allclose(again, kept.loc[row, columns].to_numpy(dtype=float), atol=1e-5)
            break
    assert said.shape == (3, len(model.labels))


def test_prediction_is_training_at_another_rate_and_order(store: Store, run: Path) -> None:
    model, ecg = load(run), store.read(np.arange(20))
    names = list(store.leads)[::-1]
    np.testing.assert_allclose(
        model.predict(ecg[:, ::-1], hertz=100, leads=names), model.predict(ecg, hertz=100), atol=1e-5
    )
    with pytest.raises(ValueError, match="missing: V5, V6"):
        model.predict(ecg[:, :10], hertz=100, leads=names[::-1][:10])
    with pytest.raises(ValueError, match="lasts 0.3 s; this model reads 0.5 s"):
        model.predict(ecg[:, :, :30], hertz=100)


def test_a_run_starts_from_another(store: Store, run: Path, tmp_path: Path) -> None:
    begun = recipe(backbone={"start": str(run), "freeze": True}, train={"epochs": 1})
    out = train(begun, store.path, tmp_path / "probe")
    before, after = (load(each).method.backbone.state_dict() for each in (run, out))
    assert all((before[name] == after[name]).all() for name in before)
    other = recipe(backbone={"start": str(run)}, signal={"scale": "crop"})
    with pytest.raises(ValueError, match=r"\[signal\] scale"):
        train(other, store.path, tmp_path / "other")


def test_another_store_starts_with_the_scale_of_the_weights(run: Path, tmp_path: Path) -> None:
    other = store_of(tmp_path / "store", [{"big": i % 2} for i in range(60)], signal=True)
    begun = recipe(backbone={"start": str(run)}, train={"epochs": 1})
    out = train(begun, other.path, tmp_path / "run")
    assert load(out).wants == load(run).wants


@pytest.mark.parametrize("keep", ["best-loss", "best-auroc"])
def test_the_best_so_far_can_be_the_first(store: Store, tmp_path: Path, keep: str) -> None:
    out = train(recipe(train={"keep": keep, "validate": 1, "epochs": 2}), store.path, tmp_path / keep)
    assert (out / "results.json").exists()


def test_a_head_starts_from_another_run_as_well(store: Store, run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    begun = recipe(head={"start": str(other), "freeze": True}, train={"epochs": 1})
    begun["evaluate"] = {"resamples": 10, "rows": ["random_encoder"]}

    def gone(now: Progress) -> None:
        if now.what == "evaluating":
            shutil.rmtree(other)  # by then nobody needs it

    out = train(begun, store.path, tmp_path / "run", watch=gone)
    before, after = (load(each).method for each in (run, out))
    kept = {name for name, value in before.state_dict().items() if value.equal(after.state_dict()[name])}
    assert kept >= {name for name in before.state_dict() if name.startswith("heads.")}
    assert "backbone.stem.0.weight" not in kept


def test_the_scale_leaves_padding_out(tmp_path: Path) -> None:
    ecg = np.random.default_rng(0).normal(0, 1, (6, 12, 100)).astype(np.float32)
    ecg[:, :, 50:] = np.nan
    source = Arrays(ecg, [{"y": i} for i in range(6)], hertz=100, leads=LEADS, patients=range(6))
    padded = import_(source, tmp_path / "store", seconds=1.0)
    mean, sd = mean_and_sd(padded, Signal(seconds=0.5), np.arange(6))
    assert mean == pytest.approx(0, abs=0.05) and sd == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("task", "loss", "told"),
    [
        (
            {"column": "mmhg", "kind": "regression"},
            "bce",
            "does not serve 'mmhg' .regression.; say --set",
        ),
        ({"column": "word", "kind": "multiclass"}, "bce", "loss.name=cross_entropy"),
        ({"column": "big"}, "cross_entropy", "loss.name=bce"),
    ],
)
def test_a_loss_that_does_not_fit_the_task(
    store: Store, tmp_path: Path, task: dict[str, Any], loss: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        train(RECIPE | {"task": task, "loss": {"name": loss}}, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_says_so(store: Store, tmp_path: Path) -> None:
    wild = recipe(train={"lr": 1e30, "average": 0.0})
    with pytest.raises(ValueError, match=r"diverged before step .*lower \[train\] lr"):
        train(wild, store.path, tmp_path / "run")


def test_best_auroc_needs_something_to_tell_apart(store: Store, tmp_path: Path) -> None:
    made = recipe(train={"keep": "best-auroc"}) | {"task": {"column": "mmhg", "kind": "regression"}}
    with pytest.raises(ValueError, match="use 'best-loss'"):
        train(made | {"loss": {"name": "mse"}}, store.path, tmp_path / "run")


def test_a_device_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No device 'abacus' here"):
        train(recipe(), store.path, tmp_path / "run", device="abacus")


def test_edits_reach_a_recipe_that_is_a_dictionary(store: Store, tmp_path: Path) -> None:
    made = recipe()
    out = train(made, store.path, tmp_path / "run", sets=["train.epochs=1"])
    assert len(pd.read_csv(out / "log.csv")) == 1 and made["train"]["epochs"] == 6


def test_a_long_ecg_is_judged_as_far_as_the_store_goes(store: Store, run: Path) -> None:
    model, ecg = load(run), store.read(np.arange(3))
    longer = np.concatenate([ecg, 9 * ecg], axis=2)
    np.testing.assert_allclose(model.predict(longer, hertz=100), model.predict(ecg, hertz=100), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "how"),
    [(None, "is missing"), ("", "cannot be read"), ("{}", "lacks something: 'store'")],
)
def test_a_run_whose_environment_is_damaged_says_so(
    run: Path, tmp_path: Path, text: str | None, how: str
) -> None:
    harmed = shutil.copytree(run, tmp_path / "harmed")
    about = harmed / "environment.json"
    about.unlink() if text is None else about.write_text(text)
    line = rf"harmed is damaged \(environment\.json {how}\): restore it, or train that run again\.$"
    with pytest.raises(ValueError, match=line):
        load(harmed)


def test_a_run_that_names_foreign_code_needs_trust(run: Path, tmp_path: Path) -> None:
    for file in run.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (run / "recipe.toml").read_text().replace('"resnet1d_wang"', '"somebody_else:Net"')
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ValueError, match="names somebody_else:Net, code outside einthoven: say --trust"):
        load(tmp_path)
    with pytest.raises(ValueError, match="cannot import 'somebody_else'"):
        load(tmp_path, trust=True)


def test_examples_are_on_the_side_they_are_said_to_be(store: Store, run: Path) -> None:
    told, limit = results(run)["examples"], results(run)["thresholds"]["big"]
    for one in told:
        found = one["score"]["big"] >= limit
        assert (
            found == (one["truth"] == ["big"]) if one["why"] == "surest hit" else found != bool(one["truth"])
        )
    none = train(recipe(evaluate={"examples": 0}, train={"epochs": 1}), store.path, run.parent / "none")
    assert results(none)["examples"] == []


def test_a_label_without_a_threshold_is_no_miss() -> None:
    truth, score = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.9, 0.1], [0.8, 0.2]])
    said = Answers(truth, score, np.array(["a", "b"]), labels=("x", "y"))
    assert pick(said, np.array([0.5, np.nan]), False, 4) == [(0, 0, "surest hit"), (1, 0, "worst miss")]


def test_a_record_without_a_lead_is_left_out_and_counted(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    ecg = chance.normal(0, 0.2, (60, 12, 100)).astype(np.float32)
    ecg[:4, 11] = np.nan
    rows = [{"big": i % 2} for i in range(60)]
    made = import_(
        Arrays(ecg, rows, hertz=100, leads=LEADS, patients=range(60)), tmp_path / "store", seconds=1.0
    )
    out = train(recipe(train={"epochs": 1}), made.path, tmp_path / "run")
    assert results(out)["left_out"]["lacks a lead"] == 4
    assert len(einthoven.embed(out, made.path)) == 56


def test_embeddings_are_one_vector_per_record(store: Store, run: Path) -> None:
    vectors = einthoven.embed(run, store.path)
    assert vectors.shape == (160, 2 + 8)
    assert vectors["record_id"].tolist() == store.records["record_id"].tolist()


def test_progress_is_told(store: Store, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train(recipe(train={"epochs": 2}), store.path, tmp_path / "run", watch=seen.append)
    assert seen[-1].what == "evaluating" and seen[-1].step == seen[-1].steps
    assert [now.line["epoch"] for now in seen if now.line] == [1.0, 2.0]


def test_two_arrays_make_a_model(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 2, 120)
    ecg = chance.normal(0, 0.2, (120, 12, 200)).astype(np.float32)
    ecg[labels == 1, 0] *= 3
    small = {"backbone": {"name": "resnet1d_wang", "width": 8}, "evaluate": {"resamples": 20, "rows": []}}
    small |= {"train": {"epochs": 6, "batch": 16, "lr": 1e-2}}
    model = einthoven.fit(ecg, labels, hertz=200, recipe=small, out=tmp_path / "fit")
    assert model.labels == ("label",)
    said = model.predict(ecg, hertz=200)[:, 0]
    assert said[labels == 1].mean() > said[labels == 0].mean() + 0.3
    assert (model.run / "results.json").exists()
    words = [["a", "b"] if x else ["b"] for x in labels]
    assert einthoven.fit(ecg, words, hertz=200, recipe=small, out=tmp_path / "two").labels == ("a", "b")
    with pytest.raises(ValueError, match="12 leads"):
        einthoven.fit(ecg[:, :5], labels, hertz=200)
    with pytest.raises(ValueError, match="one label and one patient per ECG"):
        einthoven.fit(ecg, labels[:-1], hertz=200)
