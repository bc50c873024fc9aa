"""A grid is a short TOML file: recipes x tasks x seeds x arms. Read it, and list its cells."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from einthoven import recipe as recipes
from einthoven.data.store import Store
from einthoven.parts import call, fits, frozen, hint

ENSEMBLE, MEAN = "ensemble", "mean"  # rows of the table that are no recipe
SEEDS = 2**31
# Names become folders: of one meaning on systems that do not tell x from X, and none that Windows keeps
# for its devices or shortens.
NAME = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w.-]*[\w-])?", re.IGNORECASE)
SAID: dict[Any, str] = {str: "a text in quotes", bool: "true or false"}
SAID |= {Sequence[str]: "a list of words", Sequence[int]: "a list of whole numbers"}


@dataclass(frozen=True)
class Arm:
    """An [[arm]]: edits that every recipe is run with. The first arm is the baseline."""

    name: str = ""
    set: Sequence[str] = ()


@dataclass(frozen=True)
class Block:
    """A [[grid]]: every recipe (a path from the grid's file) on every task with every seed."""

    recipes: Sequence[str] = ()
    tasks: Sequence[str] = ()
    seeds: Sequence[int] = ()


@dataclass(frozen=True)
class Asked:
    """What a grid file says, as it says it."""

    title: str = ""
    set: Sequence[str] = ()
    ensemble: bool = False
    grid: Any = ()
    arm: Any = ()


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    task: str
    recipe: str
    arm: str
    seed: int
    made: Mapping[str, Any] = field(compare=False, repr=False)  # the recipe with all edits

    def __str__(self) -> str:
        """Name the cell; below `runs/` this is its folder."""
        return f"{self.task}/{self.recipe}-{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Grid:
    """A grid that has been read: its cells are in the order in which they run."""

    file: Path
    title: str
    ensemble: bool
    arms: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the file."""
        return tuple(dict.fromkeys(cell.task for cell in self.cells))

    def recipes(self, task: str | None = None) -> tuple[str, ...]:
        """Return the recipes of all tasks or of one, in the order of the file."""
        return tuple(dict.fromkeys(c.recipe for c in self.cells if task in (None, c.task)))


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Name the grid's file in what is refused."""
    try:
        yield
    except ValueError as wrong:
        told = str(wrong)
        raise ValueError(told if str(file) in told else f"{file}: {told}") from wrong


def read_grid(file: Path) -> Grid:
    """Read a grid and make the recipe of every cell; raise ValueError for what cannot be meant."""
    with naming(file):
        asked: Asked = table_of(Asked, parsed(file), "grid file")
        arms = tuple(table_of(Arm, arm, "arm") for arm in tables(asked.arm, "arm"))
        blocks = [table_of(Block, block, "grid") for block in tables(asked.grid, "grid")]
        check(arms, blocks)
        refuse_namesakes(file.parent, blocks)
        cells = tuple(in_order(file, asked, arms, blocks))
        refuse_twins(cells)
    return Grid(file, asked.title or file.stem, asked.ensemble, tuple(arm.name for arm in arms), cells)


def parsed(file: Path) -> dict[str, Any]:
    """Read the TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as missing:
        raise ValueError(f"No grid at {file}; recipes/bench/ has some.") from missing
    except tomllib.TOMLDecodeError as wrong:
        raise ValueError(f"{file} is no TOML: {wrong}.") from wrong


def tables(said: Any, name: str) -> list[dict[str, Any]]:
    """Read [x] and [[x]] alike."""
    several = recipes.several(said)
    if not several or not all(isinstance(table, dict) for table in several):
        raise ValueError(f"a grid needs a table [[{name}]].")
    return several


def table_of(part: Any, said: Mapping[str, Any], where: str) -> Any:
    """Read one table; what is of the wrong kind is told in words, not in types."""
    for key, value in said.items():
        wanted = part.__annotations__.get(key)
        if wanted in SAID and not fits(frozen(value), wanted):
            got = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"[{where}] {key} is {SAID[wanted]}; got {got!r}.")
    return call(part, said, where=where)


def check(arms: Sequence[Arm], blocks: Sequence[Block]) -> None:
    """Refuse arms that cannot be told apart, and a [[grid]] that says too little or cannot be."""
    refuse_arms(arms)
    for block in blocks:
        for key in ("recipes", "tasks", "seeds"):
            if not getattr(block, key):
                raise ValueError(f"a [[grid]] needs recipes, tasks and seeds; one has no {key}.")
        if odd := [seed for seed in block.seeds if not 0 <= seed < SEEDS]:
            raise ValueError(f"seeds are whole numbers from 0 to {SEEDS - 1}, got {odd[0]}.")


def refuse_arms(arms: Sequence[Arm]) -> None:
    """Refuse names that are no folder's, and two of one name."""
    for arm in arms:
        if not NAME.fullmatch(arm.name):
            raise ValueError(
                f"an [[arm]] needs a name of letters, digits, _ and - fit for folders; got {arm.name!r}."
            )
    if twins := repeated(arm.name.casefold() for arm in arms):
        raise ValueError(f"two arms are called {twins[0]!r}.")


def repeated(names: Iterable[Any]) -> list[Any]:
    """Return what comes more than once."""
    return [name for name, times in Counter(names).items() if times > 1]


def refuse_namesakes(folder: Path, blocks: Sequence[Block]) -> None:
    """Refuse two recipes of one file name: a network's name in the table is that of its file."""
    found: dict[str, Path] = {}
    for path in (folder / recipe for block in blocks for recipe in block.recipes):
        other = found.setdefault(path.stem.casefold(), path)
        if other.resolve() != path.resolve():
            raise ValueError(
                f"{other} and {path} have one file name, which the table needs for one network: rename one."
            )


def in_order(file: Path, asked: Asked, arms: Sequence[Arm], blocks: Sequence[Block]) -> Iterator[Cell]:
    """Yield the cells: seed by seed, so that the first round fills the table; the arms of a pair adjacent."""
    for turn in range(max(len(block.seeds) for block in blocks)):
        for block in (block for block in blocks if turn < len(block.seeds)):
            for task in block.tasks:
                for path in block.recipes:
                    for arm in arms:
                        yield cell(file.parent / path, arm, task, block.seeds[turn], asked.set)


def cell(path: Path, arm: Arm, task: str, seed: int, sets: Sequence[str]) -> Cell:
    """Make one cell's recipe; an arm may not change what the grid itself varies."""
    if path.stem.casefold() in (ENSEMBLE, MEAN):
        raise ValueError(f"a recipe of a grid cannot be called {path.stem!r}: the table needs that name.")
    if not NAME.fullmatch(path.stem):
        raise ValueError(
            f"{path}: the recipes of a grid name folders, so only letters, digits, _ and -: rename it."
        )
    made = recipes.load(path, [*sets, f'task.name="{task}"', f"seed={seed}", *arm.set])
    if made["seed"] != seed or made["task"].get("name") != task:
        raise ValueError(f"arm {arm.name!r} changes the seed or the task, which the grid chooses.")
    if odd := [key for key in ("column", "columns", "above") if key in made["task"]]:
        raise ValueError(
            f"{path}, arm {arm.name!r}: [task] {odd[0]} makes a task of its own; a bench takes multi-label "
            "tasks of the store, by name."
        )
    return Cell(task, path.stem, arm.name, seed, made)


def refuse_twins(cells: Sequence[Cell]) -> None:
    """Refuse cells that share a folder, and cells of one task with different test records."""
    names = {str(cell).casefold(): cell for cell in cells}
    if twins := repeated(str(cell).casefold() for cell in cells):
        raise ValueError(f"the cell {names[twins[0]]} stands in the grid twice.")
    for first in {cell.task: cell for cell in reversed(cells)}.values():
        for other in (cell for cell in cells if cell.task == first.task):
            if other.made.get("split") != first.made.get("split"):
                raise ValueError(f"{first} and {other} differ in [split]: the runs of a task need one.")


def on_store(grid: Grid, store: Store) -> Grid:
    """Return a grid with its tasks called as the store calls them; refuse one that the store has not."""
    cells = []
    for cell in grid.cells:
        task = cell.task.removeprefix(f"{store.source}/")
        if task not in store.tasks:
            known = ", ".join(store.tasks) or "none"
            raise ValueError(
                f"{grid.file}: no task {task!r} in {store.path}. Tasks: {known}.{hint(task, store.tasks)}"
            )
        made = {**cell.made, "task": {**cell.made["task"], "name": task}}
        cells.append(replace(cell, task=task, made=made))
    with naming(grid.file):
        refuse_twins(cells)
    return replace(grid, cells=tuple(cells))
