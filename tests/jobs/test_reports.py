"""ECGs with reports: what a fusion run says, what it refuses, and how a leak is marked everywhere."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cohorts import store_of
from einthoven import cli, show
from einthoven.bench import bench
from einthoven.bench.reported import read_reports
from einthoven.bench.table import Referee
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Record
from einthoven.embedding import planned_for, untrained
from einthoven.parts import build
from einthoven.plan import plan
from einthoven.predict import embed, load
from einthoven.report import report
from einthoven.run import train
from einthoven.types import Batch, Signal

RECIPE: dict[str, Any] = {
    "task": {"name": "big", "column": "big"},
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "text": {"name": "hashed", "view": "full", "allow_label_leakage": True},
    "fusion": {"name": "concat"},
    "head": {"name": "linear", "hidden": []},
    "loss": {"name": "bce"},
    "train": {"epochs": 4, "batch": 16, "lr": 1e-2},
    "evaluate": {"resamples": 50, "rows": [], "examples": 0},
}


def recipe(**tables: Any) -> dict[str, Any]:
    return RECIPE | {name: RECIPE.get(name, {}) | table for name, table in tables.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """ECGs without a trace of the label; `report` states it, `context` has nothing to do with it."""
    chance, rows = np.random.default_rng(1), []
    for i in range(480):
        big = int(chance.random() < 0.4)
        said = "anterior infarct, old" if big else "normal ecg"
        written = "" if i % 9 == 0 else f"Sinus rhythm. {said.capitalize()}."
        context = f"Recorded by {chance.choice(list('ABCDE'))}."
        rows.append(
            {
                "big": big,
                "age": 60.0 + i % 7,
                "patient": i // 2,
                "report": written,
                "context": context,
                "empty": "",
            }
        )
    return store_of(tmp_path_factory.mktemp("reports") / "store", rows)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(), store.path, tmp_path_factory.mktemp("runs") / "one")


def told_of(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "results.json").read_text())["reports"]
    return told


def scores(run: Path) -> dict[str, float]:
    return {row["name"]: row["auroc"]["value"] for row in told_of(run)["answers"]}


def test_reports_that_state_the_label_are_learned_and_shuffled_ones_are_not(run: Path) -> None:
    found = scores(run)
    assert found["both"] > 0.85 and found["text alone, n-grams"] > 0.85
    assert abs(found["ECG alone"] - 0.5) < 0.2 and abs(found["both, another's text"] - 0.5) < 0.2
    assert found["prevalence"] == 0.5
    gain = told_of(run)["gain_ecg"]
    assert gain["low"] <= gain["value"] <= gain["high"] and gain["low"] > 0


def test_without_a_report_the_ecg_answers_as_predict_does(run: Path, store: Store) -> None:
    frame = pd.read_parquet(run / "reports.parquet")
    told = pd.read_parquet(run / "predictions.parquet").query("split == 'test'")
    assert np.array_equal(frame["ECG alone/big"], told["score/big"])
    rows = told["store_row"].to_numpy()[:3]
    said = load(run, "cpu").predict(store.read(rows), hertz=100)
    assert np.allclose(said[:, 0], told["score/big"].to_numpy()[:3], atol=1e-5)


def test_with_a_text_a_run_answers_from_both(run: Path, store: Store) -> None:
    frame = pd.read_parquet(run / "reports.parquet")
    told = pd.read_parquet(run / "predictions.parquet").query("split == 'test'")
    rows, model = told["store_row"].to_numpy(), load(run, "cpu")
    worded = [at for at, row in enumerate(rows) if store.records["report"].iloc[row]][:3]
    for at in worded:
        line = store.records.iloc[rows[at]]
        record = Record("a", "a", store.read(rows[at : at + 1])[0], LEADS, 100.0)
        said = model.answer(record, line["report"])
        assert np.allclose(said[0], frame["both/big"].iloc[at], atol=1e-5)
        assert not np.allclose(said, model.answer(record), atol=1e-3)
    with pytest.raises(ValueError, match="leaves nothing of this text"):
        model.answer(record, "Trace only requested.")


def test_a_run_of_ecgs_alone_reads_no_text(store: Store, tmp_path: Path) -> None:
    plain = {key: value for key, value in RECIPE.items() if key not in ("text", "fusion")}
    run = train(plain | {"train": RECIPE["train"] | {"epochs": 1}}, store.path, tmp_path / "plain")
    record = Record("a", "a", store.read(np.array([0]))[0], LEADS, 100.0)
    with pytest.raises(ValueError, match="reads ECGs alone: leave the text out"):
        load(run, "cpu").answer(record, "infarct")


def test_the_curve_of_missing_reports_begins_with_all_and_ends_with_none(run: Path) -> None:
    curve, found = told_of(run)["missing"], scores(run)
    assert curve[0]["auroc"]["value"] == found["both"]
    assert curve[-1]["auroc"]["value"] == found["both, text withheld"]
    names = {group["name"] for group in told_of(run)["groups"]}
    assert "reports English" in names


def test_a_leak_is_marked_in_results_terminal_page_and_table(run: Path) -> None:
    told = told_of(run)
    assert told["leaky"] is True and told["view"] == "full"
    assert "LEAKY" in show.told(run)
    assert "LEAKY" in report(run).read_text()


def test_a_prediction_from_a_text_says_that_it_leaks(
    run: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecg = store.read(np.array([0]))[0]
    pd.DataFrame(ecg.T, columns=list(LEADS)).to_csv(tmp_path / "one.csv", index=False)
    for text, said in (("", ""), ("anterior infarct", "Answered from the ECG and the text. LEAKY: The text")):
        cli.predict(run, [tmp_path / "one.csv"], text=text, sets=["hertz=100", "units=mV"])
        assert capsys.readouterr().err.startswith(said)


def test_a_report_that_cannot_be_judged_is_marked_until_shown_otherwise(tmp_path: Path) -> None:
    rows = [{"big": i % 2, "patient": i, "report": f"finding {i % 2}"} for i in range(60)]
    small = store_of(tmp_path / "small", rows)
    run = train(recipe(train={"epochs": 1}), small.path, tmp_path / "run")
    assert told_of(run)["leaky"] and not told_of(run)["judged"]
    assert "LEAKY until shown otherwise" in show.told(run)
    assert "LEAKY until shown otherwise" in report(run).read_text()


def test_a_store_says_that_reports_came_in(store: Store) -> None:
    count = sum(map(bool, store.records["report"]))
    assert f"reports: {count}, 2 of them different" in show.told(store.path)


def test_full_reports_that_give_the_answer_away_need_to_be_allowed(store: Store) -> None:
    with pytest.raises(ValueError, match=r"gives 'big' away.*allow_label_leakage = true.*LEAKY"):
        plan(recipe(text={"allow_label_leakage": False}), store)


def test_a_column_that_has_nothing_to_do_with_the_label_needs_no_leave_and_gains_nothing(
    store: Store, tmp_path: Path
) -> None:
    free = recipe(text={"column": "context", "allow_label_leakage": False})
    run = train(free, store.path, tmp_path / "context")
    told = told_of(run)
    assert told["leaky"] is False
    assert told["gain"]["low"] < 0.05
    assert "LEAKY" not in show.told(run) and "LEAKY" not in report(run).read_text()


@pytest.mark.parametrize("fusion", ["gated", "cross_attention", "film", "sum", "attention", "sum_attention"])
def test_every_fusion_is_trained_and_answers_without_text(store: Store, tmp_path: Path, fusion: str) -> None:
    short = recipe(fusion={"name": fusion}, train={"epochs": 1})
    found = scores(train(short, store.path, tmp_path / fusion))
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"text": {"view": "everything"}},
            "No view 'everything' of a report. Known: none, context, masked, full",
        ),
        (
            {"text": {"view": "full", "column": "raport"}},
            "no column 'raport' to read. Did you mean 'report'?",
        ),
        ({"text": {"view": "full", "column": "empty"}}, "no reports .column 'empty' is empty in all"),
        ({"text": {"words": "hashed", "view": "context"}}, "needs a name"),
        ({"method": {"name": "direct"}}, r"Method 'direct' takes no \[text\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    store: Store, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    made = {**RECIPE, **change}
    with pytest.raises(ValueError, match=said):
        train(made, store.path, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_text_without_a_view_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"\[text\] needs a view"):
        plan({**RECIPE, "text": {"name": "hashed"}}, store)


def test_fusion_needs_somebody_who_reads(store: Store, tmp_path: Path) -> None:
    mute = {**RECIPE, "text": {"view": "full", "allow_label_leakage": True}}
    with pytest.raises(ValueError, match=r"\[fusion\] needs a \[text\] with a name"):
        train(mute, store.path, tmp_path / "never")


@pytest.mark.parametrize("method", ["dual", "concepts"])
def test_reports_of_training_teach_an_ecg_encoder(store: Store, tmp_path: Path, method: str) -> None:
    table = {"view": "full"} | ({"name": "bag", "dim": 16} if method == "dual" else {})
    made = {key: RECIPE[key] for key in ("split", "signal", "backbone", "train", "evaluate")}
    made |= {"text": table, "method": {"name": method}}
    run = train(made, store.path, tmp_path / method)
    told = json.loads((run / "results.json").read_text())
    assert told["task"]["kind"] == "unlabelled"
    log = pd.read_csv(run / "log.csv")
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    split = plan(made, store).split
    reports = [text for text in store.records["report"].iloc[split.train] if text]
    assert told["taught"] == {"reports": len(reports), "different": 2}
    assert f"learned from {len(reports)} reports of training, 2 of them different" in show.told(run)
    assert "Learning from reports" in report(run).read_text()
    after = {key: RECIPE[key] for key in ("task", "split", "signal", "head", "loss", "evaluate")}
    after |= {
        "backbone": RECIPE["backbone"] | {"start": str(run)},
        "train": {"epochs": 1, "batch": 16, "lr": 1e-2},
    }
    child = train(after, store.path, tmp_path / "child")
    assert "report-supervised" in show.told(child) and "Report-supervised." in report(child).read_text()


def test_features_of_a_fusion_run_are_judged_without_its_policy(run: Path, store: Store) -> None:
    model = load(run, "cpu")
    assert planned_for(model, store, "big").leak is None
    with pytest.raises(ValueError, match="--which fused/features reads reports"):
        embed(run, store, which="fused/features")


def test_what_a_text_part_has_fitted_is_no_weight(store: Store, tmp_path: Path) -> None:
    fitted = recipe(text={"name": "tfidf", "dim": 8, "buckets": 256}, evaluate={"rows": ["random_encoder"]})
    run = train(fitted | {"train": RECIPE["train"] | {"epochs": 1}}, store.path, tmp_path / "tfidf")
    told = json.loads((run / "results.json").read_text())
    assert [row["name"] for row in told["rows"]] == ["random encoder"]
    mine, other = load(run, "cpu"), untrained(load(run, "cpu"))
    said = [method.text(["anterior infarct"]).values for method in (mine.method, other)]
    assert torch.equal(*said)


def test_a_label_may_hold_a_slash(store: Store, tmp_path: Path) -> None:
    made = recipe(task={"name": "a/b", "column": "big"}, train={"epochs": 1})
    run = train(made, store.path, tmp_path / "slash")
    frame = pd.read_parquet(run / "reports.parquet")
    (label,) = [name.removeprefix("truth/") for name in frame.columns if name.startswith("truth/")]
    referee = Referee(run, 20, truths=lambda answers: {"auroc": answers.truth})
    ways = read_reports(run, referee)
    assert f"both/{label}" in frame and {"both", "ECG alone"} <= ways.ways.keys() and "truth" not in ways.ways


def test_a_batch_with_one_report_logs_what_all_log(store: Store) -> None:
    torch.manual_seed(0)
    backbone = build("backbones", {"name": "resnet1d_wang", "width": 8}, wants=Signal(seconds=0.5))
    text = build("texts", {"name": "bag", "dim": 8})
    dual = build("methods", {"name": "dual"}, backbone=backbone, text=text)
    rows = torch.arange(4)
    batch = Batch(torch.randn(4, 12, 50), rows, rows, text=("a", "b", "", "a"))
    alone = replace(batch, text=("a", "a", "", "a"))
    assert dual(batch).keys() == dual(alone).keys()
    assert dual(alone)["loss"].item() == 0


def test_a_teacher_that_shows_nothing_is_refused(store: Store) -> None:
    made = {key: RECIPE[key] for key in ("split", "signal", "backbone", "train", "evaluate")}
    with pytest.raises(ValueError, match="view = 'none' shows no report, so that none can teach"):
        plan(made | {"text": {"view": "none"}, "method": {"name": "concepts"}}, store)


def test_a_table_of_several_arms_tells_what_reports_add(store: Store, tmp_path: Path) -> None:
    import tomli_w

    plain = {key: value for key, value in RECIPE.items() if key not in ("text", "fusion")}
    (tmp_path / "ecg.toml").write_text(tomli_w.dumps(plain | {"train": RECIPE["train"] | {"epochs": 1}}))
    (tmp_path / "both.toml").write_text(tomli_w.dumps(recipe(train={"epochs": 2})))
    grid = tmp_path / "grid.toml"
    grid.write_text(
        'title = "Both"\n'
        '[[grid]]\nrecipes = ["ecg.toml"]\ntasks = ["big"]\nseeds = [0]\narms = ["ecg", "longer"]\n'
        '[[grid]]\nrecipes = ["both.toml"]\ntasks = ["big"]\nseeds = [0]\narms = ["both"]\n'
        '[[arm]]\nname = "ecg"\n[[arm]]\nname = "longer"\nset = ["train.epochs=2"]\n[[arm]]\nname = "both"\n'
    )
    page = (bench(grid, store.path, tmp_path / "out") / "table.md").read_text()
    assert "## What reports add" in page and "**LEAKY: both.**" in page
    line = next(line for line in page.splitlines() if line.startswith("| both, text withheld"))
    assert "[" in line
    assert "| reports missing |" in page and "| reports English" in page
    assert "| ECG alone, arm ecg" in page and "| ECG alone, arm longer" in page
