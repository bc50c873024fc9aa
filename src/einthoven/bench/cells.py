"""Run the cells of a grid, each into a run folder of its own; what fails is told, not raised."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from einthoven.bench.asked import FIRST, Cell
from einthoven.bench.facts import begun_on
from einthoven.data.files import FULL, write_text
from einthoven.recipe import written
from einthoven.run import Progress, Watch, train


class Outcome(NamedTuple):
    """What became of a cell: finished, or the reason why not; and how long that took."""

    cell: Cell
    reason: str = ""
    seconds: float = 0.0
    full: bool = False  # the disk is, so that no other cell can do better


Told = Callable[[Cell, Progress], None]


@dataclass(frozen=True)
class Place:
    """Where the cells of a bench are, and on what they run."""

    out: Path
    data: Path
    fingerprint: str
    device: str | None = None

    def run(self, cell: Cell) -> Path:
        """Return the run folder of a cell."""
        return self.out / "runs" / str(cell)

    def recipe(self, cell: Cell) -> dict[str, Any]:
        """Return the recipe of a cell; a run of this bench that it follows gets its path."""
        made = {key: dict(table) if isinstance(table, dict) else table for key, table in cell.made.items()}
        for table, key in ((made["backbone"], "start"), (made.get("split", {}), "after")):
            if str(table.get(key, "")).startswith(f"{FIRST}/"):
                table[key] = str((self.out / "runs" / table[key]).resolve())
        return made

    def key(self, cell: Cell) -> str:
        """Return what a finished run must have been asked: its recipe, and that of the run it starts from."""
        return written(cell.made) + (f"\n# starts from\n{written(cell.begun)}" if cell.begun else "")

    def asked(self, cell: Cell) -> Path:
        """Return the file beside a finished run that says which recipe it answers."""
        folder = self.run(cell)
        return folder.with_name(f"{folder.name}.toml")

    def kept(self, cell: Cell) -> Outcome | None:
        """Return a cell that is finished for this recipe and store, or damaged; nothing is planned again."""
        run, asked = self.run(cell), self.asked(cell)
        if not (run / "recipe.toml").is_file():
            return None
        try:
            fits = begun_on(run) == self.fingerprint
        except ValueError as damage:
            return Outcome(cell, str(damage))
        finished = (run / "results.json").is_file() and asked.is_file()
        same = finished and fits and asked.read_text(encoding="utf-8") == self.key(cell)
        return Outcome(cell) if same else None

    def refuse_other_store(self) -> None:
        """Refuse a folder whose finished runs are all of another store: its table would be lost."""
        runs = [file.parent for file in sorted(self.out.glob("runs/*/*/results.json"))]
        stores = set()
        for run in runs:
            with suppress(ValueError):  # a damaged run is told with its cell
                stores.add(begun_on(run))
        if stores and self.fingerprint not in stores:
            raise ValueError(
                f"{self.out} holds {len(runs)} finished runs, and none was made on {self.data}: choose "
                "another --out, or the --data of those."
            )


def run_cell(place: Place, cell: Cell, watch: Watch = lambda progress: None) -> Outcome:
    """Train a cell, or take it up where it was."""
    began = time.monotonic()
    try:
        train(place.recipe(cell), place.data, place.run(cell), resume=True, device=place.device, watch=watch)
        write_text(place.asked(cell), place.key(cell))
    except (ValueError, RuntimeError, MemoryError, OSError) as wrong:
        # A recipe that cannot be, a GPU or a disk that is full: the other cells of a long night are to run.
        return Outcome(cell, reason_of(wrong), full=disk_full(wrong))
    return Outcome(cell, seconds=time.monotonic() - began)


def reason_of(wrong: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(wrong, ValueError):
        return " ".join(str(wrong).split())
    first = next(iter(str(wrong).strip().splitlines()), "")
    return f"{type(wrong).__name__}: {first}" if first else type(wrong).__name__


def disk_full(wrong: BaseException | None) -> bool:
    """Say whether a full disk is behind a failure."""
    while wrong is not None:
        if isinstance(wrong, OSError) and wrong.errno in FULL:
            return True
        wrong = wrong.__cause__
    return False


def one_by_one(place: Place, cells: Sequence[Cell], told: Told) -> Iterator[Outcome]:
    """Run cells in this process."""
    for cell in cells:
        yield run_cell(place, cell, partial(told, cell))
