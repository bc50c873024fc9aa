"""How long a bench will still take, from the cells that have finished."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from einthoven.bench.asked import FIRST, Cell


class Pace:
    """Remembers what cells cost; one that is like none costs what such cells do on average.

    Runs to start from are no such cells as those that start from them, nor the other way round.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.seconds: dict[tuple[str, ...], list[float]] = {}
        self.running: dict[
            Cell, tuple[float, float, float]
        ] = {}  # cell -> (share, when) first seen, share now

    def took(self, cell: Cell, seconds: float) -> None:
        """Note a finished cell."""
        self.running.pop(cell, None)
        for likeness in alike(cell):
            self.seconds.setdefault(likeness, []).append(seconds)

    def stopped(self, cell: Cell) -> None:
        """Forget a cell that failed."""
        self.running.pop(cell, None)

    def stands(self, cell: Cell, share: float) -> None:
        """Note how far a running cell is; a resumed one begins further on."""
        first, when, _ = self.running.get(cell, (share, self.clock(), share))
        self.running[cell] = (first, when, share)

    def guess(self, cell: Cell) -> float:
        """Return the seconds that a whole cell should take, NaN if nothing is known."""
        for likeness in alike(cell):
            if likeness in self.seconds:
                return fmean(self.seconds[likeness])
        return math.nan

    def projected(self) -> Mapping[Cell, float]:
        """Return what the running cells would take at the speed that they have now."""
        now = self.clock()
        return {
            cell: (now - when) / (share - first)
            for cell, (first, when, share) in self.running.items()
            if share - first > 0.02
        }

    def left(self, ahead: Iterable[Cell], workers: int = 1) -> float:
        """Return the seconds until all cells ahead, the running ones among them, are done."""
        each = self.each(ahead)
        known = [seconds for seconds in each if not math.isnan(seconds)]
        return sum(known) / max(workers, 1) if known or not each else math.nan

    def blind(self, ahead: Iterable[Cell]) -> bool:
        """Say whether nothing is known of some cells ahead, so that there is more left than `left` says."""
        return any(map(math.isnan, self.each(ahead)))

    def each(self, ahead: Iterable[Cell]) -> list[float]:
        """Return what is left of each cell ahead, in seconds, NaN where nothing like it is known."""
        here, told = self.projected(), []
        for cell in ahead:
            alike_now = [seconds for other, seconds in here.items() if first(other) == first(cell)]
            usual = fmean(alike_now) if alike_now else math.nan
            known = self.guess(cell)
            whole = here.get(cell, usual if math.isnan(known) else known)
            told.append(whole * (1 - self.running.get(cell, (0, 0, 0))[2]))
        return told


def first(cell: Cell) -> bool:
    """Say whether others start from a cell."""
    return cell.task == FIRST


def alike(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """List what a cell has in common with others, the closest likeness first."""
    kind = (str(first(cell)),)
    return (
        (*kind, cell.recipe, cell.task, cell.arm),
        (*kind, cell.recipe, cell.task),
        (*kind, cell.recipe),
        kind,
    )
