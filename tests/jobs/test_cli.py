"""The command line from files to a report, as a user would type it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from einthoven import cli

Say = Callable[..., str]
SMALL = ["backbone.width=8", "train.epochs=2", "train.batch=32", "evaluate={resamples=40}"]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in this process and return what it prints."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["einthoven", *map(str, words)])
        capsys.readouterr()
        cli.main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def sets(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def test_import_says_what_came_in_and_does_it_once(say: Say, home: Path) -> None:
    told = say("import", "synthetic", "-", home / "store", "--workers", 0, *sets("records=180"))
    assert "MADE-UP ECGs" in told and "180 ECGs" in told and "task superdiag: 5 labels" in told
    before = (home / "store/store.json").stat().st_mtime_ns
    assert say("import", "synthetic", "-", home / "store", *sets("records=180")) == told
    assert (home / "store/store.json").stat().st_mtime_ns == before
    assert say("show", home / "store") == told
    assert "Every file is as it was written" in say("show", home / "store", "--verify")


def test_lists_name_parts_and_tasks(say: Say, home: Path) -> None:
    assert "width=128" in say("list", "backbones")
    assert "rhythm  4 labels: AFIB, SBRAD, SR, STACH" in say("list", "tasks", home / "store")


def test_train_ends_with_the_score_and_the_report(say: Say, home: Path, root: Path) -> None:
    recipe = root / "recipes/demo/superdiag.toml"
    words = ("train", recipe, "--data", home / "store", "--out", home / "run", "--resume")
    told = say(*words, *sets(*SMALL)).strip().splitlines()
    results = json.loads((home / "run/results.json").read_text())
    area = results["test"]["auroc"]["macro"]
    assert told[-2] == (
        f"Test macro AUROC {area['value']:.3f} (95 % interval {area['low']:.3f} to {area['high']:.3f})"
    )
    assert told[-1] == f"Report: {home / 'run/report.html'}"
    assert "MADE-UP" in (home / "run/report.html").read_text()
    rows = {row["name"]: row for row in results["rows"]}
    assert set(rows) == {"prevalence", "age + sex", "random encoder", "random kernels"}
    assert rows["prevalence"]["auroc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    for row in rows.values():
        assert row["gain"]["value"] == pytest.approx(area["value"] - row["auroc"]["value"])
        assert row["gain"]["low"] <= row["gain"]["value"] <= row["gain"]["high"]
    again = say(*words, *sets(*SMALL)).strip().splitlines()
    assert again == [line for line in told if not line.startswith("epoch")]


def test_predict_answers_for_files(say: Say, home: Path) -> None:
    from einthoven.data.store import open_store

    store = open_store(home / "store")
    said = pd.read_parquet(home / "run/predictions.parquet").iloc[0]
    ecg = store.read(np.array([said["store_row"]]))[0]
    np.save(home / "one.npy", ecg)
    words = ("predict", home / "run", home / "one.npy", *sets("hertz=100", "units=mV"))
    (line,) = json.loads(say(*words, "--json"))
    for label in store.tasks["superdiag"]:
        assert line[label] == pytest.approx(said[f"score/{label}"], abs=1e-4)
    assert "NORM" in say(*words)


def test_embed_compare_and_report(say: Say, home: Path) -> None:
    told = say("embed", home / "run", home / "store", "--out", home / "vectors.parquet")
    assert "180 vectors of 8 numbers" in told
    assert pd.read_parquet(home / "vectors.parquet").shape == (180, 10)
    told = say("compare", home / "run", home / "run")
    assert "test ECGs of" in told and "macro" in told and "+0.000 to +0.000" in told
    (home / "run/report.html").unlink()
    assert "report.html" in say("report", home / "run")
    assert (home / "run/report.html").exists()


def test_help_and_version_of_a_bare_call(say: Say) -> None:
    assert "Learn from 12-lead ECGs" in say()
