"""Our figures beside published ones, for tables that were made on the full PTB-XL."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from einthoven.bench.published import Published, published
from einthoven.bench.spell import aligned, figure
from einthoven.bench.table import Line, Table
from einthoven.data.split import Rule
from einthoven.parts import call
from einthoven.recipe import several

EPOCHS = 50  # of the benchmark
Network = tuple[str, str]  # backbone and head


def published_part(table: Table, means: Mapping[tuple[str, str, str], Line]) -> Iterator[str]:
    """Yield one table: our networks, and below them what others found with the same one."""
    theirs, about = published()
    tasks = [task for task in table.grid.tasks if task in theirs[0].score and official_split(table, task)]
    ours: dict[Network | None, list[list[str]]] = {}
    for recipe in table.grid.recipes():
        for arm in table.grid.arms:
            mine = [means.get((task, recipe, arm)) for task in tasks]
            if any(mine):
                row = [recipe, arm, "**here**", *map(our_cell, mine)]
                ours.setdefault(benchmark_network(table, recipe, arm), []).append(row)
    if not ours:
        return
    alone = ours.pop(None, [])  # networks of ours that nobody has published
    rows = []
    for network, here in ours.items():
        same = [row for row in theirs if (row.backbone, row.head) == network]
        rows += [*here, *(their_row(row, tasks) for row in same)]
    rows += [*alone, *(their_row(row, tasks) for row in theirs if row.name)]
    yield "## Beside published figures\n"
    yield (
        "Test macro AUROC; here: mean ± standard deviation over seeds. Below ours stands what others found "
        f"with the same\nnetwork: backbone without options, head of that name, {EPOCHS} epochs, labels as "
        "they are. Learning may differ otherwise.\n"
    )
    yield aligned(["network", "arm", "who", *tasks], rows, left=3)
    yield "\n".join(f"* {name}: {what}" for name, what in about.items()) + "\n"


def official_split(table: Table, task: str) -> bool:
    """Say whether a task's runs learn from folds 1-8, choose on 9 and are tested on 10."""
    made = next(cell.made for cell in table.grid.cells if cell.task == task)  # all have one [split]
    rule: Rule = call(Rule, made.get("split", {}), where="split")
    return rule.by != "patient" and folds(rule) == folds(Rule())


def folds(rule: Rule) -> list[set[int]]:
    """Return the folds of a rule."""
    return [set(rule.train), set(rule.validation), set(rule.test)]


def benchmark_network(table: Table, recipe: str, arm: str) -> Network | None:
    """Return the backbone and the head of a network that is built and taught as the benchmark's."""
    made: Mapping[str, Any] = next(
        cell.made for cell in table.grid.cells if (cell.recipe, cell.arm) == (recipe, arm)
    )
    epochs = made.get("train", {}).get("epochs", EPOCHS)
    if set(made["backbone"]) != {"name"} or epochs != EPOCHS or made.get("task", {}).get("flip"):
        return None
    heads = [str(head.get("name", "")) for head in several(made.get("head", []))]
    network = made["backbone"]["name"], " + ".join(heads)
    known = any((row.backbone, row.head) == network for row in published()[0])
    return network if known else None


def their_row(row: Published, tasks: list[str]) -> list[str]:
    """Write what others found."""
    cells = [figure(row.score[task]) + spread(row.spread[task]) for task in tasks]
    return [row.name, "", row.source, *cells]


def our_cell(line: Line | None) -> str:
    """Write our figure."""
    if line is None or line.score is None:
        return ""
    return figure(line.score.value) + spread(line.sd)


def spread(value: float) -> str:
    """Write what stands behind a figure."""
    return "" if math.isnan(value) else f" ±{figure(value)}"
