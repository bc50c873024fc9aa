"""What the file of a grid says, table by table, and one run of the grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ENSEMBLE, MEAN = "ensemble", "mean"  # rows of the table that are no recipe
FIRST = "first"  # the folder of runs to start from


@dataclass(frozen=True)
class Arm:
    """An [[arm]]: edits that every recipe is run with. The first arm is the baseline.

    `start` names a [[first]]: its run of the same seed gives the backbone to begin with.
    """

    name: str = ""
    set: Sequence[str] = ()
    start: str = ""


@dataclass(frozen=True)
class First:
    """A [[first]]: a recipe (a path from the grid's file) to run before the arms that start from it.

    It may itself `start` from another that starts from none, as a fine-tuning of a pre-training does.
    """

    name: str = ""
    recipe: str = ""
    set: Sequence[str] = ()
    start: str = ""


@dataclass(frozen=True)
class Block:
    """A [[grid]]: every recipe (a path from the grid's file) on every task with every seed.

    `keep` are shares of the training patients to learn from, others with each seed; a task then stands in
    the table once for each. `thin` names a subgroup, whose share they then are, while everybody else stays:
    `{name = "women", column = "sex", equal = "female"}`. `arms` names those to run, if not all.
    """

    recipes: Sequence[str] = ()
    tasks: Sequence[str] = ()
    seeds: Sequence[int] = ()
    keep: Sequence[float] = ()
    thin: Mapping[str, Any] | None = None
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class Asked:
    """What a grid file says, as it says it."""

    title: str = ""
    set: Sequence[str] = ()
    ensemble: bool = False
    grid: Any = ()
    arm: Any = ()
    first: Any = ()


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    # As the table calls it: "superdiag@0.05" learns from 5 % of the training patients, "superdiag~women@0.05"
    # from 5 % of the women and all men.
    task: str
    recipe: str
    arm: str
    seed: int
    made: Mapping[str, Any] = field(compare=False, repr=False)  # the recipe with all edits
    begun: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)  # that of its [[first]]

    def __str__(self) -> str:
        """Name the cell; below `runs/` this is its folder."""
        return f"{self.task}/{'-'.join(filter(None, (self.recipe, self.arm, str(self.seed))))}"

    def of_share(self, keep: float, thin: Mapping[str, Any] | None) -> "Cell":
        """Return the cell that learns from a share of the training patients, or of a subgroup of theirs."""
        told: dict[str, Any] = {"keep": keep}
        name = ""
        if thin is not None:
            group = {key: value for key, value in thin.items() if key != "name"}
            told, name = {"thin": group | {"keep": keep}}, f"~{thin['name']}"
        split = {**self.made.get("split", {}), "draw": self.seed, **told}
        return replace(self, task=f"{self.task}{name}@{keep:g}", made={**self.made, "split": split})
