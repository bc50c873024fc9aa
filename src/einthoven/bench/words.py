"""The table for people: one Markdown page, aligned, with what it was made on."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

from einthoven.bench.asked import ENSEMBLE, MEAN
from einthoven.bench.beside import published_part
from einthoven.bench.facts import SPLITS
from einthoven.bench.published import full_version
from einthoven.bench.reported import reported_part
from einthoven.bench.spell import aligned, count, figure, gap, interval_of, p_value, sized
from einthoven.bench.table import Gain, Line, Table, column
from einthoven.bench.thinned import thinned_part
from einthoven.data.files import write_text

Mean = dict[tuple[str, str, str], Line]  # (column, row, arm) -> its mean over seeds, or over recipes


def write_markdown(table: Table, path: Path) -> None:
    """Write `table.md`."""
    write_text(path, "\n".join(page(table)).rstrip() + "\n")


def page(table: Table) -> Iterator[str]:
    """Yield the lines of the page."""
    means: Mean = {
        (line.column, line.recipe, line.arm): line
        for line in table.lines()
        if line.of in ("seeds", "recipes")
    }
    yield f"# {table.grid.title}\n"
    yield f"{made_on(table)}  "
    yield f"{standing(table)}\n"
    yield from score_part(table, means)
    yield from validation_part(table, means)
    yield from gain_part(table, means)
    yield from thinned_part(table)
    yield from reported_part(table)
    yield from ensemble_part(table)
    if full_version(table.store):
        yield from published_part(table, means)
    yield from failed_part(table)
    yield from records_part(table)
    yield from origin_part(table)


def made_on(table: Table) -> str:
    """Say on which ECGs the table was made, and whether that compares with what others publish."""
    store, version = table.store, full_version(table.store)
    whose = f" of {count(store.counts['patients'], 'patient')}" if table.patients_named else ""
    unknown = "" if whose else " Patients are unknown: each record counts as one of its own."
    if version:
        return f"Made on the full {version}: {count(len(store), 'record')}{whose}.{unknown}"
    made_up = "made-up ECGs, " if store.synthetic and "made-up" not in store.title else ""
    part = "a part of PTB-XL, " if store.source == "ptbxl" and "subset" not in store.title else ""
    return f"Made on {sized(store)}{whose}: {made_up}{part}not comparable with published figures.{unknown}"


def standing(table: Table) -> str:
    """Say how much of the grid is done."""
    done, cells = len(table.finished), len(table.grid.cells)
    if done == cells:
        return f"All {cells} runs are finished." if cells > 1 else "The run is finished."
    failed = f", {len(table.failed)} failed" if table.failed else ""
    return f"**Not complete: {done} of {count(cells, 'run')} are finished{failed}.**"


def score_part(table: Table, means: Mean) -> Iterator[str]:
    """Yield the scores."""
    grid = table.grid
    yield f"## {scored_by(table)}\n"
    yield "Mean over seeds (their standard deviation), × number of seeds.\n"
    for columns in pages_wide(table):
        rows = []
        for name, arm in product(networks(table), grid.arms):
            cells = [score_cell(table, means, column, name, arm) for column in columns]
            rows += [[name, arm, *cells]] if any(cells) else []
        yield aligned(["network", "arm", *columns], rows, left=2)


def validation_part(table: Table, means: Mean) -> Iterator[str]:
    """Yield what one may choose by."""
    mains = {column(task, table.metrics(task)[0]) for task in table.grid.tasks}
    tables = []
    for columns in ([name for name in some if name in mains] for some in pages_wide(table)):
        rows = []
        for name, arm in product(table.grid.recipes(), table.grid.arms):
            lines = [means.get((place, name, arm)) for place in columns]
            cells = [figure(line.validation) if line else "" for line in lines]
            rows += [[name, arm, *cells]] if any(cells) else []
        tables += [aligned(["network", "arm", *columns], rows, left=2)] if rows else []
    if tables:
        yield "## Validation\n"
        yield "The same on the validation split, mean over seeds: what a choice may rest on.\n"
        yield from tables


def pages_wide(table: Table, most: int = 8) -> list[list[str]]:
    """Break the columns into tables: one, or where they are many, one for what differs in its share only."""
    if len(table.columns) <= most:
        return [list(table.columns)]
    found: dict[tuple[str, str], list[str]] = {}
    for name, task in table.columns.items():
        found.setdefault((task.partition("@")[0], name.removeprefix(task)), []).append(name)
    return list(found.values())


def scored_by(table: Table) -> str:
    """Say what the scores are: areas, or what the columns name."""
    kinds = {table.metrics(task)[0] for task in table.grid.tasks}
    return "Test macro AUROC" if kinds == {"auroc"} else "Test scores"


def networks(table: Table) -> list[str]:
    """List the rows of the table, the ensemble last."""
    together = [ENSEMBLE] if any(table.members(task).recipes for task in table.grid.tasks) else []
    return [*table.grid.recipes(), *together]


def score_cell(table: Table, means: Mean, column: str, name: str, arm: str) -> str:
    """Write one mean, or say why there is none."""
    mine = (table.columns[column], name, arm)
    asked = [c for c in table.grid.cells if (c.task, c.recipe, c.arm) == mine]
    failed = sum(cell in table.failed for cell in asked)
    line = means.get((column, name, arm))
    if line is None:
        return "failed" if failed else "..." if asked else ""
    assert line.score is not None
    spread = "-" if math.isnan(line.sd) else figure(line.sd)
    of = f" of {len(asked)}" if asked and len(line.seeds) < len(asked) else ""
    return f"{figure(line.score.value)} ({spread}) ×{len(line.seeds)}{of}"


def gain_part(table: Table, means: Mean) -> Iterator[str]:
    """Yield what each further arm gains over the first, and before that what a gain is."""
    grid = table.grid
    gained = {key: line.gain for key, line in means.items() if line.gain}
    if gained:
        yield from gains_explained(table, gained)
    for arm in grid.arms[1:]:
        tables = [(columns, gain_rows(table, gained, arm, columns)) for columns in pages_wide(table)]
        if any(rows for _, rows in tables):
            yield f"### What {arm} gains over {grid.arms[0]}\n"
        for columns, rows in tables:
            if rows:
                yield aligned(["network", *columns], rows)


def gain_rows(
    table: Table, gained: Mapping[tuple[str, str, str], Gain], arm: str, columns: Iterable[str]
) -> list[list[str]]:
    """Write the gains of an arm, network by network."""
    rows = []
    for name in [*table.grid.recipes(), MEAN, ENSEMBLE]:
        cells = [gain_cell(gained.get((column, name, arm))) for column in columns]
        if any(cells):
            rows.append([f"{MEAN} of networks" if name == MEAN else name, *cells])
    return rows


def gains_explained(table: Table, gained: Mapping[tuple[str, str, str], Gain]) -> Iterator[str]:
    """Say what gains, intervals and p-values are, once for all arms."""
    drawn = "test patients" if table.patients_named else "test records (patients are unknown)"
    yield "## Gains\n"
    yield (
        f"Mean over the seeds that both arms have finished, with its 95 % interval: {table.resamples:,} "
        f"resamples of the {drawn},\nthe same ones for every run. The interval covers the choice of the "
        f"{drawn.partition(' (')[0]}, not that of seeds."
    )
    if any(table.metrics(task)[0] == "rmse" for task in table.grid.tasks):
        yield "Of an RMSE or MAE less is better: a gain below zero is one."
    if any(name == MEAN for _, name, _ in gained):
        yield f"The {MEAN} is over the networks with a gain in the task."
    yield (
        f"p: two-sided, of no difference, not corrected for the number of comparisons (here {len(gained)}): "
        "where nothing\ndiffers, one in twenty is below .05.\n"
    )


def gain_cell(gain: Gain | None) -> str:
    """Write one gain."""
    if gain is None:
        return ""
    return f"{gap(gain.value)} {interval_of(gain)} {p_value(gain.p)}"


def ensemble_part(table: Table) -> Iterator[str]:
    """Say who is in the ensemble."""
    told = []
    for task in table.grid.tasks:
        names, seeds = table.members(task)
        if names:
            said = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            told.append(f"* {task}, {said}: {', '.join(names)}")
    if told:
        yield (
            f"{ENSEMBLE}: the mean of the probabilities, seed by seed, of the largest group of networks that "
            "have finished a\nseed in every arm, over all seeds that these share.\n"
        )
        yield "\n".join(told) + "\n"


def failed_part(table: Table) -> Iterator[str]:
    """Name what failed, and why."""
    if table.failed:
        yield "## Failed\n"
        ordered = sorted(table.failed, key=[*table.grid.first, *table.grid.cells].index)
        yield "\n".join(f"* {cell}: {table.failed[cell]}" for cell in ordered) + "\n"


def records_part(table: Table) -> Iterator[str]:
    """Count the records that each task was learned, chosen and judged on, and the labels judged."""
    rows = []
    for task in table.grid.tasks:
        if facts := table.facts(task):
            sizes = [
                f"{records:,} ({patients:,})" if table.patients_named else f"{records:,}"
                for records, patients in map(facts.counts.__getitem__, SPLITS)
            ]
            rows.append([task, str(facts.labels), str(facts.scored), *sizes])
    if rows:
        yield "## Records (patients)\n" if table.patients_named else "## Records\n"
        yield "Scored: labels that the test split holds with both values; the macro average is over these.\n"
        yield aligned(["task", "labels", "scored", *SPLITS], rows)


def origin_part(table: Table) -> Iterator[str]:
    """Say with what the table was made."""
    told = [run.facts for run in table.finished.values()]
    versions = [f"einthoven {facts.einthoven}, torch {facts.torch}" for facts in told]
    yield "## Made with\n"
    lines = {
        "store": f"fingerprint {table.store.fingerprint}",
        "command": f"`{table.command}`",
        "grid": str(table.grid.file),
        "version": unique(versions),
        "commit": unique(facts.git for facts in told if facts.git),
        "device": unique(facts.device for facts in told),
    }
    yield "\n".join(f"* {name}: {fact}" for name, fact in lines.items() if fact)
    yield "\nSeveral versions: runs of different code stand side by side.\n" * (len(set(versions)) > 1)


def unique(names: Iterable[str]) -> str:
    """List what differs."""
    return ", ".join(dict.fromkeys(names))
