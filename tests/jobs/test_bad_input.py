"""What a user may get wrong: one clear line that names it, exit code 2, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cohorts import store_of
from einthoven import cli
from einthoven.data.store import Store

Say = Callable[..., str]
RECIPE = """
[task]
column = "y"
[split]
by = "patient"
[signal]
seconds = 0.5
[backbone]
name = "resnet1d_wang"
width = 4
[head]
name = "linear"
[loss]
name = "bce"
[train]
epochs = 1
batch = 8
[evaluate]
resamples = 10
rows = []
"""


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command line in this process and return its one line of complaint."""

    def say(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["einthoven", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        told = capsys.readouterr()
        assert left.value.code == 2, told
        lines = told.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("einthoven: "), told.err
        assert "Traceback" not in told.err
        return lines[0]

    return say


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"y": i % 2, "same": 1, "kinds": [] if i else ["a"], "none": None} for i in range(40)]
    return store_of(tmp_path_factory.mktemp("bad") / "store", rows, signal=True)


def wfdb(
    folder: Path, name: str, *, header: str | None = None, samples: int = 500, data: bytes | None = None
) -> None:
    """Write a record of two leads, 500 Hz, 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name} 2 500 500",
        f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 I",
        f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 II",
    ]
    (folder / f"{name}.hea").write_text(header or "\n".join(lines) + "\n")
    wave = (np.sin(np.arange(samples * 2)) * 500).astype("<i2").tobytes()
    (folder / f"{name}.dat").write_bytes(wave if data is None else data)


def test_a_folder_without_the_database(refused: Say, tmp_path: Path) -> None:
    (tmp_path / "not").mkdir()
    line = refused("import", "ptbxl", tmp_path / "not", tmp_path / "store")
    assert "ptbxl_database.csv" in line and "einthoven download ptbxl" in line
    assert not (tmp_path / "store").exists()


def test_a_path_that_is_not_there(refused: Say, tmp_path: Path) -> None:
    assert "nowhere" in refused("import", "wfdb", tmp_path / "nowhere", tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("broken", ["truncated", "text"])
def test_a_file_that_cannot_be_read_is_rejected_and_the_import_goes_on(tmp_path: Path, broken: str) -> None:
    from einthoven.python import import_

    wfdb(tmp_path / "ecgs", "good")
    wfdb(
        tmp_path / "ecgs",
        "bad",
        data=b"\0\0" * 300 if broken == "truncated" else b"I am a letter, not an ECG.\n",
    )
    store = import_("wfdb", tmp_path / "ecgs", tmp_path / "store")
    assert len(store) == 1
    (line,) = store.rejected.to_dict("records")
    assert "bad" in line["label"] and len(line["reason"].splitlines()) == 1


def test_nothing_that_can_be_read(refused: Say, tmp_path: Path) -> None:
    wfdb(tmp_path / "ecgs", "bad", data=b"short")
    line = refused("import", "wfdb", tmp_path / "ecgs", tmp_path / "store", "--workers", 0)
    assert "bad" in line


def test_missing_samples_and_microvolts(tmp_path: Path) -> None:
    from einthoven.python import import_

    header = "uv 2 500 500\nuv.dat 16 1(0)/uV 16 0 0 0 0 I\nuv.dat 16 1(0)/uV 16 0 0 0 0 II\n"
    wave = np.full((500, 2), 250, "<i2")
    wave[100:200, 0] = -32768  # WFDB's word for a missing sample
    wfdb(tmp_path / "ecgs", "uv", header=header, data=wave.tobytes())
    store = import_("wfdb", tmp_path / "ecgs", tmp_path / "store", hertz=500.0)
    assert store.read(np.array([0]))[0, 1, 250] == pytest.approx(0.25, abs=1e-3)
    assert store.records["nan_share"].iloc[0] > 0
    assert store.records["absent"].iloc[0] == "V1 V2 V3 V4 V5 V6"


def test_leads_that_are_missing(refused: Say, recipe: Path, tmp_path: Path) -> None:
    from einthoven.python import import_

    for i in range(4):
        wfdb(tmp_path / "ecgs", f"r{i}")
    labels = tmp_path / "labels.csv"
    labels.write_text("record_id,y\n" + "\n".join(f"r{i},{i % 2}" for i in range(4)) + "\n")
    import_("wfdb", tmp_path / "ecgs", tmp_path / "store", labels=labels)
    line = refused("train", recipe, "--data", tmp_path / "store", "--out", tmp_path / "run")
    assert "4 of 4 records lack leads" in line and "V1 V2 V3 V4 V5 V6" in line and "subset = true" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("task.column=z", "No column 'z'"),
        ("task.column=same", "of one class"),
        ("task.column=none", "no record of"),
        ("task={name='rhythm'}", "No task 'rhythm'"),
        ("backbone.name=resnet1d_wnag", "Did you mean 'resnet1d_wang'?"),
        ("backbone.widht=4", "Did you mean 'width'?"),
        ("trian.epochs=4", "unknown table [trian]. Did you mean 'train'?"),
        ("train.epohcs=4", "Did you mean 'epochs'?"),
        ("train.precision=int8", "one of 'fp32', 'bf16', 'fp16'"),
        ("signal.seconds=20", "lasts so long"),
        ("sampler.name=balancd", "Did you mean 'balanced'?"),
        ("loss.name=cross_entropi", "Did you mean 'cross_entropy'?"),
        ("task={name='kinds'}", "split has no record"),
        ("backbone.start=nowhere", "is not there"),
    ],
)
def test_a_recipe_that_cannot_be(
    refused: Say, recipe: Path, store: Store, tmp_path: Path, change: str, told: str
) -> None:
    line = refused("train", recipe, "--data", store.path, "--out", tmp_path / "run", "--set", change)
    assert told in line
    assert not (tmp_path / "run").exists()


def test_a_store_from_the_future(refused: Say, store: Store, tmp_path: Path) -> None:
    facts = json.loads((store.path / "store.json").read_text()) | {"format": 99}
    (tmp_path / "store.json").write_text(json.dumps(facts))
    assert "newer" in refused("show", tmp_path)


def test_no_store_no_run_no_command(refused: Say, tmp_path: Path, recipe: Path) -> None:
    assert "einthoven import" in refused("show", tmp_path / "x")
    assert "is no store" in refused("train", recipe, "--data", tmp_path / "x", "--out", tmp_path / "run")
    assert "no recipe.toml" in refused("predict", tmp_path / "x", recipe)
    assert "Did you mean 'train'?" in refused("trian")
    assert "No recipe at" in refused(
        "train", tmp_path / "no.toml", "--data", tmp_path, "--out", tmp_path / "run"
    )


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tomllib

    from einthoven.run import train

    return train(tomllib.loads(RECIPE), store.path, tmp_path_factory.mktemp("runs") / "run")


def test_predictions_of_files_that_cannot_be(refused: Say, run: Path, tmp_path: Path) -> None:
    wfdb(tmp_path, "short", samples=100)
    (tmp_path / "short.hea").write_text((tmp_path / "short.hea").read_text().replace("500 500", "500 100"))
    line = refused("predict", run, tmp_path / "short.dat")
    assert "short" in line and ("missing: V1" in line or "0.2 s" in line)
    (tmp_path / "letter.dat").write_text("Dear doctor,\n")
    assert "letter" in refused("predict", run, tmp_path / "letter.dat")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    assert "no ECG file" in refused("predict", run, tmp_path / "photo.jpg")
    assert "does not exist" in refused("predict", run, tmp_path / "gone.csv")
    np.save(tmp_path / "three.npy", np.zeros((12, 30), np.float32))
    line = refused("predict", run, tmp_path / "three.npy", "--set", "hertz=100", "--set", "units=mV")
    assert "lasts 0.3 s; this model reads 0.5 s" in line
    assert "hertz" in refused("predict", run, tmp_path / "three.npy")


def test_a_full_disk_in_training(
    refused: Say, recipe: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from einthoven.data import files

    def full(file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    line = refused("train", recipe, "--data", store.path, "--out", tmp_path / "run")
    assert "disk is full" in line
    assert not any((tmp_path / "run").glob("*"))


SLOW = """
import sys, time
from einthoven import cli, run
seen = run.fit
def slow(*words, **how):
    for logs in seen(*words, **how):
        print("step", flush=True)
        time.sleep(0.2)
        yield logs
run.fit = slow
cli.main()
"""


def test_control_c_in_training(recipe: Path, store: Store, tmp_path: Path) -> None:
    out, words = tmp_path / "run", ["--set", "train.epochs=50"]
    call: Sequence[str] = ["train", str(recipe), "--data", str(store.path), "--out", str(out), *words]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SLOW, *call], text=True, env=quiet, **pipes) as running:
        assert running.stdout is not None and running.stderr is not None
        for _ in range(6):
            running.stdout.readline()
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        told = running.stderr.read().strip().splitlines()
        assert running.wait() == 2
    assert len(told) == 1 and "--resume" in told[0]
    assert not (out / "results.json").exists() and not (out / "weights.safetensors").exists()
