"""Judging the embeddings of runs: on their own task and others, from the command line to the map."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohorts import store_of
from einthoven import cli, python
from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.embedding import Options, planned_for, table_of
from einthoven.evaluate import Interval, bootstrap, macro_auroc
from einthoven.evaluate.knn import votes
from einthoven.evaluate.nearest import Vectors
from einthoven.evaluate.probe import logistic
from einthoven.evaluate.separability import SCORES
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.recipe import load as load_recipe
from einthoven.report.space import ONE, UNKNOWN, Words, draw_space, mapped
from einthoven.run import train

SHARED: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
}
TAUGHT: dict[str, Any] = SHARED | {
    "task": {"column": "big"},
    "head": {"name": "linear", "hidden": []},
    "loss": {"name": "bce"},
    "train": {"epochs": 6, "batch": 16, "lr": 1e-2},
}
ALONE: dict[str, Any] = SHARED | {
    "head": {"name": "project", "size": 5},
    "loss": {"name": "nt_xent"},
    "augment": [{"name": "repeat"}, {"name": "noise"}],
    "train": {"epochs": 2, "batch": 16, "lr": 1e-3, "validate": 1},
}
QUICK = {"resamples": 100, "permutations": 99, "starts": 2}
QUICKLY = "resamples-100.permutations-99.starts-2"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for i in range(160):
        big = int(chance.random() < 0.4)
        kinds = ["big", *(["old"] if i % 3 else [])] if big else ["small"]
        rows.append(
            {"big": big, "age": 50 + 10 * big + chance.normal(0, 5), "patient": i // 2, "kinds": kinds}
        )
        rows[-1]["word"] = None if i % 9 == 0 else "yes" if big else "no"
    return store_of(tmp_path_factory.mktemp("evaluate") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that learned from labels, and one that never saw any."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train(made, store.path, folder / name) for name, made in (("taught", TAUGHT), ("alone", ALONE))
    }


def rows_of(figures: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["job"], row["figure"]): row for row in figures["rows"]}


def test_all_jobs_on_the_task_of_the_run(store: Store, runs: dict[str, Path]) -> None:
    figures, file = python.evaluate("all", runs["taught"], store.path, options=QUICK)
    assert file == runs["taught"] / f"evaluate/big.all.{QUICKLY}.json"
    assert json.loads(file.read_text()) == json.loads(json.dumps(figures))
    assert file.with_suffix(".svg").read_text().count("<use") > 40
    rows = rows_of(figures)
    assert {job for job, _ in rows} == {
        "probe",
        *("knn", "knn k=20"),
        *("retrieve identical", "retrieve patient"),
        *("cluster k-means", "cluster HDBSCAN"),
        "separability",
    }
    for row in rows.values():
        low, value, high = (row["run"][name] for name in ("low", "value", "high"))
        assert low <= value + 1e-9 and value <= high + 1e-9
    assert rows["probe", "auroc"]["run"]["value"] > 0.9  # the first lead of the big is three times as large
    assert rows["knn", "auroc"]["run"]["value"] > 0.9
    gain = rows["probe", "auroc"]
    assert gain["gain"]["value"] == pytest.approx(gain["run"]["value"] - gain["untrained"]["value"])
    assert figures["counts"]["test"] == {"records": 48, "patients": 24}
    assert 0 < rows["retrieve identical", "map_at_r"]["p"] <= 1


def test_twenty_neighbours_are_asked_whatever_validation_says(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("knn", runs["taught"], store.path, options=QUICK | {"untrained": False})
    planned = plan(load_recipe(runs["taught"] / "recipe.toml"), store)
    vectors = python.embed(runs["taught"], store.path).iloc[:, 2:].to_numpy()
    patient = store.records["patient_id"].to_numpy(dtype=object).astype(str)
    rows = planned.split.train
    train_fold = Vectors(vectors[rows], planned.truth[rows], patient[rows])
    score = votes(train_fold, vectors[planned.split.test], [20])[0]
    value = Interval(**rows_of(figures)["knn k=20", "auroc"]["run"])
    theirs = bootstrap(
        macro_auroc, planned.truth[planned.split.test], score, patient[planned.split.test], 100
    )
    np.testing.assert_allclose(value, theirs, atol=1e-6)
    assert figures["about"]["knn k=20"]["neighbours"] == 20


def test_clusters_and_classes_are_told_apart(store: Store, runs: dict[str, Path]) -> None:
    for job in ("cluster", "separability"):
        figures, _ = python.evaluate(job, runs["taught"], store.path, options=QUICK)
        rows = rows_of(figures)
        assert all("untrained" in row and "gain" not in row for row in rows.values())
        for (_, name), row in rows.items():
            better = "lower" if name in ("noise", "davies_bouldin") else "higher"
            assert row["better"] == better and (row["chance"] is None) == (name == "noise")
        if job == "cluster":
            assert {name for _, name in rows} == {"nmi", "ari", "purity", "noise"}
            assert set(figures["about"]["cluster"]) == {"k-means", "HDBSCAN"}
        else:
            assert {name for _, name in rows} == set(SCORES)
            assert rows[job, "silhouette"]["run"]["value"] > rows[job, "silhouette"]["chance"]


def test_the_probe_is_that_of_the_vectors_that_embed_writes(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("probe", runs["taught"], store.path, options=QUICK | {"untrained": False})
    planned = plan(load_recipe(runs["taught"] / "recipe.toml"), store)
    vectors = python.embed(runs["taught"], store.path).iloc[:, 2:].to_numpy()
    x, y = ([table[rows] for rows in planned.split.named().values()] for table in (vectors, planned.truth))
    score = logistic(x[0], y[0], x[1], y[1], x[2])
    patient = store.records["patient_id"].to_numpy()[planned.split.test]
    value = Interval(**rows_of(figures)["probe", "auroc"]["run"])
    np.testing.assert_allclose(value, bootstrap(macro_auroc, y[2], score, patient, 100), atol=1e-6)
    assert "gain" not in figures["rows"][0]


def test_a_run_without_labels_is_asked_for_a_task(store: Store, runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"learned without labels: say --task\. Tasks of .*: kinds"):
        python.evaluate("probe", runs["alone"], store.path)
    figures, _ = python.evaluate("all", runs["alone"], store.path, task="kinds", options=QUICK)
    assert {job for job, _ in rows_of(figures)} >= {"probe", "retrieve shared", "separability"}
    assert (
        rows_of(figures)["retrieve identical", "map_at_r"] != rows_of(figures)["retrieve shared", "map_at_r"]
    )
    figures, file = python.evaluate(
        "probe", runs["alone"], store.path, task="kinds", which="embedding", options=QUICK
    )
    assert figures["dim"] == 5 and file.name == f"kinds.probe.embedding.{QUICKLY}.json"


@pytest.mark.parametrize("task", ["word", "kinds", "age", "age > 55"])
def test_other_tasks_keep_every_patient_where_the_training_had_them(
    store: Store, runs: dict[str, Path], task: str
) -> None:
    for run in runs.values():
        trained = plan(load_recipe(run / "recipe.toml"), store).split.named()
        asked = planned_for(load(run), store, task).split.named()
        assert all(len(rows) > 8 for rows in asked.values())
        patient = store.records["patient_id"].to_numpy()
        for name in trained:
            others = {who for other in trained if other != name for who in patient[trained[other]]}
            assert not set(patient[asked[name]]) & others


def test_numbers_are_regressed_and_have_no_clusters(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("all", runs["taught"], store.path, task="age", options=QUICK)
    rows = rows_of(figures)
    assert {job for job, _ in rows} == {"probe", "knn", "knn k=20", "retrieve patient"}
    assert rows["probe", "rmse"]["run"]["value"] < rows["probe", "rmse"]["chance"]
    assert list(figures["skipped"]) == ["cluster", "separability"]
    for job in ("cluster", "separability"):
        with pytest.raises(ValueError, match=f"{job} on 'age': numbers are no classes"):
            python.evaluate(job, runs["taught"], store.path, task="age")


def test_another_store_of_the_kind_keeps_patients_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    made = [{"big": int(chance.random() < 0.4), "patient": i // 2} for i in range(80)]
    other = store_of(tmp_path / "other", made, signal=True)
    figures, file = python.evaluate("knn", runs["taught"], other.path, options=QUICK)
    told = pd.read_parquet(runs["taught"] / "patients.parquet").set_index("patient_id")["split"]
    split = planned_for(load(runs["taught"]), other, None).split.named()
    patient = other.records["patient_id"].to_numpy(dtype=object).astype(str)
    for name, rows in split.items():  # the same ids: the same people, whom a run may have learned from
        assert len(rows) and (told.loc[patient[rows]] == name).all()
        assert figures["counts"][name]["records"] == len(rows)
    assert figures["store"]["fingerprint"] == other.fingerprint
    assert file.name == f"big.knn.{QUICKLY}.{other.source}-{other.fingerprint}.json"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"what": "nearest"}, r"No evaluation 'nearest'\. Known: all, probe, knn, retrieve, cluster"),
        ({"task": "kind"}, r"No task 'kind' .*Did you mean 'kinds'"),
        ({"which": "embeddings"}, "Nothing here is named 'embeddings'"),
        ({"options": {"distanc": "cosine"}}, r"no option 'distanc'.*Did you mean 'distance'"),
        (
            {"options": {"smallest": 1}},
            "Option smallest of an evaluation is from 2 up, or 0 to choose; got 1",
        ),
        ({"options": {"distance": "dtw"}}, "one of 'cosine', 'euclidean'"),
        ({"options": {"permutations": 0}}, "permutations of an evaluation is from 1 up; got 0"),
        ({"options": {"resamples": -1}}, "resamples of an evaluation is from 1 up; got -1"),
        ({"options": {"starts": 0}}, "starts of an evaluation is from 1 up; got 0"),
        ({"options": {"seed": -1}}, "seed of an evaluation is from 0 up; got -1"),
        ({"out": "x.svg"}, r"written as \.json, and maps beside them: --out x\.svg\.json"),
        ({"out": "report.v1"}, r"--out report\.v1\.json, not report\.v1"),
        ({"task": "age > sixty"}, "--task 'age > sixty': 'sixty' is no number"),
        ({"task": "age > nan"}, "takes one number: .*got above = nan"),
        ({"options": QUICK | {"map": "umap"}}, "needs umap-learn: pip install umap-learn"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    store: Store, runs: dict[str, Path], asked: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=told) as refused:
        python.evaluate(**{"what": "probe", "run": runs["taught"], "store": store.path} | asked)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("age > 55", {"column": "age", "above": 55.0}),
        ("age>=5.5e1", {"column": "age", "least": 55.0}),
        ("python/age > 5e1", {"column": "age", "above": 50.0}),
        ("python/age", {"column": "age", "kind": "regression"}),
        ("python/kinds", {"name": "python/kinds"}),
        ("big", {"column": "big"}),
        ("co >", {"column": "co >", "kind": "regression"}),
        ("co > > -.5", {"column": "co >", "above": -0.5}),
        ("age > 3", {"column": "age > 3"}),
    ],
)
def test_a_task_is_a_name_a_column_or_a_threshold(tmp_path: Path, asked: str, told: dict[str, Any]) -> None:
    cells = {"big": 1, "age": 60.5, "kinds": ["a"], "co >": 7.5}
    odd = store_of(tmp_path / "store", [cells | ({"age > 3": 1} if asked == "age > 3" else {})] * 4)
    assert odd.source == "python" and table_of(asked, odd) == told


def test_each_evaluation_has_a_file_of_its_own(runs: dict[str, Path]) -> None:
    usual = asdict(Options())
    seen = json.loads((runs["taught"] / "environment.json").read_text())["store"]
    tasks = ["age > 60", "age >= 60", "age > -60", "age", "a/b", "a_b", "a b", "a.b", "..", "", "x" * 300]
    tasks += ["cost $5 x_$", "x" * 301]
    changes = [usual | change for change in ({"distance": "euclidean"}, {"untrained": False}, {"seed": 1})]
    asked = [(task, "features", usual, seen["fingerprint"]) for task in tasks]
    asked += [("age", "features", how, seen["fingerprint"]) for how in changes]
    asked += [("age", "embedding", usual, seen["fingerprint"]), ("age", "features", usual, "another")]
    names = [
        python.usual_name(
            runs["taught"],
            {"task": {"name": task}, "what": "knn", "which": which, "how": how}
            | {"store": {"source": "ptbxl", "fingerprint": fingerprint}},
        )
        for task, which, how, fingerprint in asked
    ]
    assert len(set(names)) == len(asked)
    assert names[:4] == ["age_above_60.knn", "age_least_60.knn", "age_above_-60.knn", "age.knn"]
    assert names[-2:] == ["age.knn.embedding", "age.knn.ptbxl-another"]
    assert names[-5:-3] == ["age.knn.distance-euclidean", "age.knn.untrained-false"]
    assert all(len(name) < 100 and not set(name) & set("/\\ $<>:*?|") for name in names)


@pytest.mark.parametrize("usual", [True, False])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    store: Store, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual: bool
) -> None:
    run = shutil.copytree(runs["taught"], tmp_path / "run", ignore=shutil.ignore_patterns("evaluate"))
    monkeypatch.setattr(python, "judge_embeddings", lambda *told, **how: pytest.fail("judged"))
    (run / "evaluate").touch()
    with pytest.raises(ValueError, match="Cannot write .*evaluate.*choose another place"):
        out = None if usual else run / "evaluate/figures.json"
        python.evaluate("knn", run, store.path, out=out)


def test_a_map_that_fails_leaves_the_figures(
    store: Store, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*told: Any, **how: Any) -> Path:
        raise RuntimeError("no map")

    monkeypatch.setattr(python, "draw_space", broken)
    out = tmp_path / "figures.v1.json"
    with pytest.raises(RuntimeError, match="no map"):
        python.evaluate("knn", runs["taught"], store.path, out=out, options=QUICK | {"untrained": False})
    assert json.loads(out.read_text())["rows"][0]["job"] == "knn"


def test_a_store_without_the_leads_of_the_model_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    ecg = np.random.default_rng(0).normal(0, 0.2, (30, 3, 100)).astype(np.float32)
    cells = [{"big": i % 2} for i in range(30)]
    made = python.Arrays(ecg, cells, hertz=100.0, leads=("V1", "V2", "V3"), patients=range(30))
    few = import_(made, tmp_path / "few", seconds=1.0)
    with pytest.raises(ValueError, match="30 of 30 records lack leads that this model reads"):
        python.evaluate("knn", runs["taught"], few.path)


def test_an_unfinished_run_is_refused(store: Store, runs: dict[str, Path], tmp_path: Path) -> None:
    half = shutil.copytree(runs["taught"], tmp_path / "half", ignore=shutil.ignore_patterns("results.json"))
    with pytest.raises(ValueError, match="half"):
        python.evaluate("knn", half, store.path)


def test_the_command_prints_a_table_and_says_where_the_files_are(
    store: Store, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "new/figures.json"
    words = ["evaluate", "all", runs["alone"], "--data", store.path, "--task", "kinds", "--out", out]
    words += ["--set", "resamples=50", "--set", "permutations=19", "--set", "gallery=test"]
    monkeypatch.setattr(sys, "argv", ["einthoven", *map(str, words)])
    cli.main()
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("alone on kinds: 48 test ECGs of 24 patients; features of 8 numbers")
    assert told[1].split("  ")[-1].strip() == "chance"
    assert any(line.startswith("retrieve shared") for line in told)
    assert told[-1] == f"Figures: {out}, map: {out.with_suffix('.svg')}"
    assert json.loads(out.read_text())["about"]["retrieve"]["identical"]["gallery"] == "test"
    assert out.with_suffix(".png").stat().st_size > 10_000


def vectors(records: int = 40, labels: int = 8) -> Vectors:
    random = np.random.default_rng(0)
    truth = (random.random((records, labels)) < np.linspace(0.1, 0.6, labels)).astype(float)
    return Vectors(random.normal(size=(records, 6)), truth, np.arange(records).astype(str))


def test_the_map_is_the_principal_components_and_the_same_each_time(tmp_path: Path) -> None:
    from sklearn.decomposition import PCA

    records, words = vectors(), Words(title="A <b> & c", what="features", labels=tuple("abcdefgh"))
    made = mapped(records.vector, "euclidean", "pca")
    theirs = PCA(2).fit(records.vector)
    np.testing.assert_allclose(np.abs(made.place), np.abs(theirs.transform(records.vector)), atol=1e-9)
    assert made.axes[0] == f"component 1 ({100 * theirs.explained_variance_ratio_[0]:.0f} %)"
    mirrored = mapped(-records.vector, "euclidean", "pca").place
    np.testing.assert_allclose(np.abs(mirrored), np.abs(made.place))
    first = draw_space(tmp_path / "a.svg", records, words).read_bytes()
    assert first == draw_space(tmp_path / "b.svg", records, words).read_bytes()
    assert b"A &lt;b&gt; &amp; c" in first and b"6 of 8 labels" in first
    assert draw_space(tmp_path / "a.png", records, words).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match=r"drawn as \.svg or \.png"):
        draw_space(tmp_path / "a.gif", records, words)


def test_a_collapsed_embedding_a_single_number_and_unknown_truth_are_drawn(tmp_path: Path) -> None:
    records, words = vectors(), Words(title="t", what="embedding", labels=tuple("abcdefgh"))
    draw_space(tmp_path / "collapsed.svg", records.collapsed(), words)
    number = np.arange(40.0)[:, None]
    number[::5] = np.nan
    told = Words(title="t", what="features", labels=("age",), numbers=True, unit="years")
    drawn = draw_space(tmp_path / "age.svg", Vectors(records.vector, number, records.patient), told)
    assert "age (years)" in drawn.read_text() and "light grey: unknown" in drawn.read_text()


def test_who_is_unknown_is_not_drawn_as_one_who_has_not(tmp_path: Path) -> None:
    records, words = vectors(60, 2), Words(title="t", what="features", labels=("a", "b"))
    sure = draw_space(tmp_path / "sure.svg", records, words).read_text()
    assert UNKNOWN not in sure and "unknown" not in sure
    records.truth[:7, 1] = np.nan
    drawn = draw_space(tmp_path / "unsure.svg", records, words).read_text()
    assert [drawn.count(f"fill: {colour}") - sure.count(f"fill: {colour}") for colour in (ONE, UNKNOWN)] == [
        -int((vectors(60, 2).truth[:7, 1] == 1).sum()),
        7,
    ]
    assert "light grey: unknown" in drawn


def test_names_are_no_formulas(tmp_path: Path) -> None:
    words = Words(title="cost $5 x_$ on $\\frac$", what="$features", labels=("cost $5 x_$", "^$_{$"))
    for kind in (".svg", ".png"):
        drawn = draw_space(tmp_path / f"map{kind}", vectors(40, 2), words)
    assert "cost $5 x_$" in drawn.with_suffix(".svg").read_text()
    number = Vectors(vectors().vector, np.arange(40.0)[:, None], vectors().patient)
    draw_space(drawn, number, Words(title="t", what="f", labels=("x_$^$",), numbers=True, unit="$_$"))


def test_umap_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class UMAP:
        def __init__(self, **how: Any) -> None:
            assert how["metric"] == "cosine"

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    assert mapped(vectors().vector, "cosine", "umap").axes == ("UMAP 1", "UMAP 2")
