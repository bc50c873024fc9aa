"""A grid becomes run folders and a table: it skips, resumes, survives what fails, and runs on Ray."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohorts import store_of
from einthoven import cli
from einthoven.bench import Cell, Standing, bench, read_grid
from einthoven.bench.pace import Pace
from einthoven.data.store import Store
from einthoven.show import lasting

RECIPE = """
[split]
by = "patient"
shares = [0.5, 0.2, 0.3]
[signal]
seconds = 0.5
[backbone]
name = "resnet1d_wang"
width = {width}
[head]
name = "linear"
[loss]
name = "bce"
[train]
epochs = 2
batch = 16
lr = 1e-2
"""
GRID = """
title = "Trial"
set = ["evaluate.rows=[]", "evaluate.resamples=10", "evaluate.examples=0"]
ensemble = true
[[grid]]
recipes = ["small.toml", "tiny.toml"]
tasks = ["kinds"]
seeds = [0, 1]
[[arm]]
name = "hidden"
[[arm]]
name = "plain"
set = ["head.hidden=[]"]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    chance = np.random.default_rng(1)
    rows = [{"big": int(chance.random() < 0.4), "patient": i // 2} for i in range(120)]
    for row in rows:
        row["kinds"] = ["big"] if row["big"] else ["small", "plain"]
        row["words"] = ["yes"] if row["big"] else ["no"]
    return store_of(tmp_path_factory.mktemp("bench") / "store", rows, signal=True)


def written(folder: Path, grid: str = GRID) -> Path:
    """Write a grid and its recipes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, width in (("small", 6), ("tiny", 4)):
        (folder / f"{name}.toml").write_text(RECIPE.format(width=width))
    (folder / "grid.toml").write_text(grid)
    return folder / "grid.toml"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def whole(grid: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench that nothing disturbed."""
    return bench(grid, store.path, tmp_path_factory.mktemp("tables") / "whole")


def test_every_cell_is_a_run_folder_and_a_line(grid: Path, whole: Path) -> None:
    runs = {
        path.parent.relative_to(whole / "runs").as_posix() for path in whole.glob("runs/*/*/results.json")
    }
    assert runs == {str(cell) for cell in read_grid(grid).cells} and len(runs) == 8
    told = pd.read_csv(whole / "table.csv")
    assert told["of"].value_counts().to_dict() == {"run": 12, "seeds": 6, "recipes": 1}
    line = told[(told["recipe"] == "small") & (told["arm"] == "plain") & (told["of"] == "run")].iloc[1]
    area = pd.read_json(whole / "runs/kinds/small-plain-1/results.json", typ="series")["test"]["auroc"]
    assert line["score"] == pytest.approx(area["macro"]["value"], abs=1e-6)
    assert len(pd.read_csv(whole / "times.csv")) == 8
    figure = (whole / "figure.svg").read_text()
    assert all(f">{words}<" in figure for words in ("● plain", "small", "ensemble", "kinds", "Trial"))
    page = (whole / "table.md").read_text()
    assert "All 8 runs are finished." in page and "not comparable with published figures" in page
    assert "ensemble" in page and "What plain gains over hidden" in page


def test_the_first_round_fills_the_table(grid: Path, tmp_path: Path) -> None:
    names = [str(cell).partition("/")[2] for cell in read_grid(grid).cells]
    assert names[:4] == ["small-hidden-0", "small-plain-0", "tiny-hidden-0", "tiny-plain-0"]
    uneven = GRID + '[[grid]]\nrecipes = ["small.toml"]\ntasks = ["words"]\nseeds = [7]\n'
    seeds = [cell.seed for cell in read_grid(written(tmp_path, uneven)).cells]
    assert seeds == [0] * 4 + [7] * 2 + [1] * 4


@pytest.mark.parametrize(("name", "cells"), [("ptbxl", 360), ("subset", 36), ("demo", 2)])
def test_our_grids_can_be_read_and_say_what_they_cost(root: Path, name: str, cells: int) -> None:
    file = root / f"recipes/bench/{name}.toml"
    made = read_grid(file)
    assert len(made.cells) == cells and made.arms == ("linear", "decoupled")
    header = [line for line in file.read_text().split("\n\n")[0].splitlines() if line.startswith("# ")]
    assert header[1].startswith(f"# einthoven bench recipes/bench/{name}.toml --data ")
    assert header[2].startswith("# cost: ") and header[3].startswith("# expected: ")


def test_the_order_of_cells_changes_nothing(whole: Path, store: Store, tmp_path: Path) -> None:
    turned = GRID.replace('["small.toml", "tiny.toml"]', '["tiny.toml", "small.toml"]')
    turned = turned.replace("seeds = [0, 1]", "seeds = [1]")
    out = bench(written(tmp_path, turned), store.path, tmp_path / "out")
    runs = list(out.glob("runs/*/*/predictions.parquet"))
    assert len(runs) == 4
    for run in runs:
        assert run.read_bytes() == (whole / run.relative_to(out)).read_bytes()


def test_what_is_finished_is_not_even_planned(
    grid: Path, whole: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Path:
        raise AssertionError("a finished cell was run again")

    before = (whole / "table.csv").read_bytes()
    monkeypatch.setattr("einthoven.bench.runner.train", never)
    bench(grid, store.path, whole)
    assert (whole / "table.csv").read_bytes() == before


KILLED = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from einthoven.bench import bench
def watch(now):
    print(now.finished, now.run.step if now.run else -1, flush=True)
    time.sleep(0.05)
bench(*map(Path, sys.argv[1:4]), watch=watch)
"""


def test_a_killed_bench_ends_as_one_that_never_was(
    grid: Path, whole: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    call = [sys.executable, "-c", KILLED, str(grid), str(store.path), str(out)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=quiet) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            finished, step = map(int, line.split())
            if finished == 2 and step > 0:  # in the middle of the third run
                break
        killed.send_signal(signal.SIGKILL)
    assert len(list(out.glob("runs/*/*/results.json"))) == 2
    assert "2 of 8 runs are finished" in (out / "table.md").read_text()
    bench(grid, store.path, out)
    for name in ("table.csv", "figure.svg"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_stopped_bench_says_how_it_goes_on(grid: Path, store: Store, tmp_path: Path) -> None:
    def stop(now: Standing) -> None:
        if now.finished == 1 and now.run:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="1 of 8 cells are finished, .*The same command goes on"):
        bench(grid, store.path, tmp_path / "out", watch=stop)
    assert "**Not complete: 1 of 8 runs" in (tmp_path / "out/table.md").read_text()


def test_a_cell_that_fails_stops_no_other(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, GRID.replace("head.hidden=[]", "head.hidde=[]"))
    with pytest.raises(ValueError, match=r"4 of 8 cells failed: kinds/small-plain-0, .*no option 'hidde'"):
        bench(file, store.path, tmp_path / "out")
    page = (tmp_path / "out/table.md").read_text()
    assert "4 of 8 runs are finished, 4 failed" in page
    assert "* kinds/tiny-plain-1: heads part 'linear' has no option 'hidde'" in page
    assert len(pd.read_csv(tmp_path / "out/table.csv")) == 6
    with pytest.raises(ValueError, match="4 of 8 cells failed"):  # again: the others are kept
        bench(file, store.path, tmp_path / "out")
    written(tmp_path)
    assert "All 8 runs are finished" in (bench(file, store.path, tmp_path / "out") / "table.md").read_text()


def test_a_run_of_another_recipe_is_refused_and_not_counted(store: Store, tmp_path: Path) -> None:
    one = GRID.replace('"small.toml", ', "").replace("[0, 1]", "[0]")
    file = written(tmp_path, one)
    bench(file, store.path, tmp_path / "out")
    (tmp_path / "tiny.toml").write_text(RECIPE.format(width=5))
    with pytest.raises(ValueError, match=r"2 of 2 cells failed: .* is another recipe than this one"):
        bench(file, store.path, tmp_path / "out")
    assert "0 of 2 runs are finished, 2 failed" in (tmp_path / "out/table.md").read_text()
    assert len(pd.read_csv(tmp_path / "out/table.csv")) == 0


def test_the_table_is_current_after_every_cell(store: Store, tmp_path: Path) -> None:
    seen: list[Standing] = []
    pages = []

    def watch(now: Standing) -> None:
        seen.append(now)
        if now.ended:
            pages.append((tmp_path / "out/table.md").read_text())

    file = written(tmp_path, GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    bench(file, store.path, tmp_path / "out", watch=watch)
    assert [f"{n} of 4 runs" in page for n, page in enumerate(pages, 1)] == [True, True, True, False]
    ended = [now for now in seen if now.ended]
    assert [now.finished for now in ended] == [1, 2, 3, 4] and ended[-1].left == 0
    assert ended[0].left > 0 and ended[0].ended.startswith("AUROC 0.")
    assert [now for now in seen if now.run and now.run.what == "training"]


def test_two_benches_do_not_share_a_folder(grid: Path, store: Store, tmp_path: Path) -> None:
    said = []

    def watch(now: Standing) -> None:
        if not said:
            with pytest.raises(ValueError, match="Another process is writing"):
                bench(grid, store.path, tmp_path / "out")
            said.append(now)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(grid, store.path, tmp_path / "out", watch=watch)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("ensemble = true", "ensembel = true", "no option 'ensembel'.*Did you mean 'ensemble'"),
        ("seeds = [0, 1]", "seed = [0, 1]", r"\[grid\] has no option 'seed'.*Did you mean 'seeds'"),
        ("seeds = [0, 1]", "seeds = [0, 1.5]", r"\[grid\] seeds is .*; got \(0, 1.5\)"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "seeds are whole numbers from 0, got -1"),
        ("seeds = [0, 1]", "seeds = []", "one has no seeds"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "the cell kinds/small-hidden-0 stands in the grid twice"),
        ('"tiny.toml"]', '"tiny.toml", "./tiny.toml"]', "tiny-hidden-0 stands in the grid twice"),
        ('"tiny.toml"', '"absent.toml"', "No recipe at .*absent.toml"),
        ('["kinds"]', '["kind"]', "no task 'kind' in .*Did you mean 'kinds'"),
        ('name = "plain"', 'name = "hidden"', "two arms are called 'hidden'"),
        ('name = "plain"', 'name = "a/b"', "an .*arm.* needs a name of letters"),
        ('name = "plain"', "", "needs a name of letters.*got ''"),
        ('["head.hidden=[]"]', '["seed=3"]', "arm 'plain' changes the seed or the task"),
        ('["head.hidden=[]"]', '["split.seed=3"]', r"differ in \[split\]"),
        ('["head.hidden=[]"]', '["head"]', "--set takes key=value"),
        ("[[arm]]", "[[arms]]", "no option 'arms'.*Did you mean 'arm'"),
        (GRID[GRID.index("[[arm]]") :], "", r"needs a table \[\[arm\]\]"),
        ("[[grid]]", "[[grid]", "is no TOML"),
    ],
)
def test_a_bad_grid_is_told_in_one_line_before_anything_runs(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    before: str,
    after: str,
    told: str,
) -> None:
    assert before in GRID
    file, out = written(tmp_path, GRID.replace(before, after)), tmp_path / "out"
    words = ["einthoven", "bench", str(file), "--data", str(store.path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2 and len(lines) == 1 and not out.exists()
    with pytest.raises(ValueError, match=told):
        raise ValueError(lines[0])
    assert "grid.toml" in lines[0] or "absent.toml" in lines[0]


def test_the_command_prints_a_line_a_run_and_the_table(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["einthoven", "bench", str(file), "--data", str(store.path), "--out", str(out)]
    )
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1/4 kinds/small-hidden-0: AUROC 0.") and lines[0].endswith(" left")
    assert lines[3].startswith("4/4 kinds/tiny-plain-0: AUROC 0.") and not lines[3].endswith(" left")
    assert lines[4] == "# Trial"
    assert lines[-1] == f"Table: {out / 'table.md'}, figure: {out / 'figure.svg'}"


def test_time_left_comes_from_the_nearest_likeness() -> None:
    def cell(task: str, recipe: str, arm: str = "linear", seed: int = 0) -> Cell:
        return Cell(task, recipe, arm, seed, {})

    now = [0.0]
    pace = Pace(lambda: now[0])
    assert np.isnan(pace.left([cell("all", "lstm")]))
    pace.took(cell("all", "lstm"), 100)
    pace.took(cell("all", "fcn"), 20)
    assert pace.left([cell("all", "lstm", seed=1), cell("form", "fcn")]) == 120
    assert pace.left([cell("all", "new")]) == 60
    assert pace.left([cell("all", "lstm", seed=1)] * 3, workers=2) == 150
    running = cell("all", "new")
    pace.stands(running, 0.5)  # taken up in the middle: a quarter takes ten seconds
    now[0] = 10
    pace.stands(running, 0.75)
    assert pace.left([running, cell("all", "fcn", seed=1)]) == pytest.approx(40 * 0.25 + 20)
    assert lasting(pace.left([])) == "0 s"


def test_ray_that_is_not_installed_is_one_line(
    grid: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--ray needs: pip install 'einthoven\[ray\]'"):
        bench(grid, store.path, tmp_path / "out", ray=2)
    with pytest.raises(ValueError, match="--ray takes the number of workers, got -1"):
        bench(grid, store.path, tmp_path / "out", ray=-1)
    assert not (tmp_path / "out").exists()


ON_RAY = """
import sys
from pathlib import Path
from einthoven.bench import bench
bench(*map(Path, sys.argv[1:4]), ray=2, watch=lambda now: print(now.ended, flush=True))
"""


@pytest.mark.slow
def test_two_workers_of_ray_make_the_same_table(
    grid: Path, whole: Path, store: Store, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    call = [sys.executable, "-c", ON_RAY, str(grid), str(store.path), str(tmp_path / "out")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=quiet, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("AUROC") == 8
    for name in ("table.csv", "figure.svg"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    for run in whole.glob("runs/*/*/predictions.parquet"):
        assert run.read_bytes() == (tmp_path / "out" / run.relative_to(whole)).read_bytes()


@pytest.mark.slow
def test_a_failing_cell_on_ray_stops_no_other(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    one = GRID.replace('"small.toml", ', "").replace("[0, 1]", "[0]").replace("head.hidden", "head.hidde")
    call = [sys.executable, "-c", ON_RAY, str(written(tmp_path, one)), str(store.path), str(tmp_path / "out")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=quiet, check=False, timeout=300)
    assert "1 of 2 cells failed: kinds/tiny-plain-0" in done.stderr
    assert len(list(tmp_path.glob("out/runs/*/*/results.json"))) == 1
