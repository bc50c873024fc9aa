"""What reports add to ECGs, arm by arm: each alone, both, both with another's report, and with none."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.bench.asked import Cell
from einthoven.bench.facts import REMOVE, whole
from einthoven.bench.spell import aligned, figure, gap, interval_of, p_value
from einthoven.bench.table import Finished, Gain, Referee, Score, Table, bounds, judged, less, mean
from einthoven.data.files import read_json
from einthoven.evaluate.bootstrap import evaluated
from einthoven.fused import ALONE, BOTH, GROUP, SHARES, WITHHELD, lacking

FILE = "reports.parquet"
OTHER = "ECG alone, arm "  # one of the grid whose recipe reads no report
Answers = dict[str, Score]  # how it was answered -> mean over seeds


class Said(NamedTuple):
    """What one run said of the test records."""

    ways: dict[str, Float[np.ndarray, "record label"]]
    groups: dict[str, Bool[np.ndarray, " record"]]
    order: Int[np.ndarray, " record"]  # in which records lose their reports


def reported_part(table: Table) -> Iterator[str]:
    """Yield a table for each task in which some arm reads reports."""
    for task in table.grid.tasks:
        found = {name: runs for name, runs in networks(table, task).items() if reads(runs)}
        if not found:
            continue
        leaky = sorted(name for name, runs in found.items() if any(map(leaks, runs.values())))
        yield f"## What reports add: {task}\n"
        if leaky:
            yield (
                f"**LEAKY: {', '.join(leaky)}.** There the text states what is asked (`einthoven audit`): "
                "these figures say\nnothing about patients whose report is not yet written.\n"
            )
        yield (
            "Mean over seeds. Gain: both less the best of all that read the ECG alone or the text alone, by "
            "these very figures;\npaired over resampled patients.\n"
        )
        yield from tables(table, task, found)


def networks(table: Table, task: str) -> dict[str, dict[int, Finished]]:
    """Return the finished runs of a task by what tells them apart: arm, and recipe where it is needed."""
    cells = [cell for cell in table.finished if cell.task == task]
    by_arm: dict[str, set[str]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm, set()).add(cell.recipe)

    def name(cell: Cell) -> str:
        return cell.arm if len(by_arm[cell.arm]) == 1 else f"{cell.recipe}, {cell.arm}"

    ordered = dict.fromkeys((cell.recipe, cell.arm, name(cell)) for cell in table.grid.cells if cell in cells)
    return {called: table.runs(task, recipe, arm) for recipe, arm, called in ordered}


def reads(runs: Mapping[int, Finished]) -> bool:
    """Say whether runs read reports."""
    return any((one.run / FILE).is_file() for one in runs.values())


def leaks(one: Finished) -> bool:
    """Say whether the text of a run states the answer."""
    return bool(read_json(one.run / "results.json", "reports", "leaky", remedy=REMOVE))


def tables(table: Table, task: str, found: Mapping[str, Mapping[int, Finished]]) -> Iterator[str]:
    """Lay out one task: ways to answer, groups of records, reports that are missing."""
    referee = table.referees[task]
    plain = {name: runs for name, runs in networks(table, task).items() if not reads(runs)}
    said = {name: [read_reports(one.run, referee) for one in runs.values()] for name, runs in found.items()}
    columns = {name: scored(referee, said[name]) | beside(plain, found[name]) for name in said}
    ways = list(dict.fromkeys(way for column in columns.values() for way in column))
    rows = [[way, *(cell(column.get(way)) for column in columns.values())] for way in ways]
    over = {name: hardest(referee, column) for name, column in columns.items()}
    rows.append(["gain over", *over.values()])
    rows.append(["gain", *(gain_cell(columns[name], way) for name, way in over.items())])
    yield aligned(["answered from", *columns], rows)
    yield from group_table(referee, said)
    yield missing_table(referee, said)


def group_table(referee: Referee, said: Mapping[str, Sequence[Said]]) -> Iterator[str]:
    """Lay out who gains in which group, over the better side of the whole split."""
    rows = []
    for name, runs in said.items():
        over = hardest(referee, scored(referee, runs))
        for group, some in runs[0].groups.items():
            column = scored(referee, runs, some)
            cells = [cell(column[way]) for way in (ALONE[0], over, BOTH)]
            rows.append([group, name, f"{int(some.sum()):,}", *cells, gain_cell(column, over)])
    if rows:
        head = ["test records", "arm", "ECGs", ALONE[0], "better side", BOTH, "gain over it"]
        yield aligned(head, sorted(rows, key=lambda row: row[0]), left=2)


def missing_table(referee: Referee, said: Mapping[str, Sequence[Said]]) -> str:
    """Lay out what is left of both while reports are missing."""
    main, rows = next(iter(referee.metrics)), []
    for name, runs in said.items():
        each = [
            [
                referee.score(main, lacking(share, one.order, one.ways[BOTH], one.ways[WITHHELD]))
                for one in runs
            ]
            for share in SHARES
        ]
        rows.append([name, *(cell(mean(scores)) for scores in each)])
    return aligned(["reports missing", *(f"{100 * share:.0f} %" for share in SHARES)], rows)


def scored(
    referee: Referee, runs: Sequence[Said], some: Bool[np.ndarray, " record"] | None = None
) -> Answers:
    """Score every way to answer, of all test records or some, each the mean over seeds."""
    main = next(iter(referee.metrics))
    truth, metric = referee.truths[main], referee.metrics[main]
    truth = truth if some is None else np.where(some[:, None], truth, np.nan)
    found: Answers = {}
    for way in runs[0].ways:
        each = [evaluated(metric, truth, one.ways[way], referee.weights) for one in runs]
        found[way] = mean([Score(float(value), draws) for value, draws in each])
    return found


def beside(plain: Mapping[str, Mapping[int, Finished]], runs: Mapping[int, Finished]) -> Answers:
    """Return the scores of the arms whose recipes read no report, over the same seeds."""
    same = {name: [one.score for seed, one in other.items() if seed in runs] for name, other in plain.items()}
    return {OTHER + name: mean(scores) for name, scores in same.items() if scores}


def read_reports(run: Path, referee: Referee) -> Said:
    """Read what a run said, in the order of the referee's records."""
    from pyarrow import parquet

    file = run / FILE
    with whole(file):
        table = parquet.read_table(file).to_pandas()
        place = {record: row for row, record in enumerate(table["record_id"])}
        table = table.iloc[[place[record] for record in np.asarray(referee.first.record)]]
        labels = referee.first.labels
        last = f"/{labels[0]}"  # a label may hold a slash itself
        names = [name.removesuffix(last) for name in table.columns if name.endswith(last)]
        names.remove("truth")
        ways = {way: table[[f"{way}/{label}" for label in labels]].to_numpy(np.float64) for way in names}
        groups = {
            c.removeprefix(GROUP): table[c].to_numpy(bool) for c in table.columns if c.startswith(GROUP)
        }
        return Said(ways, groups, table["missing"].to_numpy(np.int64))


def hardest(referee: Referee, column: Answers) -> str:
    """Return which answer from one side alone is the best."""
    falls = next(iter(referee.metrics)) == "rmse"
    sides = {way: score.value for way, score in column.items() if way in ALONE or way.startswith(OTHER)}
    return (min if falls else max)(sides, key=lambda way: sides[way])


def cell(score: Score | None) -> str:
    """Write a score with its interval."""
    if score is None:
        return ""
    found = bounds(score)
    return figure(found.value) + (
        "" if np.isnan(found.low) else f" [{figure(found.low)}, {figure(found.high)}]"
    )


def gain_cell(column: Answers, over: str) -> str:
    """Write what both gain."""
    found: Gain = judged(less(column[BOTH], column[over]), ())
    return f"{gap(found.value)} {interval_of(found)} {p_value(found.p)}"
