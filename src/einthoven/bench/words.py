"""The table for people: one Markdown page, aligned, with what it was made on."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from einthoven.bench.beside import published_part
from einthoven.bench.grid import ENSEMBLE, MEAN
from einthoven.bench.published import full_version
from einthoven.bench.spell import aligned, count, figure, gap, interval_of, p_value
from einthoven.bench.table import Gain, Line, Table
from einthoven.data.files import write_text
from einthoven.data.store import Store

Mean = dict[tuple[str, str, str], Line]  # (task, row, arm) -> its mean over seeds, or over recipes


def write_markdown(table: Table, path: Path) -> None:
    """Write `table.md`."""
    write_text(path, "\n".join(page(table)).rstrip() + "\n")


def page(table: Table) -> Iterator[str]:
    """Yield the lines of the page."""
    means: Mean = {
        (line.task, line.recipe, line.arm): line for line in table.lines() if line.of in ("seeds", "recipes")
    }
    yield f"# {table.grid.title}\n"
    yield f"{made_on(table)}  "
    yield f"{standing(table)}\n"
    yield from score_part(table, means)
    yield from gain_part(table, means)
    yield from ensemble_part(table)
    if full_version(table.store):
        yield from published_part(table, means)
    yield from failed_part(table)
    yield from records_part(table)
    yield from origin_part(table)


def made_on(table: Table) -> str:
    """Say on which ECGs the table was made, and whether that compares with what others publish."""
    store, version = table.store, full_version(table.store)
    if version:
        return f"Made on the full {version}: {len(store):,} records of {store.counts['patients']:,} patients."
    unlike = "made-up ECGs: " if store.synthetic else "a subset of PTB-XL: " * (store.source == "ptbxl")
    return (
        f"Made on {titled(store)}: {count(len(store), 'record')} of {store.counts['patients']:,} patients "
        f"({unlike}not comparable with published figures)."
    )


def titled(store: Store) -> str:
    """Return a store's title as part of a sentence."""
    return store.title.rstrip(".")


def standing(table: Table) -> str:
    """Say how much of the grid is done."""
    done, cells = len(table.finished), len(table.grid.cells)
    if done == cells:
        return f"All {cells} runs are finished."
    failed = f", {len(table.failed)} failed" if table.failed else ""
    return f"**Not complete: {done} of {cells} runs are finished{failed}.**"


def score_part(table: Table, means: Mean) -> Iterator[str]:
    """Yield the scores."""
    grid = table.grid
    yield "## Test macro AUROC\n"
    yield "Mean over seeds (their standard deviation), × number of seeds.\n"
    rows = []
    for name in networks(table):
        for arm in grid.arms:
            rows.append([name, arm, *(score_cell(table, means, task, name, arm) for task in grid.tasks)])
    yield aligned(["network", "arm", *grid.tasks], rows, left=2)


def networks(table: Table) -> list[str]:
    """List the rows of the table, the ensemble last."""
    together = [ENSEMBLE] if any(table.members(task) for task in table.grid.tasks) else []
    return [*table.grid.recipes(), *together]


def score_cell(table: Table, means: Mean, task: str, name: str, arm: str) -> str:
    """Write one mean, or say why there is none."""
    mine = (task, name, arm)
    asked = [c for c in table.grid.cells if (c.task, c.recipe, c.arm) == mine]
    failed = sum(cell in table.failed for cell in asked)
    line = means.get(mine)
    if line is None:
        return "failed" if failed else "..." if asked else ""
    assert line.score is not None
    spread = "-" if math.isnan(line.sd) else figure(line.sd)
    of = f" of {len(asked)}" if asked and len(line.seeds) < len(asked) else ""
    return f"{figure(line.score.value)} ({spread}) ×{len(line.seeds)}{of}"


def gain_part(table: Table, means: Mean) -> Iterator[str]:
    """Yield what each further arm gains over the first."""
    grid = table.grid
    gained = {key: line.gain for key, line in means.items() if line.gain}
    for arm in grid.arms[1:]:
        rows = []
        for name in [*grid.recipes(), MEAN, ENSEMBLE]:
            cells = [gain_cell(gained.get((task, name, arm))) for task in grid.tasks]
            if any(cells):
                rows.append([f"{MEAN} of networks" if name == MEAN else name, *cells])
        several = any((task, MEAN, arm) in gained for task in grid.tasks)
        if rows:
            yield f"## What {arm} gains over {grid.arms[0]}\n"
            yield (
                f"Mean over the seeds that both have finished, with its 95 % interval: {table.resamples:,} "
                "resamples of the test patients,\nthe same ones for every run. The interval covers the "
                "choice of test patients, not that of seeds."
            )
            yield f"The {MEAN} is over the networks with a gain in the task.\n" if several else ""
            yield aligned(["network", *grid.tasks], rows)


def gain_cell(gain: Gain | None) -> str:
    """Write one gain."""
    if gain is None:
        return ""
    return f"{gap(gain.value)} {interval_of(gain)} {p_value(gain.p)}"


def ensemble_part(table: Table) -> Iterator[str]:
    """Say who is in the ensemble."""
    told = []
    for task in table.grid.tasks:
        groups: dict[tuple[str, ...], list[str]] = {}
        for seed, names in table.members(task).items():
            groups.setdefault(names, []).append(str(seed))
        told += [
            f"* {task}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {', '.join(names)}"
            for names, seeds in groups.items()
        ]
    if told:
        yield (
            f"{ENSEMBLE}: the mean of the probabilities, seed by seed, of the networks that have finished "
            "the seed in every arm.\n"
        )
        yield "\n".join(told) + "\n"


def failed_part(table: Table) -> Iterator[str]:
    """Name what failed, and why."""
    if table.failed:
        yield "## Failed\n"
        ordered = sorted(table.failed, key=table.grid.cells.index)
        yield "\n".join(f"* {cell}: {table.failed[cell]}" for cell in ordered) + "\n"


def records_part(table: Table) -> Iterator[str]:
    """Count the records that each task was learned, chosen and judged on."""
    rows = []
    for task in table.grid.tasks:
        found = next((run.results for cell, run in table.finished.items() if cell.task == task), None)
        if found:
            sizes = [
                f"{said['records']:,} of {said['patients']:,}" for said in map(found["counts"].get, SPLITS)
            ]
            rows.append([task, str(len(found["task"]["labels"])), *sizes])
    if rows:
        yield "## Records of patients\n"
        yield aligned(["task", "labels", *SPLITS], rows)


SPLITS = ("train", "validation", "test")


def origin_part(table: Table) -> Iterator[str]:
    """Say with what the table was made."""
    told = [run.environment for run in table.finished.values()]
    versions = [f"einthoven {x['versions']['einthoven']}, torch {x['versions']['torch']}" for x in told]
    commits = [x["git"] for x in told if x["git"]]
    yield "## Made with\n"
    facts = {
        "store": f"{titled(table.store)}, fingerprint {table.store.fingerprint}",
        "command": f"`{table.command}`",
        "grid": str(table.grid.file),
        "version": unique(versions),
        "commit": unique(commits),
        "device": unique(x["device"] for x in told),
    }
    yield "\n".join(f"* {name}: {fact}" for name, fact in facts.items() if fact)
    yield "\nSeveral versions: runs of different code stand side by side.\n" * (len(set(versions)) > 1)


def unique(names: Iterable[str]) -> str:
    """List what differs."""
    return ", ".join(dict.fromkeys(names))
