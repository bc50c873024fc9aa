"""A grid becomes run folders and a table: it skips, resumes, survives what fails, and runs on Ray."""

import errno
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cohorts import store_of
from einthoven import cli
from einthoven.bench import Cell, Standing, bench, read_grid
from einthoven.bench.cells import Outcome, Place
from einthoven.bench.cluster import result, start
from einthoven.bench.figure import layout, legend, write_figure
from einthoven.bench.grid import Grid, on_store
from einthoven.bench.pace import Pace
from einthoven.bench.runner import Bench, command
from einthoven.bench.table import Table
from einthoven.data.store import Store
from einthoven.show import lasting, left_told, standing_told

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


GRIDS = [("ptbxl", 360), ("subset", 36), ("best", 12), ("noise", 9), ("demo", 2)]
GRIDS += [
    ("metric", 225),
    ("age", 12),
    ("pcwp", 12),
    ("subgroups", 90),
    ("pretrain", 226),
    ("fusion", 15),
    ("reports", 72),
]


@pytest.mark.parametrize(("name", "cells"), GRIDS)
def test_our_grids_can_be_read_and_say_what_they_cost(root: Path, name: str, cells: int) -> None:
    file = root / f"recipes/bench/{name}.toml"
    made = read_grid(file)
    assert len(made.cells) == cells and len(made.arms) > 1
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
    monkeypatch.setattr("einthoven.bench.cells.train", never)
    seen: list[Standing] = []
    bench(grid, store.path, whole, watch=seen.append)
    assert [(now.finished, now.cells, now.reading) for now in seen] == [(n, 8, True) for n in range(8)]
    assert "reading finished runs: kinds/small-hidden-0" in standing_told(seen[0])
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
    cells = [str(cell) for cell in read_grid(grid).cells]
    for cell in cells[:5]:  # as if these had run before
        shutil.copytree(whole / "runs" / cell, out / "runs" / cell)
        shutil.copy(whole / "runs" / f"{cell}.toml", out / "runs" / f"{cell}.toml")
    call = [sys.executable, "-c", KILLED, str(grid), str(store.path), str(out)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=quiet) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            finished, step = map(int, line.split())
            if finished == 6 and step > 0:  # in the middle of the seventh run
                break
        killed.send_signal(signal.SIGKILL)
    assert len(list(out.glob("runs/*/*/results.json"))) == 6
    assert "6 of 8 runs are finished" in (out / "table.md").read_text()
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


ONE = GRID.replace('"small.toml", ', "").replace("[0, 1]", "[0]")  # a network, two arms, one seed


def test_a_cell_that_fails_stops_no_other(store: Store, tmp_path: Path) -> None:
    turned = ONE.replace('"plain"', '"wrong"').replace("head.hidden=[]", "head.hidde=[]")
    turned += '[[arm]]\nname = "plain"\nset = ["head.hidden=[]"]\n'
    file = written(tmp_path, turned)
    for _ in range(2):  # again: what is finished is kept, what failed is tried
        with pytest.raises(
            ValueError, match=r"1 of 3 cells failed: kinds/tiny-wrong-0\. .*no option 'hidde'"
        ):
            bench(file, store.path, tmp_path / "out")
    page = (tmp_path / "out/table.md").read_text()
    assert "2 of 3 runs are finished, 1 failed" in page
    assert "* kinds/tiny-wrong-0: heads part 'linear' has no option 'hidde'" in page
    assert len(pd.read_csv(tmp_path / "out/table.csv")) == 4
    file.write_text(turned.replace("head.hidde=", "head.hidden="))
    assert "All 3 runs are finished" in (bench(file, store.path, tmp_path / "out") / "table.md").read_text()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to"), "OutOfMemoryError: CUDA out of memory."),
        (RuntimeError("shapes differ"), "RuntimeError: shapes differ"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_whatever_a_cell_does_the_others_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: str
) -> None:
    def faulty(made: dict[str, Any], data: Path, out: Path, **how: Any) -> Path:
        tried.append(out.name)
        raise fault

    tried: list[str] = []
    monkeypatch.setattr("einthoven.bench.cells.train", faulty)
    with pytest.raises(ValueError, match="2 of 2 cells failed"):
        bench(written(tmp_path, ONE), store.path, tmp_path / "out")
    assert tried == ["tiny-hidden-0", "tiny-plain-0"]
    assert f"* kinds/tiny-hidden-0: {told}\n" in (tmp_path / "out/table.md").read_text()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_full_disk_ends_the_bench_at_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    def full(made: dict[str, Any], data: Path, out: Path, **how: Any) -> Path:
        tried.append(out.name)
        refused = OSError(errno.ENOSPC, "No space left on device")
        if not wrapped:
            raise refused
        raise ValueError("The disk is full while writing weights.safetensors.") from refused

    tried: list[str] = []
    monkeypatch.setattr("einthoven.bench.cells.train", full)
    with pytest.raises(ValueError, match=r"disk is full, .*0 of 2 cells.*then the same command goes on\.$"):
        bench(written(tmp_path, ONE), store.path, tmp_path / "out")
    assert tried == ["tiny-hidden-0"]


@pytest.fixture
def pair(whole: Path, store: Store, tmp_path: Path) -> tuple[Path, Path]:
    """A grid of two finished runs, and its folder."""
    file, out = written(tmp_path, ONE), tmp_path / "out"
    for arm in ("hidden", "plain"):
        shutil.copytree(whole / f"runs/kinds/tiny-{arm}-0", out / f"runs/kinds/tiny-{arm}-0")
        shutil.copy(whole / f"runs/kinds/tiny-{arm}-0.toml", out / "runs/kinds")
    return file, out


@pytest.mark.parametrize("lost", ["environment.json", "log.csv"])
def test_a_damaged_run_is_a_line_until_it_is_removed(
    pair: tuple[Path, Path], store: Store, lost: str
) -> None:
    file, out = pair
    run = out / "runs/kinds/tiny-plain-0"
    (run / lost).unlink()
    with pytest.raises(
        ValueError, match=rf"1 of 2 cells failed: .*tiny-plain-0 is damaged \({lost} is missing"
    ):
        bench(file, store.path, out)
    assert f"{lost} is missing): remove it" in (out / "table.md").read_text()
    shutil.rmtree(run)
    assert "All 2 runs are finished" in (bench(file, store.path, out) / "table.md").read_text()


def test_the_wrong_store_does_not_wipe_a_table(pair: tuple[Path, Path], store: Store, tmp_path: Path) -> None:
    file, out = pair
    bench(file, store.path, out)
    before = {name: (out / name).read_bytes() for name in ("table.md", "table.csv", "figure.svg")}
    rows = [{"kinds": ["big"] if i % 2 else ["small"]} for i in range(20)]
    other = store_of(tmp_path / "other", rows)
    with pytest.raises(ValueError, match=r"out holds 2 finished runs, and none was made on .*other: choose"):
        bench(file, other.path, out)
    assert {name: (out / name).read_bytes() for name in before} == before


def test_published_figures_stand_beside_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run as `train` makes it, on a store that passes for the whole PTB-XL."""
    rows = [{"all": ["SR"] if i % 3 else ["AF"], "fold": 1 + i % 10} for i in range(60)]
    data = store_of(tmp_path / "store", rows).path
    monkeypatch.setattr("einthoven.bench.words.full_version", lambda store: "PTB-XL 1.0.3")
    monkeypatch.setattr("einthoven.bench.beside.EPOCHS", 2)
    recipe = '[backbone]\nname="fcn_wang"\n[head]\nname="linear"\n[loss]\nname="bce"\n'
    recipe += "[signal]\nseconds=0.2\n[train]\nepochs=2\nbatch=48\n"
    file = written(tmp_path, GRID[: GRID.rindex("[[arm]]")].replace("small.toml", "fcn.toml"))
    (tmp_path / "fcn.toml").write_text(recipe)
    text = file.read_text().replace('"kinds"', '"all"').replace("[0, 1]", "[0]").replace(', "tiny.toml"', "")
    file.write_text(text)
    page = (bench(file, data, tmp_path / "out") / "table.md").read_text()
    rows_told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    mine = rows_told.index(next(row for row in rows_told if row[:3] == ["fcn", "hidden", "**here**"]))
    assert rows_told[mine + 1] == ["", "", "Zhang et al. 2023", ".912 ±.001"]
    assert rows_told[mine + 2] == ["", "", "Strodthoff et al. 2021", ".918 ±.008"]


def test_a_task_may_name_its_store(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ONE.replace('["kinds"]', '["python/kinds"]'))
    read = on_store(read_grid(file), store)
    plain = read_grid(written(tmp_path / "plain", ONE))
    assert read.cells == plain.cells and [c.made for c in read.cells] == [c.made for c in plain.cells]
    both = written(tmp_path / "both", ONE.replace('["kinds"]', '["python/kinds", "kinds"]'))
    with pytest.raises(ValueError, match=r"grid.toml: the cell kinds/tiny-hidden-0 stands in the grid twice"):
        on_store(read_grid(both), store)


def test_two_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, GRID.replace('"tiny.toml"', '"more/Small.toml"'))
    written(tmp_path / "more")
    (tmp_path / "more/small.toml").rename(tmp_path / "more/Small.toml")
    with pytest.raises(ValueError, match=r"small.toml and .*more/Small.toml have one file name"):
        read_grid(file)
    again = '[[grid]]\nrecipes = ["./small.toml"]\ntasks = ["words"]\nseeds = [0]\n'
    assert len(read_grid(written(tmp_path, GRID + again)).cells) == 10  # one file, two blocks


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my net", "my net.toml: the recipes of a grid name folders, .*rename it"),
        ("con", "rename it"),
        ("net.", "rename it"),
        ("Mean", "cannot be called 'Mean': the table needs that name"),
    ],
)
def test_a_recipe_whose_name_cannot_be_a_folders_is_refused(tmp_path: Path, name: str, told: str) -> None:
    file = written(tmp_path, GRID.replace("tiny", name))
    (tmp_path / "tiny.toml").rename(tmp_path / f"{name}.toml")
    with pytest.raises(ValueError, match=told):
        read_grid(file)


def test_an_undefined_score_is_told_in_words(
    store: Store, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = pair
    read = read_grid(file)
    made = Bench(read, Place(out, store.path, ""), Table(read, store, "", 5), lambda now: None, 1)
    made.note(Outcome(read.cells[0]))
    found = made.table.finished[read.cells[0]]
    blank = found._replace(scores={"auroc": found.score._replace(value=float("nan"))})
    made.table.finished[read.cells[0]] = blank
    assert made.ended(read.cells[0]).startswith("AUROC undefined, ")


def test_the_command_can_be_pasted() -> None:
    told = command(Path("my grid.toml"), Path("a store"), Path("out"), "cpu", 2)
    words = ["einthoven", "bench", "my grid.toml", "--data", "a store", "--out", "out", "--device", "cpu"]
    assert shlex.split(told) == [*words, "--ray", "2"]


def test_the_figure_has_room_for_long_names_and_many_arms(
    store: Store, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Three arms and a long name: nothing begins left of the edge, the legend stands once, above."""
    out, long = tmp_path / "figure", "a_network_whose_name_is_much_longer_than_others"
    made = tuple(
        Cell("kinds", name, f"{arm} {'x' * 30}", 0, {})
        for name in (long, "tiny")
        for arm in ("first", "second", "third")
    )
    read = Grid(Path("grid.toml"), "Trial", False, tuple(c.arm for c in made[:3]), made)
    table = Table(read, store, "", 5)
    for cell in made:
        assert table.take(cell, pair[1] / "runs/kinds/tiny-plain-0") == ""
    placed = layout(table)
    assert placed.margin > len(long) * 0.06 and len(placed.legend) == 1  # inches; a letter of 9 pt: 0.075
    assert sum(map(len, placed.legend)) == 3
    out.mkdir()
    write_figure(table, out / "figure.svg")
    text = (out / "figure.svg").read_text()
    assert text.count("● first") == 1 and text.count("120 records") == 1
    lines = legend(tuple(f"{n} {'x' * 40}" for n in range(4)), 8.0)
    assert [len(line) for line in lines] == [2, 2]


def test_a_run_of_another_recipe_is_refused_and_not_counted(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ONE)
    bench(file, store.path, tmp_path / "out")
    (tmp_path / "tiny.toml").write_text(RECIPE.format(width=5))
    with pytest.raises(ValueError, match=r"2 of 2 cells failed: .* is another recipe than this one"):
        bench(file, store.path, tmp_path / "out")
    assert "0 of 2 runs are finished, 2 failed" in (tmp_path / "out/table.md").read_text()
    assert len(pd.read_csv(tmp_path / "out/table.csv")) == 0


def test_the_table_is_current_after_every_cell(store: Store, tmp_path: Path) -> None:
    seen: list[Standing] = []
    pages: list[str] = []

    def watch(now: Standing) -> None:
        seen.append(now)
        if now.ended:
            pages.append((tmp_path / "out/table.md").read_text())

    bench(written(tmp_path, ONE), store.path, tmp_path / "out", watch=watch)
    assert [f"{n} of 2 runs" in page for n, page in enumerate(pages, 1)] == [True, False]
    assert (seen[0].finished, seen[0].cells, seen[0].run, seen[0].ended) == (0, 2, None, "")  # at once
    ended = [now for now in seen if now.ended]
    assert [now.finished for now in ended] == [1, 2] and ended[-1].left == 0
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
        ("seeds = [0, 1]", "seeds = [0, 1.5]", r"\[grid\] seeds is a list of whole numbers; got \[0, 1.5\]"),
        ('["kinds"]', '"kinds"', r"\[grid\] tasks is a list of words; got 'kinds'"),
        ("ensemble = true", 'ensemble = "yes"', "ensemble is true or false; got 'yes'"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "seeds are whole numbers from 0 to 2147483647, got -1"),
        ("seeds = [0, 1]", "seeds = [0, 2147483648]", "from 0 to 2147483647, got 2147483648"),
        ("seeds = [0, 1]", "seeds = []", "one has no seeds"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "the cell kinds/small-hidden-0 stands in the grid twice"),
        ('"tiny.toml"]', '"tiny.toml", "./tiny.toml"]', "tiny-hidden-0 stands in the grid twice"),
        ('"tiny.toml"', '"absent.toml"', "No recipe at .*absent.toml"),
        ('["kinds"]', '["kind"]', "no task 'kind' in .*Did you mean 'kinds'"),
        ('name = "plain"', 'name = "hidden"', "two arms are called 'hidden'"),
        ('name = "plain"', 'name = "Hidden"', "two arms are called 'hidden'"),
        ('name = "plain"', 'name = "a/b"', "an .*arm.* needs a name of letters"),
        ('name = "plain"', 'name = "nul"', "an .*arm.* needs a name .*got 'nul'"),
        ('name = "plain"', 'name = "a."', "an .*arm.* needs a name .*got 'a.'"),
        ('name = "plain"', "", "needs a name of letters.*got ''"),
        ('["head.hidden=[]"]', '["seed=3"]', "arm 'plain' changes the seed or the task"),
        ('["head.hidden=[]"]', '["task.column=age"]', r"-plain-0 differ in \[task\]"),
        ("set = [", 'set = ["task.above=60", ', r"\[task\] above goes with a column"),
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
    file, out = written(tmp_path, ONE), tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["einthoven", "bench", str(file), "--data", str(store.path), "--out", str(out)]
    )
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1/2 kinds/tiny-hidden-0: AUROC 0.") and lines[0].endswith(" left")
    assert lines[1].startswith("2/2 kinds/tiny-plain-0: AUROC 0.") and not lines[1].endswith(" left")
    assert lines[2] == "# Trial"
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


def test_runs_to_start_from_say_nothing_of_those_that_start_from_them() -> None:
    begun, cell = Cell("first", "dtw", "", 0, {}), Cell("all@0.1", "probe", "dtw", 0, {})
    pace = Pace(lambda: 0.0)
    pace.took(begun, 600)
    ahead = [Cell("first", "dtw", "", 1, {}), cell]
    assert pace.left(ahead) == 600 and pace.blind(ahead)
    assert left_told(Standing(1, 3, cell, pace.left(ahead), more=True)) == "at least 10 min left"
    pace.took(cell, 20)
    assert pace.left([cell, *ahead]) == 640 and not pace.blind(ahead)


def test_ray_that_is_not_installed_is_one_line(
    grid: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--ray needs: pip install 'einthoven\[ray\]'"):
        bench(grid, store.path, tmp_path / "out", ray=2)
    with pytest.raises(ValueError, match="--ray takes the number of workers, got -1"):
        bench(grid, store.path, tmp_path / "out", ray=-1)
    assert not (tmp_path / "out").exists()


def test_a_ray_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("RAY_ADDRESS", address := f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(ValueError, match=f"No Ray cluster answers at RAY_ADDRESS={address}"):
            start(ModuleType("ray"), 2)


class RayError(Exception):
    """As ray's."""


class RayTaskError(RayError):
    """As ray's, around what was raised in the worker."""

    def __init__(self, cause: Exception):
        self.cause = cause


def broken_ray(ends: Exception) -> ModuleType:
    """Stand in for ray where it will not join, or where a worker ends badly."""

    def fail(*_: object, **__: object) -> None:
        raise ends

    made = ModuleType("ray")
    vars(made).update(init=fail, get=fail, exceptions=ModuleType("exceptions"))
    vars(made.exceptions).update(RayError=RayError, RayTaskError=RayTaskError)
    return made


def test_a_ray_cluster_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ValueError, match="Ray cluster at RAY_ADDRESS=auto: ConnectionError: not found$"):
        start(broken_ray(ConnectionError("not found\nmore")), 2)


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (RayError(), r"its worker died \(RayError\); the same command goes on"),
        (RayTaskError(ImportError("no libcuda\nmore")), "ImportError: no libcuda$"),
    ],
)
def test_a_worker_of_ray_that_ends_badly_is_its_cells_failure(ends: Exception, told: str) -> None:
    cell = Cell("kinds", "small", "hidden", 0, {})
    outcome = result(broken_ray(ends), None, cell)
    assert outcome.cell == cell and re.match(told, outcome.reason)


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
    one = ONE.replace("head.hidden", "head.hidde")
    call = [sys.executable, "-c", ON_RAY, str(written(tmp_path, one)), str(store.path), str(tmp_path / "out")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=quiet, check=False, timeout=300)
    assert "1 of 2 cells failed: kinds/tiny-plain-0" in done.stderr
    assert len(list(tmp_path.glob("out/runs/*/*/results.json"))) == 1
