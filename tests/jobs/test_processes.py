"""Several processes learn what one would: torchrun on this machine, gloo between them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cohorts import store_of
from einthoven.data.store import Store
from einthoven.recipe import written
from einthoven.run import train

# No batch norm and no dropout, and a weight that no loss reaches.
PARTS = """
import torch
from torch import nn
from einthoven.types import Head

class Line(Head):
    def __init__(self, dim, labels):
        super().__init__()
        self.line, self.never = nn.Linear(dim, labels), nn.Parameter(torch.ones(3))

    def forward(self, tokens):
        return {"logits": self.line(tokens.values.mean(1))}
"""
# Says its place and its number, and goes slowly if asked to.
JOB = """
import json, os, sys, time
from pathlib import Path
import torch
from einthoven.run import train
torch.set_num_threads(1)
print("rank", os.environ["RANK"], os.getpid(), flush=True)

def watch(now):
    print("step", now.step, flush=True)
    time.sleep(float(sys.argv[4]))

recipe, store, out = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
train(recipe, store, out, resume=True, device="cpu", watch=watch)
"""
RECIPE: dict[str, Any] = {
    "task": {"column": "big"},
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "lstm", "width": 8, "layers": 1},
    "head": {"name": "plain_parts:Line"},
    "loss": {"name": "bce"},
    "train": {"epochs": 4, "batch": 8, "lr": 1e-2, "average": 0.5, "clip": 1.0, "keep": "best-loss"},
    "evaluate": {"resamples": 20, "rows": ["prevalence"]},
}
CONTRASTIVE = {name: RECIPE[name] for name in ("split", "signal", "backbone")} | {
    "head": {"name": "project", "size": 4},
    "loss": {"name": "nt_xent"},
    "augment": [{"name": "repeat"}, {"name": "noise"}],
    "train": {"epochs": 2, "batch": 8, "lr": 1e-2},
}


def recipe(base: dict[str, Any] = RECIPE, **options: Any) -> dict[str, Any]:
    return base | {"train": base["train"] | options}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("processes")
    (made / "plain_parts.py").write_text(PARTS)
    (made / "job.py").write_text(JOB)
    return made


@pytest.fixture(autouse=True)
def plain_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    chance = np.random.default_rng(1)
    rows = [{"big": int(chance.random() < 0.4), "age": 50.0 + i % 30} for i in range(96)]
    return store_of(folder / "store", rows, signal=True)


def start(folder: Path, *what: str) -> subprocess.Popen[str]:
    """Start two processes by torchrun."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *what]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(call, text=True, env=quiet, **pipes)


def job(folder: Path, store: Store, made: dict[str, Any], out: Path, pause: float = 0) -> list[str]:
    return [str(folder / "job.py"), json.dumps(made), str(store.path), str(out), str(pause)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for all processes, not for ever."""
    try:
        said, complained = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.terminate()  # ends what it has started, too
        said, complained = process.communicate(timeout=60)
        pytest.fail(f"Two processes hang: {said} {complained}")
    return process.returncode, said, complained


def same_curve(one: Path, other: Path) -> None:
    """Compare what was learned, to rounding."""
    names = ["epoch", "step", "lr", "loss", "validation_loss"]
    lines = [pd.read_csv(run / "log.csv")[names] for run in (one, other)]
    pd.testing.assert_frame_equal(lines[0], lines[1], rtol=1e-4, atol=1e-6)
    weights = [load_file(run / "weights.safetensors") for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-3, atol=1e-4)


def test_two_processes_learn_what_one_does_from_twice_the_batch(folder: Path, store: Store) -> None:
    (folder / "two.toml").write_text(written(RECIPE))
    out = folder / "two"
    call = ["-m", "einthoven", "train", str(folder / "two.toml"), "--data", str(store.path)]
    code, said, complained = ended(start(folder, *call, "--out", str(out), "--device", "cpu"))
    assert code == 0, complained
    one = train(recipe(batch=16), store.path, folder / "one", device="cpu")
    same_curve(out, one)
    with open(out / "results.json", encoding="utf-8") as file:
        told = json.load(file)
    assert told["model"]["steps"] == 4 * (48 // 16)
    assert (out / "report.html").is_file() and not list(out.rglob(".*"))
    assert {file.name for file in one.iterdir()} | {"report.html"} == {file.name for file in out.iterdir()}
    lines = said.splitlines()
    assert len(lines) == len(set(lines)), said  # told once


@pytest.mark.slow
def test_two_processes_compare_rows_as_two_batches_in_turn_do(folder: Path, store: Store) -> None:
    """With views drawn and compared within each batch: the parts are the same, whoever learns them."""
    made, out = recipe(CONTRASTIVE), folder / "contrastive-two"
    code, _, complained = ended(start(folder, *job(folder, store, made, out)))
    assert code == 0, complained
    same_curve(out, train(recipe(CONTRASTIVE, accumulate=2), store.path, folder / "contrastive-one"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["st_mem", "ecg_jepa"])
def test_two_processes_hide_and_follow_as_two_batches_in_turn_do(
    folder: Path, store: Store, method: str
) -> None:
    """Each batch hides its own places; the teacher follows the weights that all processes share."""
    form = {"special": "sep"} if method == "st_mem" else {"code": "fixed", "attention": "cross_pattern"}
    made = {name: RECIPE[name] for name in ("split", "signal")} | {
        "backbone": {"name": "vit", "size": [16, 1, 2], "patch": 0.1} | form,
        "method": {"name": method, ("decoder" if method == "st_mem" else "predictor"): [8, 1, 2]},
        "train": {"epochs": 2, "batch": 8, "lr": 1e-2, "clip": 1.0},
    }
    out = folder / f"{method}-two"
    code, _, complained = ended(start(folder, *job(folder, store, made, out)))
    assert code == 0, complained
    same_curve(out, train(recipe(made, accumulate=2), store.path, folder / f"{method}-one", device="cpu"))


@pytest.mark.slow
def test_a_dead_process_ends_all_and_the_run_goes_on(folder: Path, store: Store) -> None:
    made, whole, out = recipe(accumulate=2, batch=4), folder / "whole", folder / "killed"
    code, _, complained = ended(start(folder, *job(folder, store, made, whole)))
    assert code == 0, complained
    same_curve(whole, train(recipe(batch=16), store.path, folder / "at-once"))
    process, numbers, steps = start(folder, *job(folder, store, made, out, pause=0.3)), {}, 0
    assert process.stdout is not None
    while steps < 6:
        what, *told = process.stdout.readline().split()
        if what == "rank":
            numbers[told[0]] = int(told[1])
        else:
            steps = int(told[0])
    os.kill(numbers["1"], signal.SIGKILL)
    code, _, _ = ended(process)
    assert code and not (out / "results.json").exists() and list((out / "resume").glob("*/resume.json"))
    assert not any(Path(f"/proc/{number}").exists() for number in numbers.values())
    with pytest.raises(ValueError, match="was begun by 2 processes.*nproc-per-node 2"):
        train(made, store.path, out, resume=True, device="cpu")
    code, _, complained = ended(start(folder, *job(folder, store, made, out)))
    assert code == 0, complained
    for name in ("weights.safetensors", "results.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "device", "told"),
    [
        ("train.accumulate=5", "cpu", "A step reads 48 records here .* 10 equal batches"),
        ("train.batch=8", "cuda", "this machine has 0: start fewer"),
        ("train.batch=8", "mps", "cpu, or on cuda with a GPU each: --device mps"),
        ("train.lr=1e30", "cpu", "diverged before step|is NaN"),
    ],
)
def test_what_cannot_be_is_told_once(
    folder: Path, store: Store, tmp_path: Path, change: str, device: str, told: str
) -> None:
    (tmp_path / "made.toml").write_text(written(recipe(accumulate=2, clip=0.0)))
    call = ["-m", "einthoven", "train", str(tmp_path / "made.toml"), "--data", str(store.path)]
    call += ["--out", str(tmp_path / "out"), "--device", device, "--set", change]
    code, _, complained = ended(start(folder, *call))
    ours = [line for line in complained.splitlines() if line.startswith("einthoven: ")]
    assert code and len(ours) == 1, complained
    assert pd.Series(ours).str.contains(told).all()


def test_both_begin_with_the_same_probe(folder: Path, store: Store) -> None:
    made = recipe(solver="probe-first", epochs=2) | {"head": {"name": "probe"}}
    out = folder / "probed"
    code, _, complained = ended(start(folder, *job(folder, store, made, out)))
    assert code == 0, complained
    whole = made | {"train": made["train"] | {"batch": 16}}
    same_curve(out, train(whole, store.path, folder / "probed_one", device="cpu"))
