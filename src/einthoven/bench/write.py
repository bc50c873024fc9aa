"""The long table as CSV, and the times apart from it: equal runs give equal bytes of `table.csv`."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from einthoven.bench.table import Line, Table
from einthoven.data.files import write_text

COLUMNS = ["task", "metric", "recipe", "arm", "of", "seeds", "score", "low", "high", "sd"]
COLUMNS += ["gain", "gain_low", "gain_high", "p", "gain_seeds", "parameters", "test_records", "test_patients"]
COLUMNS += ["labels", "scored", "validation"]
TIMES = ["task", "recipe", "arm", "seed", "seconds", "train_seconds", "records_per_second", "steps"]
TIMES += ["parameters", "device", "torch"]


def write_csv(table: Table, path: Path) -> None:
    """Write one line per run, per mean over seeds, per ensemble and per mean gain; no times."""
    save(path, COLUMNS, [cells(line, table) for line in table.lines()])


def write_times(table: Table, path: Path) -> None:
    """Write what every finished run cost."""
    rows = [
        [cell.task, cell.recipe, cell.arm, cell.seed, f"{seconds:.1f}"]
        for cell, seconds in table.firsts.items()
    ]
    rows = [row + [""] * (len(TIMES) - len(row)) for row in rows]
    for cell in sorted(table.finished, key=table.grid.cells.index):
        told = table.finished[cell].facts
        times = [f"{told.seconds:.1f}", told.train_seconds, f"{told.records_per_second:.1f}", told.steps]
        rest = [told.parameters, told.device, told.torch]
        rows.append([cell.task, cell.recipe, cell.arm, cell.seed, *times, *rest])
    save(path, TIMES, rows)


def cells(line: Line, table: Table) -> list[Any]:
    """Spell a line."""
    score = line.score or (math.nan,) * 3
    gain = line.gain[:4] if line.gain else (math.nan,) * 4
    paired = line.gain.seeds if line.gain else ()
    facts = table.facts(line.task)
    assert facts is not None  # a line has a finished run
    records, patients = facts.counts["test"]
    told: list[Any] = [line.task, line.metric, line.recipe, line.arm, line.of, listed(line.seeds)]
    told += [*map(spelt, (*score, line.sd, *gain)), listed(paired), line.parameters or ""]
    patients_told = patients if table.patients_named else ""
    return [*told, records, patients_told, facts.labels, facts.scored, spelt(line.validation)]


def listed(seeds: Sequence[int]) -> str:
    """List seeds in one cell."""
    return " ".join(map(str, seeds))


def spelt(value: float) -> str:
    """Write a figure; what is not defined is empty."""
    return "" if math.isnan(value) else f"{value:.6f}"


def save(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    write_text(path, text.getvalue())
