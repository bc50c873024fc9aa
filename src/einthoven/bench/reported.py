"""What reports add to ECGs, arm by arm: each alone, both, both with another's report, and with none."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from einthoven.bench.asked import Cell
from einthoven.bench.facts import REMOVE, whole
from einthoven.bench.spell import aligned, figure, gap, interval_of, p_value
from einthoven.bench.table import Finished, Gain, Referee, Score, Table, bounds, judged, less, mean
from einthoven.data.files import read_json

FILE = "reports.parquet"
BOTH = "both"
ALONE = ("ECG alone", "text alone", "text alone, n-grams")  # what both must beat
OTHER = "ECG alone, arm "  # one of the grid whose recipe reads no report
Answers = dict[str, Score]  # how it was answered -> mean over seeds


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
        yield answers_table(table, task, found)


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


def answers_table(table: Table, task: str, found: Mapping[str, Mapping[int, Finished]]) -> str:
    """Lay out one task: a line for each way to answer, a column for each arm that reads reports."""
    referee = table.referees[task]
    plain = {name: runs for name, runs in networks(table, task).items() if not reads(runs)}
    columns = {name: scored(referee, runs, plain) for name, runs in found.items()}
    ways = list(dict.fromkeys(way for column in columns.values() for way in column))
    rows = [[way, *(cell(column.get(way)) for column in columns.values())] for way in ways]
    over = {name: hardest(referee, column) for name, column in columns.items()}
    rows.append(["gain over", *over.values()])
    rows.append(["gain", *(gain_cell(columns[name], way) for name, way in over.items())])
    return aligned(["answered from", *columns], rows)


def scored(
    referee: Referee, runs: Mapping[int, Finished], plain: Mapping[str, dict[int, Finished]]
) -> Answers:
    """Score every way to answer of one network, each the mean over its seeds, and the arms without."""
    each: dict[str, list[Score]] = {}
    main = next(iter(referee.metrics))
    for one in runs.values():
        for way, answers in read_reports(one.run, referee).items():
            each.setdefault(way, []).append(referee.score(main, answers))
    means = {way: mean(scores) for way, scores in each.items()}
    for name, other in plain.items():
        if same := [one.score for seed, one in other.items() if seed in runs]:
            means[OTHER + name] = mean(same)
    return means


def read_reports(run: Path, referee: Referee) -> dict[str, Float[np.ndarray, "record label"]]:
    """Read every answer of a run, in the order of the referee's records."""
    from pyarrow import parquet

    file = run / FILE
    with whole(file):
        table = parquet.read_table(file).to_pandas()
        place = {record: row for row, record in enumerate(table["record_id"])}
        order = [place[record] for record in np.asarray(referee.first.record)]
        labels = referee.first.labels
        last = f"/{labels[0]}"  # a label may hold a slash itself
        ways = [name.removesuffix(last) for name in table.columns if name.endswith(last)]
        ways.remove("truth")
        return {
            way: table[[f"{way}/{label}" for label in labels]].to_numpy(dtype=np.float64)[order]
            for way in ways
        }


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
