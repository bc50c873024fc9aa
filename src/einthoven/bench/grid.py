"""A grid is a short TOML file: recipes x tasks x seeds x arms. Read it, and list its cells.

Runs that arms start from, such as a pre-training, stand in it as [[first]]: once for each seed.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from einthoven import recipe as recipes
from einthoven.bench.asked import ENSEMBLE, FIRST, MEAN, Arm, Asked, Block, Cell, First
from einthoven.data.split import Thin, described
from einthoven.data.store import Store
from einthoven.parts import call, fits, frozen, hint

DIVIDES = ("task", "split", "signal", "crop")  # tables that decide who is on which side
SEEDS = 2**31
# Names become folders: of one meaning on systems that do not tell x from X, and none that Windows keeps
# for its devices or shortens.
NAME = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w.-]*[\w-])?", re.IGNORECASE)
SAID: dict[Any, str] = {str: "a text in quotes", bool: "true or false"}
SAID |= {Sequence[str]: "a list of words", Sequence[int]: "a list of whole numbers"}
SAID |= {Sequence[float]: "a list of numbers"}


@dataclass(frozen=True)
class Grid:
    """A grid that has been read: its cells are in the order in which they run."""

    file: Path
    title: str
    ensemble: bool
    arms: tuple[str, ...]
    cells: tuple[Cell, ...]
    first: tuple[Cell, ...] = ()

    @property
    def rounds(self) -> list[tuple[Cell, ...]]:
        """Return what may run side by side: with runs to start from, those of a seed, then its cells."""
        if not self.first:
            return [self.cells]
        seeds = dict.fromkeys(cell.seed for cell in self.cells)
        begun = [tuple(cell for cell in self.first if bool(begins(cell)) == late) for late in (False, True)]
        each = [tuple(c for c in some if c.seed == seed) for seed in seeds for some in (*begun, self.cells)]
        return [cells for cells in each if cells]

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
        firsts = [table_of(First, first, FIRST) for first in tables(asked.first, FIRST, needed=False)]
        check(arms, blocks, firsts)
        refuse_namesakes(file.parent, blocks)
        cells = tuple(in_order(file, asked, arms, blocks))
        before, cells = with_firsts(file.parent, firsts, cells, asked.set)
        refuse_twins((*before, *cells))
    names = tuple(arm.name for arm in arms)
    return Grid(file, asked.title or file.stem, asked.ensemble, names, cells, before)


def parsed(file: Path) -> dict[str, Any]:
    """Read the TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as missing:
        raise ValueError(f"No grid at {file}; recipes/bench/ has some.") from missing
    except tomllib.TOMLDecodeError as wrong:
        raise ValueError(f"{file} is no TOML: {wrong}.") from wrong


def tables(said: Any, name: str, *, needed: bool = True) -> list[dict[str, Any]]:
    """Read [x] and [[x]] alike."""
    several = recipes.several(said)
    if (needed and not several) or not all(isinstance(table, dict) for table in several):
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


def check(arms: Sequence[Arm], blocks: Sequence[Block], firsts: Sequence[First]) -> None:
    """Refuse arms that cannot be told apart, and a [[grid]] that says too little or cannot be."""
    refuse_arms(arms, firsts)
    refuse_chains(firsts)
    for block in blocks:
        if odd_name := [task for task in block.tasks if task == FIRST or set("@~") & set(task)]:
            raise ValueError(
                f"a bench cannot have a task called {odd_name[0]!r}: @, ~ and {FIRST!r} are its own."
            )
        for key in ("recipes", "tasks", "seeds"):
            if not getattr(block, key):
                raise ValueError(f"a [[grid]] needs recipes, tasks and seeds; one has no {key}.")
        if odd := [seed for seed in block.seeds if not 0 <= seed < SEEDS]:
            raise ValueError(f"seeds are whole numbers from 0 to {SEEDS - 1}, got {odd[0]}.")
        refuse_shares(block)
        if strange := [name for name in block.arms if name not in [arm.name for arm in arms]]:
            raise ValueError(f"a [[grid]] names arm {strange[0]!r}, and there is no such [[arm]].")


def refuse_shares(block: Block) -> None:
    """Refuse shares that cannot be, and a subgroup without a name or shares."""
    thin, least = block.thin, 0.0 if block.thin is not None else 1e-9
    if odd := [share for share in block.keep if not least <= share <= 1]:
        raise ValueError(f"keep are shares of the training patients, above 0 to 1; got {odd[0]:g}.")
    if thin is None:
        return
    if not block.keep or not NAME.fullmatch(str(thin.get("name", ""))):
        raise ValueError('a [[grid]] with thin needs keep, and in thin a name: {name = "women", ...}.')
    call(
        Thin, {key: value for key, value in thin.items() if key != "name"} | {"keep": 1.0}, where="grid thin"
    )


def refuse_arms(arms: Sequence[Arm], firsts: Sequence[First]) -> None:
    """Refuse names that are no folder's, two of one name, and starts from nowhere."""
    for kind, several in (("arm", arms), (FIRST, firsts)):
        for one in several:
            if not NAME.fullmatch(one.name):
                raise ValueError(
                    f"an [[{kind}]] needs a name of letters, digits, _ and - fit for folders; "
                    f"got {one.name!r}."
                )
        if twins := repeated(one.name.casefold() for one in several):
            raise ValueError(f"two {kind}s are called {twins[0]!r}.")
    known = [first.name for first in firsts]
    for arm in arms:
        if arm.start and arm.start not in known:
            there = ", ".join(known) or "none"
            raise ValueError(f"arm {arm.name!r} starts from {arm.start!r}; each [[first]]: {there}.")


def refuse_chains(firsts: Sequence[First]) -> None:
    """Refuse a first run that starts from nowhere, or from one that itself starts from another."""
    alone = [first.name for first in firsts if not first.start]
    for first in firsts:
        if first.start and first.start not in alone:
            raise ValueError(
                f"{FIRST} {first.name!r} starts from {first.start!r}; "
                f"each [[{FIRST}]] that starts from none: {', '.join(alone) or 'none'}."
            )


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
            mine = [arm for arm in arms if arm.name in (block.arms or [arm.name])]
            shares: list[float | None] = [*block.keep] or [None]
            for task, keep in product(block.tasks, shares):
                for path, arm in product(block.recipes, mine):
                    made = cell(file.parent / path, arm, task, block.seeds[turn], asked.set)
                    yield made if keep is None else made.of_share(keep, block.thin)


def with_firsts(
    folder: Path, firsts: Sequence[First], cells: Sequence[Cell], sets: Sequence[str]
) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Make the runs that some cell starts from, and tell the cells which recipe those have."""
    asked = {begins(cell): cell.seed for cell in cells if begins(cell)}
    made: dict[str, Cell] = {}
    for first in sorted(firsts, key=lambda first: not first.start):  # those that start from others know more
        made |= {str(cell): cell for cell in first_cells(folder, first, asked, sets)}
        asked |= {begins(cell): cell.seed for cell in made.values() if begins(cell)}
    made = {name: following(cell, made) if begins(cell) else cell for name, cell in made.items()}
    refuse_seen_labels(cells, made)
    order = {seed: place for place, seed in enumerate(dict.fromkeys(cell.seed for cell in cells))}
    before = sorted(made.values(), key=lambda cell: order[cell.seed])
    return tuple(before), tuple(following(cell, made) for cell in cells)


def refuse_seen_labels(cells: Sequence[Cell], firsts: Mapping[str, Cell]) -> None:
    """Refuse a cell that learns from few labels, and starts from a run that has learned from all of them."""
    for cell in cells:
        begun = firsts.get(begins(cell))
        if begun is None or "task" not in begun.made:
            continue
        shares = [
            (made.get("split", {}).get("keep", 1.0), made.get("split", {}).get("thin"))
            for made in (cell.made, begun.made)
        ]
        if shares[0] != shares[1]:
            raise ValueError(
                f"{cell} learns from fewer labels than {begun}, which it starts from: leave "
                "that arm out of the [[grid]] with keep (arms = [...])."
            )


def following(cell: Cell, firsts: Mapping[str, Cell]) -> Cell:
    """Tell a cell what it starts from, or else whose division of patients it shares with those that do."""
    if name := begins(cell):
        return replace(cell, begun=firsts[name].made)
    for name, first in firsts.items():
        if first.seed == cell.seed:
            split = {**cell.made.get("split", {}), "after": name}
            decides = {key: first.made[key] for key in DIVIDES if key in first.made}
            return replace(cell, begun=decides, made={**cell.made, "split": split})
    return cell


def begins(cell: Cell) -> str:
    """Name the [[first]] run that a cell starts from, or nothing."""
    start = str(cell.made["backbone"].get("start", ""))
    return start if start.startswith(f"{FIRST}/") else ""


def first_cells(folder: Path, first: First, asked: Mapping[str, int], sets: Sequence[str]) -> Iterator[Cell]:
    """Make the recipe of a run to start from, for each seed that needs it."""
    for seed in sorted({seed for name, seed in asked.items() if name == f"{FIRST}/{first.name}-{seed}"}):
        made = recipes.load(folder / first.recipe, [*sets, f"seed={seed}", *first.set])
        if made["seed"] != seed:
            raise ValueError(f"[[{FIRST}]] {first.name!r} changes the seed, which the grid chooses.")
        if first.start:
            made["backbone"]["start"] = f"{FIRST}/{first.start}-{seed}"
        yield Cell(FIRST, first.name, "", seed, made)


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
    if "above" in made["task"] and not {"column", "columns"} & made["task"].keys():
        raise ValueError(f"{path}, arm {arm.name!r}: [task] above goes with a column.")
    if arm.start:
        made["backbone"]["start"] = f"{FIRST}/{arm.start}-{seed}"
    return Cell(task, path.stem, arm.name, seed, made)


def refuse_twins(cells: Sequence[Cell]) -> None:
    """Refuse cells that share a folder, and cells of one task with different test records."""
    names = {str(cell).casefold(): cell for cell in cells}
    if twins := repeated(str(cell).casefold() for cell in cells):
        raise ValueError(f"the cell {names[twins[0]]} stands in the grid twice.")
    cells = [cell for cell in cells if cell.task != FIRST]
    for first in {cell.task: cell for cell in reversed(cells)}.values():
        for other in (cell for cell in cells if cell.task == first.task):
            if asked_of(other) != asked_of(first):
                raise ValueError(f"{first} and {other} differ in [task]: the runs of a task need one.")
            if test_of(other) != test_of(first):
                raise ValueError(f"{first} and {other} differ in [split]: the runs of a task need one.")


def refuse_empty_subgroups(cells: Sequence[Cell], store: Store) -> None:
    """Refuse a subgroup without members, before anything runs."""
    for thin in {
        str(cell.made["split"]["thin"]): cell.made["split"]["thin"]
        for cell in cells
        if "thin" in cell.made.get("split", {})
    }.values():
        subgroup: Thin = call(Thin, thin, where="split.thin")
        if not subgroup.group(store.records).any():
            raise ValueError(f"{store.path} has nobody of the subgroup {described(store.records, subgroup)}.")


def base_of(task: str) -> str:
    """Return the store's name of a task, without subgroup and share.

    >>> base_of("superdiag~women@0.05"), base_of("all")
    ('superdiag', 'all')
    """
    return task.partition("@")[0].partition("~")[0]


def asked_of(cell: Cell) -> dict[str, Any]:
    """Return what of [task] decides what is answered: not what is made wrong in training."""
    return {key: value for key, value in cell.made["task"].items() if key != "flip"}


def test_of(cell: Cell) -> dict[str, Any]:
    """Return what of [split] decides who is tested: not who is learned from."""
    said = cell.made.get("split", {})
    return {key: value for key, value in said.items() if key not in ("keep", "draw", "thin", "after")}


def on_store(grid: Grid, store: Store) -> Grid:
    """Return a grid with its tasks called as the store calls them; refuse one that the store has not."""
    cells = []
    for cell in grid.cells:
        task = base_of(cell.task).removeprefix(f"{store.source}/")
        rest = cell.task.removeprefix(base_of(cell.task))
        if task not in store.tasks and not {"column", "columns"} & cell.made["task"].keys():
            known = ", ".join(store.tasks) or "none"
            raise ValueError(
                f"{grid.file}: no task {task!r} in {store.path}. Tasks: {known}.{hint(task, store.tasks)}"
            )
        made = {**cell.made, "task": {**cell.made["task"], "name": task}}
        cells.append(replace(cell, task=task + rest, made=made))
    with naming(grid.file):
        refuse_twins((*grid.first, *cells))
        refuse_empty_subgroups(cells, store)
    return replace(grid, cells=tuple(cells))
