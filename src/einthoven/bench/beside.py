"""Our figures beside published ones, for tables that were made on the full PTB-XL."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from einthoven.bench.published import Published, published
from einthoven.bench.spell import aligned, figure
from einthoven.bench.table import Line, Table
from einthoven.recipe import several


def published_part(table: Table, means: Mapping[tuple[str, str, str], Line]) -> Iterator[str]:
    """Yield one table: each of our networks, and below it what others found with the same one."""
    theirs, about = published()
    tasks = [task for task in table.grid.tasks if task in theirs[0].score]
    split = {run.results["split"] for run in table.finished.values()}
    if not tasks or split != {"fold"}:
        return
    rows = []
    for recipe in table.grid.recipes():
        for arm in table.grid.arms:
            mine = [means.get((task, recipe, arm)) for task in tasks]
            same = [row for row in theirs if (row.backbone, row.head) == parts(table, recipe, arm)]
            if any(mine):
                rows.append([recipe, arm, "**here**", *map(ours, mine)])
                rows += [["", "", row.source, *(cell(row, task) for task in tasks)] for row in same]
    rows += [[row.name, "", row.source, *(cell(row, task) for task in tasks)] for row in theirs if row.name]
    yield "## Beside published figures\n"
    yield "Test macro AUROC; here: mean ± standard deviation over seeds.\n"
    yield aligned(["network", "arm", "who", *tasks], rows, left=3)
    yield "\n".join(f"* {name}: {what}" for name, what in about.items()) + "\n"


def parts(table: Table, recipe: str, arm: str) -> tuple[str, str]:
    """Return the backbone and the head of a network."""
    made: Mapping[str, Any] = next(
        cell.made for cell in table.grid.cells if (cell.recipe, cell.arm) == (recipe, arm)
    )
    heads = [str(head.get("name", "")) for head in several(made.get("head", []))]
    return made["backbone"].get("name", ""), " + ".join(heads)


def ours(line: Line | None) -> str:
    """Write our figure."""
    if line is None or line.score is None:
        return ""
    return figure(line.score.value) + spread(line.sd)


def cell(row: Published, task: str) -> str:
    """Write a published figure."""
    return figure(row.score[task]) + spread(row.spread[task])


def spread(value: float) -> str:
    """Write what stands behind a figure."""
    return "" if math.isnan(value) else f" ±{figure(value)}"
