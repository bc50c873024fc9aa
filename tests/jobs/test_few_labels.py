"""Learning without labels, then from few of them: a run to start from, exact probes, shares of patients."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from cohorts import store_of
from einthoven import cli, python
from einthoven.bench import bench, read_grid
from einthoven.bench.cells import Place
from einthoven.data.store import Store
from einthoven.evaluate import compare_runs
from einthoven.evaluate.embed import features
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.recipe import load as load_recipe
from einthoven.report import report
from einthoven.run import train

SHARED: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
}
ALONE: dict[str, Any] = SHARED | {
    "head": {"name": "project", "size": 8},
    "loss": {"name": "nt_xent"},
    "augment": [{"name": "repeat"}, {"name": "noise"}],
    "train": {"epochs": 3, "batch": 16, "lr": 1e-3, "validate": 1},
}
PROBE: dict[str, Any] = SHARED | {
    "task": {"column": "big"},
    "backbone": SHARED["backbone"] | {"freeze": True},
    "head": {"name": "probe"},
    "loss": {"name": "bce"},
    "crop": {"pool": "mean"},
    "train": {"solver": "probe", "batch": 16},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for i in range(160):
        big = int(chance.random() < 0.4)
        age = float(50 + 10 * big + chance.normal(0, 5))
        rows.append({"big": big, "age": age, "patient": i // 2, "kinds": ["big"] if big else ["small"]})
    return store_of(tmp_path_factory.mktemp("few") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def alone(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never saw a label."""
    return train(ALONE, store.path, tmp_path_factory.mktemp("runs") / "alone")


def results(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "results.json").read_text())
    return told


def test_a_run_without_labels_answers_nothing_and_says_so(
    store: Store, alone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = results(alone)
    assert told["task"]["kind"] == "unlabelled" and told["task"]["labels"] == []
    assert "test" not in told and not (alone / "predictions.parquet").exists()
    assert told["counts"]["train"]["records"] == 80
    log = pd.read_csv(alone / "log.csv")
    assert log["validation_loss"].notna().all() and log["validation_auroc"].isna().all()
    assert log["validation_loss"].iloc[-1] > 0  # views are made for it, too
    monkeypatch.setattr("sys.argv", ["einthoven", "show", str(alone)])
    cli.main()
    assert "It learned features alone" in capsys.readouterr().out
    with pytest.raises(ValueError, match="learned features alone: it predicts nothing"):
        load(alone).predict(store.read(np.arange(2)), hertz=100)
    assert python.embed(alone, store.path).shape == (160, 2 + load(alone).method.backbone.dim)


def test_its_report_has_what_there_is(alone: Path) -> None:
    page = report(alone).read_text()
    assert "Learning without labels" in page and "the test set took no part" in page
    assert 'id="learning"' in page and 'id="data"' in page
    assert 'id="result"' not in page and 'id="curves"' not in page and "AUROC" not in page


def test_labels_of_the_test_patients_cannot_reach_it(store: Store, alone: Path, tmp_path: Path) -> None:
    """Other labels, the same weights: a run without [task] reads none."""
    rows = [{"big": 1 - int(b), "patient": i // 2} for i, b in enumerate(store.records["big"])]
    other = store_of(tmp_path / "store", rows)
    shutil.copy(store.path / "signals-00000.npy", tmp_path / "store/signals-00000.npy")
    again = train(ALONE, other.path, tmp_path / "again")
    one, two = (load(run).method.state_dict() for run in (alone, again))
    assert all((one[name] == two[name]).all() for name in one)


def split_of(run: Path) -> dict[str, set[str]]:
    told = pd.read_parquet(run / "patients.parquet")
    return {name: set(part["patient_id"]) for name, part in told.groupby("split")}


def test_a_run_is_never_tested_on_whom_the_run_that_it_starts_from_has_learned(
    store: Store, alone: Path, tmp_path: Path
) -> None:
    """Without folds a labelled run would divide otherwise: its classes are balanced, ECGs alone are not."""
    made = PROBE | {"backbone": PROBE["backbone"] | {"start": str(alone)}}
    by_itself = plan(PROBE | {"backbone": SHARED["backbone"]}, store).split
    patient = store.records["patient_id"].to_numpy(dtype=object).astype(str)
    assert set(patient[by_itself.test]) & split_of(alone)["train"]
    run = train(made, store.path, tmp_path / "one")
    told = pd.read_parquet(run / "predictions.parquet")
    for name in ("validation", "test"):
        seen = set(told.loc[told["split"] == name, "patient_id"])
        assert seen and seen <= split_of(alone)[name]
    again = train(made | {"backbone": made["backbone"] | {"start": str(run)}}, store.path, tmp_path / "two")
    assert split_of(again) == split_of(run) == split_of(alone)
    (run / "patients.parquet").write_text("broken")
    with pytest.raises(
        ValueError, match=r"patients\.parquet cannot be read: restore it, or train that run again"
    ):
        plan(made | {"backbone": made["backbone"] | {"start": str(run)}}, store)
    (run / "patients.parquet").unlink()
    with pytest.raises(ValueError, match=r"one has no patients\.parquet, so whom it learned from is unknown"):
        plan(made | {"backbone": made["backbone"] | {"start": str(run)}}, store)


def test_a_store_that_grew_is_judged_on_new_patients_and_those_held_out(
    store: Store, alone: Path, tmp_path: Path
) -> None:
    more = [{"big": int(b), "patient": i // 2} for i, b in enumerate([*store.records["big"], *[0, 1] * 20])]
    grown = store_of(tmp_path / "grown", more, signal=True)
    figures, _ = python.evaluate(
        "probe", alone, grown.path, task="big", options={"untrained": False, "resamples": 20}
    )
    planned = plan(load_recipe(alone / "recipe.toml") | {"task": {"column": "big"}}, grown, [alone])
    patient = grown.records["patient_id"].to_numpy(dtype=object).astype(str)
    taught = split_of(alone)["train"]
    assert not taught & set(patient[planned.split.test]) and not taught & set(
        patient[planned.split.validation]
    )
    assert set(patient[planned.split.test]) - split_of(alone)["test"]  # new ones take part, too
    assert figures["counts"]["test"]["records"] == len(planned.split.test)


def windows_of(run: Path, store: Store, made: dict[str, Any]) -> tuple[Any, Any]:
    """Return what the probe read, window by window, by the slow way."""
    planned, model = plan(made, store), load(run)
    out = []
    for rows in (planned.split.train, planned.split.validation):
        pairs = [(place, batch) for place, batch in planned.windows().batches(rows)]
        x = np.concatenate([model.method.outputs(batch)["pooled"].detach().numpy() for _, batch in pairs])
        owner = np.concatenate([rows[place] for place, _ in pairs])
        out.append((x, owner))
    return out[0], out[1]


def mean_of(owner: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average the windows of each record, in the order of records."""
    return np.array([scores[owner == row].mean() for row in np.unique(owner)])


def test_a_probe_is_the_logistic_regression_that_validation_likes_best(
    store: Store, alone: Path, tmp_path: Path
) -> None:
    made = PROBE | {"backbone": PROBE["backbone"] | {"start": str(alone)}}
    run = train(made, store.path, tmp_path / "probe")
    before, after = (load(each).method.backbone.state_dict() for each in (alone, run))
    assert all((before[name] == after[name]).all() for name in before)
    (x, owner), (other, whose) = windows_of(run, store, made)
    truth = store.records["big"].to_numpy()
    fits = [
        LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit((x - x.mean(0)) / x.std(0), truth[owner])
        for strength in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
    ]
    areas = []
    for fit in fits:
        score = fit.predict_proba((other - x.mean(0)) / x.std(0))[:, 1]
        areas.append(roc_auc_score(truth[np.unique(whose)], mean_of(whose, score)))
    best = [fit for fit, area in zip(fits, areas, strict=True) if area > max(areas) - 1e-9]
    mine = load(run).method.heads.heads[0].linear.weight.detach().numpy()[0]  # type: ignore[union-attr]
    errors = [np.abs(fit.coef_[0] - mine).max() / np.abs(fit.coef_).max() for fit in best]
    assert min(errors) < 0.02
    assert results(run)["test"]["auroc"]["macro"]["value"] > 0.8
    again = train(made, store.path, tmp_path / "again")
    assert results(run)["test"] == results(again)["test"]


def test_a_probe_of_a_number_is_the_ridge_regression_that_validation_likes_best(
    store: Store, alone: Path, tmp_path: Path
) -> None:
    made = PROBE | {
        "task": {"column": "age", "kind": "regression"},
        "loss": {"name": "mse"},
        "backbone": PROBE["backbone"] | {"start": str(alone)},
    }
    run = train(made, store.path, tmp_path / "probe")
    (x, owner), (other, whose) = windows_of(run, store, made)
    planned = plan(made, store)
    y = planned.task.scaled(planned.truth)[:, 0]
    fits = [Ridge(alpha=a).fit((x - x.mean(0)) / x.std(0), y[owner]) for a in (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)]
    wrong = [
        np.square(mean_of(whose, fit.predict((other - x.mean(0)) / x.std(0))) - y[np.unique(whose)]).mean()
        for fit in fits
    ]
    best = fits[int(np.argmin(wrong))]
    mine = load(run).method.heads.heads[0].linear.weight.detach().numpy()[0]  # type: ignore[union-attr]
    assert np.abs(best.coef_ - mine).max() / np.abs(best.coef_).max() < 0.02
    assert 0 < results(run)["test"]["rmse"]["value"] < 10


def test_a_killed_probe_goes_on_to_the_same(store: Store, alone: Path, tmp_path: Path) -> None:
    made = PROBE | {"backbone": PROBE["backbone"] | {"start": str(alone)}}
    whole = train(made, store.path, tmp_path / "whole")
    killed = train(made, store.path, tmp_path / "killed")
    for name in ("weights.safetensors", "results.json", "predictions.parquet"):
        (killed / name).unlink()
    train(made, store.path, killed, resume=True)
    assert results(whole)["test"] == results(killed)["test"]
    assert len(pd.read_csv(killed / "log.csv")) == 1


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"backbone": SHARED["backbone"]}, r"freeze = true"),
        ({"head": {"name": "linear"}}, r"\[head\] name = 'probe'"),
    ],
)
def test_a_probe_fits_the_head_alone(store: Store, tmp_path: Path, tables: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train(PROBE | tables, store.path, tmp_path / "run")


def test_what_is_refused_leaves_no_folder(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="freeze = true"):
        train(PROBE | {"backbone": SHARED["backbone"]}, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    halves = ALONE | {"augment": [{"name": "halves"}], "crop": {"seconds": 1.5}}
    with pytest.raises(ValueError, match=r"\[crop\]\) seconds = 1.5, but no labelled record"):
        train(halves, store.path, tmp_path / "run")
    other = {"name": "tf_c", "frequency": {"name": "resnet1d_wang", "width": 4}}
    with pytest.raises(ValueError, match=r"\[method.frequency\] gives tokens of"):
        train(ALONE | {"method": other}, store.path, tmp_path / "run")
    with pytest.raises(ValueError, match="steps is a whole number from 0"):
        train(ALONE | {"train": ALONE["train"] | {"steps": -5}}, store.path, tmp_path / "run")


def test_many_short_epochs_have_few_lines_and_ten_validations(store: Store, tmp_path: Path) -> None:
    short = ALONE | {
        "train": {"steps": 150, "batch": 80, "lr": 1e-3},
        "backbone": {"name": "resnet1d_wang", "width": 4},
    }
    log = pd.read_csv(train(short, store.path, tmp_path / "run") / "log.csv")
    assert len(log) == 50 and log["validation_loss"].notna().sum() == 10


def test_compare_says_that_there_is_nothing_to_compare(alone: Path) -> None:
    with pytest.raises(ValueError, match="alone has no answers to read: it learned features alone"):
        compare_runs(alone, alone)


def test_what_needs_labels_is_refused_without(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Head 'linear' answers for labels, .* has no \[task\]"):
        train(ALONE | {"head": {"name": "linear"}}, store.path, tmp_path / "run")
    mined = {"name": "triplet", "miner": {"name": "n_pair"}}
    with pytest.raises(ValueError, match=r"NPair learns from labels, and the recipe has no \[task\]"):
        train(ALONE | {"loss": mined}, store.path, tmp_path / "run")
    with pytest.raises(ValueError, match="keep = 'best-auroc' needs labels"):
        train(ALONE | {"train": ALONE["train"] | {"keep": "best-auroc"}}, store.path, tmp_path / "run")
    lost = {"name": "triplet", "miner": {"name": "label_distance", "column": "agee"}}
    with pytest.raises(ValueError, match="reads column 'agee'.* Did you mean 'age'"):
        train(ALONE | {"loss": lost}, store.path, tmp_path / "run")


def test_features_are_of_windows(store: Store, alone: Path) -> None:
    """The mean over windows of what the backbone says, however they are batched."""
    planned, model = plan(ALONE, store), load(alone)
    some = features(model.method, planned.windows(), np.arange(5))
    assert np.allclose(some, features(model.method, planned.windows(), np.arange(160))[:5], atol=1e-5)


GRID = """
title = "Few labels"
[[first]]
name = "views"
recipe = "alone.toml"
[[grid]]
recipes = ["probe.toml"]
tasks = ["kinds"]
seeds = [0, 1]
keep = [0.2, 1.0]
[[grid]]
recipes = ["kernels.toml"]
tasks = ["kinds"]
seeds = [0]
keep = [1.0]
arms = ["none"]
[[arm]]
name = "none"
[[arm]]
name = "views"
start = "views"
"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from einthoven.recipe import written

    folder = tmp_path_factory.mktemp("grid")
    (folder / "alone.toml").write_text(written(ALONE))
    labelled = {key: table for key, table in PROBE.items() if key != "task"}
    (folder / "probe.toml").write_text(written(labelled))
    kernels = labelled | {"backbone": {"name": "random_kernels", "kernels": 20, "freeze": True}}
    (folder / "kernels.toml").write_text(written(kernels))
    (folder / "grid.toml").write_text(GRID)
    return folder / "grid.toml"


def test_a_bench_first_makes_what_its_arms_start_from(grid: Path, store: Store, tmp_path: Path) -> None:
    told: list[str] = []
    out = bench(
        grid, store.path, tmp_path / "table", watch=lambda s: told.append(f"{s.cell}") if s.ended else None
    )
    assert told == [
        "first/views-0",
        "kinds@0.2/probe-none-0",
        "kinds@0.2/probe-views-0",
        "kinds@1/probe-none-0",
        "kinds@1/probe-views-0",
        "kinds@1/kernels-none-0",
        "first/views-1",
        "kinds@0.2/probe-none-1",
        "kinds@0.2/probe-views-1",
        "kinds@1/probe-none-1",
        "kinds@1/probe-views-1",
    ]
    table = pd.read_csv(out / "table.csv")
    assert set(table["task"]) == {"kinds@0.2", "kinds@1"} and len(table[table["of"] == "run"]) == 9
    assert "What views gains over none" in (out / "table.md").read_text()
    started = load(out / "runs/kinds@0.2/probe-views-1").method.backbone.state_dict()
    begun = load(out / "runs/first/views-1").method.backbone.state_dict()
    assert all((started[name] == begun[name]).all() for name in begun)
    for arm in ("none", "views"):  # one division of patients, without which no arm could be compared
        assert split_of(out / f"runs/kinds@1/probe-{arm}-0") == split_of(out / "runs/first/views-0")
    few, all_of_them = (results(out / f"runs/kinds@{n}/probe-none-0")["counts"] for n in ("0.2", "1"))
    assert few["train"]["patients"] == round(0.2 * all_of_them["train"]["patients"])
    assert few["test"] == all_of_them["test"]
    curve = (out / "curve.svg").read_text()
    assert all(f">{words}<" in curve for words in ("kinds, probe", "20 %", "100 %", "views", "none"))
    before = (out / "table.csv").read_bytes()
    shutil.rmtree(out / "runs/first/views-0")  # what started from it stays
    bench(grid, store.path, out)
    assert (out / "table.csv").read_bytes() == before
    (out / "runs/first/views-0/results.json").unlink()  # killed in a run to start from
    (out / "runs/first/views-0/weights.safetensors").unlink()
    bench(grid, store.path, out)
    assert (out / "table.csv").read_bytes() == before
    assert pd.read_csv(out / "times.csv")["task"].tolist()[:2] == ["first", "first"]
    changed = tmp_path / "changed"
    shutil.copytree(grid.parent, changed)
    text = (changed / "alone.toml").read_text()
    (changed / "alone.toml").write_text(text.replace("lr = 0.001", "lr = 0.002"))
    cells = {str(cell): cell for cell in read_grid(changed / "grid.toml").cells}
    place = Place(out, store.path, store.fingerprint)
    assert place.kept(cells["kinds@1/probe-views-0"]) is None  # its start is no longer what it was
    assert place.kept(cells["kinds@1/probe-none-0"]) is not None


def test_a_share_is_drawn_anew_with_each_seed(grid: Path, store: Store) -> None:
    cells = [c for c in read_grid(grid).cells if c.task == "kinds@0.2" and c.arm == "none"]
    made = [{**c.made, "task": {"name": "kinds"}} for c in cells]
    for recipe in made:
        recipe["split"] = {key: value for key, value in recipe["split"].items() if key != "after"}
    one, two = (set(plan(recipe, store).split.train) for recipe in made)
    assert one != two and len(one) == len(two)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('start = "views"', 'start = "view"'), r"arm 'views' starts from 'view'; each \[\[first\]\]: views"),
        (('arms = ["none"]', 'arms = ["nobody"]'), r"names arm 'nobody', and there is no such"),
        (("keep = [0.2, 1.0]", "keep = [0.0]"), r"keep are shares .* got 0"),
        (('recipe = "alone.toml"', 'recipe = "gone.toml"'), "No recipe at .*gone.toml"),
        (('[[first]]\nname = "views"', '[[first]]\nname = "a/b"'), r"\[\[first\]\] needs a name"),
        (('recipe = "alone.toml"', 'recipe = "alone.toml"\nset = ["seed=7"]'), "'views' changes the seed"),
        (('tasks = ["kinds"]\nseeds = [0, 1]', 'tasks = ["first"]\nseeds = [0, 1]'), "task called 'first'"),
        (('tasks = ["kinds"]\nseeds = [0, 1]', 'tasks = ["a@b"]\nseeds = [0, 1]'), "task called 'a@b'"),
    ],
)
def test_a_grid_that_cannot_be(grid: Path, tmp_path: Path, change: tuple[str, str], told: str) -> None:
    for file in grid.parent.glob("*.toml"):
        shutil.copy(file, tmp_path / file.name)
    bad = tmp_path / "grid.toml"
    assert change[0] in GRID
    bad.write_text(GRID.replace(*change))
    with pytest.raises(ValueError, match=told):
        read_grid(bad)


def test_a_first_run_that_fails_is_named_with_those_that_wait(
    grid: Path, store: Store, tmp_path: Path
) -> None:
    for file in grid.parent.glob("*.toml"):
        shutil.copy(file, tmp_path / file.name)
    text = (tmp_path / "alone.toml").read_text()
    (tmp_path / "alone.toml").write_text(text.replace('name = "nt_xent"', 'name = "bce"'))
    with pytest.raises(ValueError, match=r"11 of 11 cells failed: first/views-0"):
        bench(tmp_path / "grid.toml", store.path, tmp_path / "table")
    page = (tmp_path / "table/table.md").read_text()
    assert "first/views-0: " in page and "kinds@1/probe-views-0: " in page


def test_a_start_is_a_path_only_when_it_runs(grid: Path, tmp_path: Path) -> None:
    cell = next(cell for cell in read_grid(grid).cells if cell.arm == "views")
    assert cell.made["backbone"]["start"] == "first/views-0"
    made = Place(tmp_path / "out", tmp_path, "x").recipe(cell)
    assert made["backbone"]["start"] == str(tmp_path / "out/runs/first/views-0")
    other = next(cell for cell in read_grid(grid).cells if cell.arm == "none")
    assert Place(tmp_path / "out", tmp_path, "x").recipe(other)["split"]["after"] == made["backbone"]["start"]


NUMBERS = """
title = "Numbers"
set = ["evaluate.resamples=40"]
[[grid]]
recipes = ["age.toml"]
tasks = ["years"]
seeds = [0, 1]
[[arm]]
name = "untrained"
[[arm]]
name = "views"
start = "views"
[[first]]
name = "views"
recipe = "alone.toml"
"""


CHAIN = """
[[first]]
name = "tuned"
recipe = "tuned.toml"
set = ["task.name=kinds"]
start = "views"
[[first]]
name = "views"
recipe = "alone.toml"
[[grid]]
recipes = ["probe.toml"]
tasks = ["kinds"]
seeds = [0]
[[arm]]
name = "none"
[[arm]]
name = "tuned"
start = "tuned"
"""


def test_a_run_to_start_from_may_start_from_another(grid: Path, store: Store, tmp_path: Path) -> None:
    """A fine-tuning of a pre-training: learned after it, from its weights, on its side of the patients."""
    from einthoven.recipe import written

    for name in ("alone.toml", "probe.toml"):
        shutil.copy(grid.parent / name, tmp_path / name)
    tuned = ALONE | {"loss": {"name": "supcon"}, "augment": [{"name": "noise"}], "task": {"name": "kinds"}}
    tuned |= {"train": ALONE["train"] | {"epochs": 0.2, "lr": 1e-9}}
    (tmp_path / "tuned.toml").write_text(written(tuned))
    (tmp_path / "grid.toml").write_text(CHAIN)
    assert [[str(cell) for cell in cells] for cells in read_grid(tmp_path / "grid.toml").rounds] == [
        ["first/views-0"],
        ["first/tuned-0"],
        ["kinds/probe-none-0", "kinds/probe-tuned-0"],
    ]
    out = bench(tmp_path / "grid.toml", store.path, tmp_path / "table")
    views, tuned_run = (load(out / f"runs/first/{name}-0").method.state_dict() for name in ("views", "tuned"))
    key = next(name for name in views if name.startswith("backbone.") and name.endswith("weight"))
    assert np.allclose(views[key], tuned_run[key], atol=1e-6)
    assert split_of(out / "runs/first/tuned-0") == split_of(out / "runs/first/views-0")
    (tmp_path / "grid.toml").write_text(CHAIN.replace('start = "views"', 'start = "tuned"'))
    with pytest.raises(
        ValueError, match="first 'tuned' starts from 'tuned'; each .* starts from none: views"
    ):
        read_grid(tmp_path / "grid.toml")


def test_a_cell_that_answers_nothing_is_told_so(grid: Path, store: Store, tmp_path: Path) -> None:
    from einthoven.recipe import written

    tuned = ALONE | {"loss": {"name": "supcon"}, "task": {"name": "kinds"}}
    (tmp_path / "tuned.toml").write_text(written(tuned | {"train": ALONE["train"] | {"epochs": 0.2}}))
    block = '[[grid]]\nrecipes = ["tuned.toml"]\ntasks = ["kinds"]\nseeds = [0]\n'
    (tmp_path / "grid.toml").write_text(block + '[[arm]]\nname = "a"\n[[arm]]\nname = "b"\n')
    with pytest.raises(ValueError, match=r"learned features alone, which no table scores"):
        bench(tmp_path / "grid.toml", store.path, tmp_path / "table")


def test_few_labels_never_start_from_a_run_that_saw_all(grid: Path, tmp_path: Path) -> None:
    from einthoven.recipe import written

    for name in ("alone.toml", "probe.toml"):
        shutil.copy(grid.parent / name, tmp_path / name)
    tuned = ALONE | {"loss": {"name": "supcon"}, "task": {"name": "kinds"}}
    (tmp_path / "tuned.toml").write_text(written(tuned))
    for keep, fits in (("[0.2, 1.0]", False), ("[1.0]", True)):
        (tmp_path / "grid.toml").write_text(CHAIN.replace("seeds = [0]", f"seeds = [0]\nkeep = {keep}"))
        if fits:
            assert len(read_grid(tmp_path / "grid.toml").cells) == 2
        else:
            with pytest.raises(
                ValueError, match=r"probe-tuned-0 learns from fewer labels than first/tuned-0"
            ):
                read_grid(tmp_path / "grid.toml")


def test_whom_weights_have_learned_from_must_be_known(store: Store, alone: Path, tmp_path: Path) -> None:
    """A file of weights of a run, wherever in it, stands for the run; one from elsewhere for nobody."""
    frozen = PROBE["backbone"]
    made = PROBE | {"backbone": frozen | {"start": str(alone / "weights.safetensors")}}
    folder = PROBE | {"backbone": frozen | {"start": str(alone)}}
    assert plan(made, store).held == plan(folder, store).held
    deep = next((alone / "resume").glob("*/weights.safetensors"))
    assert plan(made | {"backbone": frozen | {"start": str(deep)}}, store).held
    shutil.copy(deep, tmp_path / "copied.safetensors")
    with pytest.raises(ValueError, match=r"copied\.safetensors is no folder of a run, nor a file in one"):
        plan(made | {"backbone": frozen | {"start": str(tmp_path / "copied.safetensors")}}, store)
    with pytest.raises(ValueError, match="typo is not there"):
        plan(PROBE | {"split": SHARED["split"] | {"after": str(tmp_path / "typo")}}, store)


def test_a_regression_stands_in_the_table_with_four_figures(grid: Path, store: Store, tmp_path: Path) -> None:
    from einthoven.recipe import written

    task = {"task": {"column": "age", "kind": "regression", "unit": "years"}, "loss": {"name": "mse"}}
    judged = {"evaluate": SHARED["evaluate"] | {"above": 55.0}}
    (tmp_path / "age.toml").write_text(written(PROBE | task | judged))
    shutil.copy(grid.parent / "alone.toml", tmp_path / "alone.toml")
    (tmp_path / "grid.toml").write_text(NUMBERS)
    out = bench(tmp_path / "grid.toml", store.path, tmp_path / "table")
    table = pd.read_csv(out / "table.csv")
    assert set(table["metric"]) == {"rmse", "mae", "r2", "pearson", "auroc > 55"}
    seen = table[(table["metric"] == "auroc > 55") & (table["of"] == "run")]["score"].tolist()
    runs = [out / f"runs/years/age-{arm}-{seed}" for arm in ("untrained", "views") for seed in (0, 1)]
    areas = [results(run)["test"]["above"]["auroc"]["value"] for run in runs]
    assert seen == pytest.approx(areas, abs=1e-6)
    for metric in ("rmse", "mae", "r2", "pearson"):
        mine = table[(table["metric"] == metric) & (table["of"] == "run")]
        told = [results(run)["test"][metric]["value"] for run in runs]
        assert mine["score"].tolist() == pytest.approx(told, abs=1e-6)
        whole = table[
            (table["metric"] == metric) & (table["of"] == "seeds") & (table["arm"] == "views")
        ].iloc[0]
        assert whole["gain"] == pytest.approx(np.mean(told[2:]) - np.mean(told[:2]), abs=2e-6)
        assert whole["gain_low"] <= whole["gain_high"]
    page = (out / "table.md").read_text()
    assert (
        "## Test scores" in page
        and "years RMSE" in page
        and "years R²" in page
        and "years > 55" in page
        and "less is better" in page
    )
    assert "test RMSE, 95 % interval" in (out / "figure.svg").read_text()
    assert not (out / "curve.svg").exists()


THIN = """
title = "A rare subgroup"
[[grid]]
recipes = ["probe.toml"]
tasks = ["kinds"]
seeds = [0, 1]
keep = [0.0, 1.0]
thin = { name = "seniors", column = "age", least = 54.0 }
[[arm]]
name = "none"
"""


def test_a_rare_subgroup_is_judged_inside_and_outside(grid: Path, store: Store, tmp_path: Path) -> None:
    shutil.copy(grid.parent / "probe.toml", tmp_path / "probe.toml")
    (tmp_path / "grid.toml").write_text(THIN)
    out = bench(tmp_path / "grid.toml", store.path, tmp_path / "table")
    table = pd.read_csv(out / "table.csv")
    assert set(table["metric"]) == {"auroc", "auroc inside", "auroc outside"}
    run = out / "runs/kinds~seniors@0/probe-none-1"
    answers = pd.read_parquet(run / "predictions.parquet").query("split == 'test'")
    old = store.records.set_index("record_id")["age"].loc[answers["record_id"]].to_numpy() >= 54
    for metric, rows in (("auroc inside", old), ("auroc outside", ~old)):
        some = answers[rows]
        by_hand = np.mean([roc_auc_score(some[f"truth/{k}"], some[f"score/{k}"]) for k in ("big", "small")])
        mine = table[
            (table["metric"] == metric) & (table["task"] == "kinds~seniors@0") & (table["of"] == "run")
        ]
        assert mine["score"].iloc[1] == pytest.approx(by_hand, abs=1e-6)
    page = (out / "table.md").read_text()
    assert "## Subgroups" in page and "| seniors (kinds) | probe   | none | inside " in page and " p " in page
    curve = (out / "curve.svg").read_text()
    assert all(
        f">{words}<" in curve
        for words in ("kinds, probe among seniors", "seniors with labels in training", "0 %")
    )
    none, every = (results(out / f"runs/kinds~seniors@{n}/probe-none-0")["counts"]["train"] for n in (0, 1))
    assert none["records"] < every["records"]


def test_a_subgroup_of_nobody_stops_before_anything_runs(grid: Path, store: Store, tmp_path: Path) -> None:
    shutil.copy(grid.parent / "probe.toml", tmp_path / "probe.toml")
    (tmp_path / "grid.toml").write_text(THIN.replace("54.0", "540.0"))
    with pytest.raises(ValueError, match="has nobody of the subgroup age >= 540"):
        bench(tmp_path / "grid.toml", store.path, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_a_subgroup_that_the_test_split_lacks_is_undefined(grid: Path, store: Store, tmp_path: Path) -> None:
    planned = plan(PROBE | {"task": {"name": "kinds"}}, store)
    ward = ["other"] * len(store.records)
    for row in planned.split.train[:20]:
        ward[row] = "far"
    rows = [
        {"big": int(b), "ward": w, "patient": i // 2, "kinds": list(k)}
        for i, (b, w, k) in enumerate(zip(store.records["big"], ward, store.records["kinds"], strict=True))
    ]
    made = store_of(tmp_path / "store", rows, signal=True)
    shutil.copy(grid.parent / "probe.toml", tmp_path / "probe.toml")
    thin = THIN.replace('column = "age", least = 54.0', 'column = "ward", equal = "far"')
    (tmp_path / "grid.toml").write_text(thin)
    out = bench(tmp_path / "grid.toml", made.path, tmp_path / "table")
    assert "undefined" in (out / "table.md").read_text().partition("## Subgroups")[2]


def test_a_subgroup_needs_a_name_and_shares(grid: Path, tmp_path: Path) -> None:
    shutil.copy(grid.parent / "probe.toml", tmp_path / "probe.toml")
    for old, new, told in (
        ('name = "seniors", ', "", "thin needs keep, and in thin a name"),
        ("keep = [0.0, 1.0]", "", "thin needs keep, and in thin a name"),
        (", least = 54.0", "", "either equal or least"),
        ("least", "leest", "no option 'leest'"),
    ):
        (tmp_path / "grid.toml").write_text(THIN.replace(old, new))
        with pytest.raises(ValueError, match=told):
            read_grid(tmp_path / "grid.toml")
