"""A recipe is a short TOML that names parts and their arguments: read, edit, check and save it."""

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomli_w

from einthoven.parts import hint

# One name per table, in the order in which a resolved recipe is written.
TABLES = ["seed", "task", "split", "signal", "backbone", "text", "fusion", "head", "loss", "method"]
TABLES += ["crop", "sampler", "augment", "train", "evaluate", "expect"]


def load(file: Path, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe, on top of the one that its `base` names, and apply `--set key=value` edits."""
    return edited(based(file), sets, file)


def based(file: Path, above: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a recipe; `base = "other.toml"` (from its folder) gives what it does not say itself."""
    if file.resolve() in above:
        raise ValueError(f"{file}: base leads back to itself.")
    recipe = read(file)
    base = recipe.pop("base", None)
    if base is None:
        return recipe
    if not isinstance(base, str):
        raise ValueError(f"{file}: base is the name of a recipe, got {base!r}.")
    made = based(file.parent / base, [*above, file.resolve()])
    for key, table in recipe.items():
        both = isinstance(table, dict) and isinstance(made.get(key), dict)
        made[key] = made[key] | table if both else table
    return made


def read(file: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as missing:
        raise ValueError(f"No recipe at {file}; recipes/ has some.") from missing
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ValueError(f"{file} is no TOML: {wrong}.") from wrong


def edited(
    recipe: Mapping[str, Any], sets: Sequence[str] = (), file: Path | str = "recipe"
) -> dict[str, Any]:
    """Return a copy of a recipe with `--set` edits, checked."""
    made = deepcopy(dict(recipe))
    for change in sets:
        edit(made, change)
    check(made, file)
    return made


def check(recipe: Mapping[str, Any], file: Path | str) -> None:
    """Refuse unknown tables and the lack of the ones that every recipe needs."""
    for key in recipe:
        if key not in TABLES:
            raise ValueError(f"{file}: unknown table [{key}].{hint(key, TABLES)} Known: {', '.join(TABLES)}.")
    for key in ("backbone", "train"):
        if key not in recipe:
            raise ValueError(f"{file}: a recipe needs a table [{key}].")
    for key, table in recipe.items():
        if key != "seed" and not all(isinstance(t, dict) for t in several(table)):
            raise ValueError(f"{file}: [{key}] is a table, got {table!r}.")


def several(table: Any) -> list[Any]:
    """Read [x] and [[x]] alike."""
    return list(table) if isinstance(table, list | tuple) else [table]


def fresh(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe whose parts start from no other run, however deep they stand."""

    def without(table: Any) -> Any:
        if isinstance(table, list | tuple):
            return [without(one) for one in table]
        if isinstance(table, Mapping):
            return {key: without(value) for key, value in table.items() if key != "start"}
        return table

    return dict(without(recipe))


def outside(table: Any) -> list[str]:
    """List the parts of other modules (`my_lab.nets:Wavelet`) that a recipe names, however deep."""
    if isinstance(table, Mapping):
        named = [table["name"]] if ":" in str(table.get("name", "")) else []
        return named + [name for value in table.values() for name in outside(value)]
    return [name for one in table for name in outside(one)] if isinstance(table, list | tuple) else []


def edit(recipe: dict[str, Any], change: str) -> None:
    """Apply one `key.key=value`; the value is TOML, or else a plain word.

    >>> recipe = {"head": {"name": "linear"}}
    >>> edit(recipe, "head.name=decoupled"); edit(recipe, "train.lr=1e-2"); recipe
    {'head': {'name': 'decoupled'}, 'train': {'lr': 0.01}}
    """
    path, equals, text = change.partition("=")
    if not equals or not path.strip():
        raise ValueError(f"--set takes key=value, got {change!r}.")
    way = [step.strip() for step in path.split(".")]
    last, place = way[-1], recipe
    for step, after in pairwise(way):
        place = step_into(place, step, after, change)
    if isinstance(place, list) or not isinstance(place, dict):
        raise ValueError(f"--set {change}: {path} is no place in the recipe.")
    place[last] = value_of(text.strip())


def step_into(place: Any, step: str, after: str, change: str) -> Any:
    """Go one step down: a table's key, or the number of an [[x]]; the only loss is `loss` or `loss.0`."""
    if isinstance(place, list):
        if not step.isdigit() or int(step) >= len(place):
            raise ValueError(f"--set {change}: say which one, 0 to {len(place) - 1}, as in loss.0.weight=1.")
        return place[int(step)]
    if not isinstance(place, dict):
        raise ValueError(f"--set {change}: {step!r} is not in a table.")
    down = place.setdefault(step, {})
    return down[0] if isinstance(down, list) and len(down) == 1 and not after.isdigit() else down


def value_of(text: str) -> Any:
    """Read a TOML value; what is none is a plain word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def written(recipe: Mapping[str, Any]) -> str:
    """Return a recipe as TOML, its tables in the usual order."""
    ordered = {key: recipe[key] for key in TABLES if key in recipe}
    return tomli_w.dumps(ordered)
