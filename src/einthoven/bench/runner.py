"""Run a grid, skip what is finished, and keep the table current."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from einthoven.bench.asked import Cell
from einthoven.bench.cells import Outcome, Place, one_by_one
from einthoven.bench.curve import write_curve
from einthoven.bench.figure import write_figure
from einthoven.bench.grid import Grid, on_store, read_grid
from einthoven.bench.pace import Pace
from einthoven.bench.table import SPELT, Table
from einthoven.bench.words import write_markdown
from einthoven.bench.write import write_csv, write_times
from einthoven.data.files import alone, one_line, read_json
from einthoven.data.store import open_store
from einthoven.log import seconds_of
from einthoven.run import Progress


class Standing(NamedTuple):
    """Where a bench stands, for whoever shows it."""

    finished: int
    cells: int
    cell: Cell  # the one that runs, has ended or comes next
    left: float  # seconds, NaN unknown
    run: Progress | None = None  # of the cell, while it runs
    ended: str = ""  # what became of the cell, once it has ended
    reading: bool = False  # cells that are finished already: `finished` of `cells` are read
    more: bool = False  # is left than `left`: nothing is known yet of some cells


Tell = Callable[[Standing], None]


@dataclass
class Bench:
    """A grid on its way into a table."""

    grid: Grid
    place: Place
    table: Table
    watch: Tell
    workers: int
    pace: Pace = field(default_factory=Pace)
    drawn: float = field(default_factory=time.monotonic)

    @property
    def every(self) -> list[Cell]:
        """All cells, runs to start from among them, in the order of running."""
        return [cell for some in self.grid.rounds for cell in some]

    def ahead(self, some: Sequence[Cell]) -> list[Cell]:
        """Return those cells that have not ended, in the order of running."""
        ended = self.table.finished.keys() | self.table.failed.keys() | self.table.firsts.keys()
        return [cell for cell in some if cell not in ended]

    def note(self, outcome: Outcome) -> None:
        """Take an ended cell into the table."""
        cell = outcome.cell
        first = cell in self.grid.first
        reason = outcome.reason or ("" if first else self.table.take(cell, self.place.run(cell)))
        if reason:
            self.table.failed[cell] = reason
            self.pace.stopped(cell)
        elif first:
            self.table.firsts[cell] = seconds_of(self.place.run(cell))
            self.pace.took(cell, max(self.table.firsts[cell], outcome.seconds))
        else:
            self.pace.took(cell, max(self.table.finished[cell].facts.seconds, outcome.seconds))

    def read(self) -> None:
        """Take in what is finished."""
        kept = [outcome for cell in self.every if (outcome := self.place.kept(cell))]
        for many, outcome in enumerate(kept):
            self.watch(Standing(many, len(kept), outcome.cell, float("nan"), reading=True))
            self.note(outcome)

    def told(self, cell: Cell, progress: Progress) -> None:
        """Pass on where a running cell stands."""
        self.pace.stands(cell, progress.step / max(progress.steps, 1))
        self.watch(self.standing(cell, run=progress))

    def standing(self, cell: Cell, run: Progress | None = None, ended: str = "") -> Standing:
        """Say where the bench stands."""
        ahead = self.ahead(self.every)
        left, cells = self.pace.left(ahead, self.workers), len(self.every)
        return Standing(cells - len(ahead), cells, cell, left, run, ended, more=self.pace.blind(ahead))

    def ended(self, cell: Cell) -> str:
        """Say what became of a cell."""
        if reason := self.table.failed.get(cell):
            return f"failed: {reason}"
        if cell in self.table.firsts:
            alarms = read_json(self.place.run(cell) / "results.json").get("alarms", ())
            return "; ".join(["to start from", *(f"Warning: {alarm}" for alarm in alarms)])
        found = self.table.finished[cell]
        value, name = found.score.value, SPELT[next(iter(found.scores))].removeprefix("macro ")
        return f"{name} {'undefined' if value != value else f'{value:.3f}'}, {found.facts.seconds:,.0f} s"

    def write(self) -> None:
        """Write the table of what there is; the figure takes longer, and so waits a minute for the next."""
        write_csv(self.table, self.place.out / "table.csv")
        write_times(self.table, self.place.out / "times.csv")
        write_markdown(self.table, self.place.out / "table.md")
        if time.monotonic() - self.drawn > 60:
            self.draw()

    def draw(self) -> None:
        """Write the figures of what there is."""
        write_figure(self.table, self.place.out / "figure.svg")
        write_curve(self.table, self.place.out / "curve.svg")
        self.drawn = time.monotonic()


def bench(
    grid: Path,
    data: Path,
    out: Path,
    *,
    device: str | None = None,
    ray: int = 0,
    watch: Tell = lambda standing: None,
) -> Path:
    """Run a grid on a store, and return the folder with `table.md`, `table.csv` and `figure.svg`.

    What is finished is kept, what was killed goes on. `ray` spreads the cells over so many workers of a
    Ray cluster. A cell that cannot run is named in the table, and by a ValueError when all others are done.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError("A bench trains one run after the other: start it without torchrun, or say --ray N.")
    asked, store = read_grid(grid), open_store(data)
    read = on_store(asked, store)
    outcomes = spread(ray) if ray else one_by_one
    with one_line(out):
        out.mkdir(parents=True, exist_ok=True)
    place = Place(out, data, store.fingerprint, device)
    made = Bench(read, place, Table(read, store, command(grid, data, out, device, ray)), watch, max(ray, 1))
    with alone(out):
        try:
            carry_out(made, outcomes)
        except KeyboardInterrupt as stop:
            done = f"{len(made.table.finished)} of {len(read.cells)} cells are finished"
            raise KeyboardInterrupt(
                f"Stopped: {done}, {out / 'table.md'} holds them. The same command goes on."
            ) from stop
    if failed := sorted(made.table.failed, key=made.every.index):
        names = ", ".join(map(str, failed[:8])) + f" and {len(failed) - 8} more" * (len(failed) > 8)
        raise ValueError(
            f"{len(failed)} of {len(made.every)} cells failed: {names}. {out / 'table.md'} has the rest and "
            f"the reasons. {failed[0]}: {made.table.failed[failed[0]]}"
        )
    return out


def carry_out(made: Bench, outcomes: Callable[..., Iterator[Outcome]]) -> None:
    """Take what is finished, run the rest, and write the table after every cell."""
    made.place.refuse_other_store()
    made.read()
    made.write()
    if ahead := made.ahead(made.every):
        made.watch(made.standing(ahead[0]))
    try:
        for some in made.grid.rounds:
            for outcome in outcomes(made.place, made.ahead(some), made.told):
                take(made, outcome)
    finally:
        made.draw()


def take(made: Bench, outcome: Outcome) -> None:
    """Note an ended cell and write the table."""
    if outcome.full:
        done = f"{len(made.table.finished)} of {len(made.grid.cells)} cells are finished"
        raise ValueError(
            f"The disk is full, and {outcome.cell} could not be written; {done}. Free some space, "
            "then the same command goes on."
        )
    made.note(outcome)
    made.write()
    made.watch(made.standing(outcome.cell, ended=made.ended(outcome.cell)))


def spread(workers: int) -> Callable[..., Iterator[Outcome]]:
    """Return what runs cells on a Ray cluster; loaded only when asked for."""
    from einthoven.bench.cluster import on_cluster

    if workers < 1:
        raise ValueError(f"--ray takes the number of workers, got {workers}.")
    return on_cluster(workers)


def command(grid: Path, data: Path, out: Path, device: str | None, ray: int) -> str:
    """Write the command that makes the table again."""
    words = ["einthoven", "bench", grid, "--data", data, "--out", out]
    words += ["--device", device] if device else []
    words += ["--ray", ray] if ray else []
    return shlex.join(map(str, words))
