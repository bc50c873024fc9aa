"""What to learn: columns of the store, and how an answer is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from einthoven.data.store import Store
from einthoven.parts import fits, hint

Kind = Literal["labels", "multiclass", "regression", "unlabelled"]
BINARY = ("0", "1", "False", "True")


@dataclass(frozen=True)
class Task:
    """One task on one store: `labels` names the outputs of a model.

    `columns` is one column of lists of statements, of classes or of numbers; or several of 0 and 1.

    `mean` and `sd` scale a regression's target (unless `standardise` is false); they come from the
    training split and are saved with the run. `above` (or `least`, which counts in the number
    itself) turns a column of numbers into one binary label.
    `flip` is the share of training labels made wrong on purpose, for studies of label noise.
    """

    name: str
    columns: tuple[str, ...]
    kind: Kind
    labels: tuple[str, ...]
    above: float | None = None  # > it
    least: float | None = None  # >= it
    unit: str = ""  # of a regression: "mmHg"
    standardise: bool = True  # a regression's target, by mean and sd of the training split
    mean: float = 0.0
    sd: float = 1.0
    flip: float = 0.0

    def truth(self, records: pd.DataFrame) -> Float[np.ndarray, "record label"]:
        """Return what is true, in the unit of the column or as 0 and 1; NaN where unknown."""
        if self.kind == "unlabelled":
            return np.zeros((len(records), 0), np.float32)
        values = records[self.columns[0]]
        if self.kind == "multiclass":
            return one_hot(values, self.labels)
        if is_list(values):
            return many_hot(values, self.labels)
        number = np.stack([numbers(records[name]) for name in self.columns], axis=1)
        if self.above is None and self.least is None:
            return number
        positive = number >= self.least if self.above is None else number > self.above
        return np.where(np.isnan(number), np.nan, positive).astype(np.float32)

    def flipped(self, truth: Float[np.ndarray, "row label"], seed: int) -> Float[np.ndarray, "row label"]:
        """Make the share `flip` of some records' labels wrong, by chance; NaN stays.

        Labels: each 0 or 1 turns into the other. Classes: a record's turns into any other one.
        """
        chance = np.random.default_rng((seed, 0xF11B))
        if self.kind == "labels":
            return np.where(chance.random(truth.shape) < self.flip, 1 - truth, truth)
        classes = truth.shape[1]
        wrong = chance.random(len(truth)) < self.flip
        step = np.where(wrong, chance.integers(1, classes, len(truth)), 0)
        place = (np.arange(classes) - step[:, None]) % classes
        return np.take_along_axis(truth, place, axis=1)

    def scaled(self, truth: Float[np.ndarray, "record label"]) -> Float[np.ndarray, "record label"]:
        """Bring the truth to what the losses compare with."""
        return np.asarray((truth - self.mean) / self.sd, dtype=np.float32)

    def fitted(self, truth: Float[np.ndarray, "record label"]) -> "Task":
        """Take mean and sd of the training split (regression only)."""
        if self.kind != "regression" or not self.standardise:
            return self
        mean, sd = float(np.nanmean(truth)), float(np.nanstd(truth))
        if not sd > 0:
            raise ValueError(f"Task {self.name!r}: every training record has the same value ({mean:g}).")
        return replace(self, mean=mean, sd=sd)

    def answer(self, logits: Float[np.ndarray, "row label"]) -> Float[np.ndarray, "row label"]:
        """Turn logits into probabilities, or into the unit of the column."""
        logits = logits.astype(np.float64)
        if self.kind == "regression":
            return logits * self.sd + self.mean
        if self.kind == "multiclass":
            odds = np.exp(logits - logits.max(1, keepdims=True))
            share: Float[np.ndarray, "row label"] = odds / odds.sum(1, keepdims=True)
            return share
        return 0.5 * (1 + np.tanh(0.5 * logits))

    def table(self) -> dict[str, Any]:
        """Describe it for a resolved recipe: enough to read answers without the store."""
        told: dict[str, Any] = {"name": self.name, "columns": list(self.columns), "kind": self.kind}
        told |= {"labels": list(self.labels)} | ({} if self.above is None else {"above": self.above})
        told |= {} if self.least is None else {"least": self.least}
        told |= {"unit": self.unit} if self.unit else {}
        told |= {} if self.standardise else {"standardise": False}
        told |= {"flip": self.flip} if self.flip else {}
        return told | ({"mean": self.mean, "sd": self.sd} if self.kind == "regression" else {})


UNLABELLED = Task("no labels", (), "unlabelled", ())


def spell(value: Any) -> str | None:
    """Spell a class the same whether a column holds 1, 1.0 or "1"; None if unknown."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_list(values: pd.Series) -> bool:
    """Say whether a column holds lists of statements."""
    return any(isinstance(value, list | tuple | np.ndarray) for value in values.head(1000))


def numbers(values: pd.Series) -> Float[np.ndarray, " record"]:
    """Read a column as float32; what is missing is NaN."""
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float32, na_value=np.nan)


def one_hot(values: pd.Series, labels: Sequence[str]) -> Float[np.ndarray, "record label"]:
    """Turn classes into one 1 per record; an unknown class is NaN."""
    spelt = values.map(spell).to_numpy(dtype=object)
    truth = np.asarray(spelt[:, None] == np.array(labels, dtype=object), dtype=np.float32)
    truth[truth.sum(1) == 0] = np.nan
    return truth


def many_hot(values: pd.Series, labels: Sequence[str]) -> Float[np.ndarray, "record label"]:
    """Turn lists of statements into zeros and ones; an empty list is unknown."""
    place = {label: i for i, label in enumerate(labels)}
    truth = np.full((len(values), len(labels)), np.nan, dtype=np.float32)
    for line, statements in zip(truth, values, strict=True):
        if statements is not None and len(statements):
            line[:] = 0
            line[[place[s] for s in statements if s in place]] = 1
    return truth


def find_task(store: Store, table: dict[str, Any]) -> Task:
    """Read a recipe's [task] against a store.

    `name`: a multi-label task of the store ("superdiag" or "ptbxl/superdiag"). Or `column`: any
    column, with `above` or `least` (binary: > or >=), or `kind` = "labels" (0 and 1), "multiclass" or
    "regression". Or `columns`: several columns of 0 and 1. With `flip`: a share of training labels to
    make wrong.
    No [task]: learn from the ECGs alone.
    """
    known = (
        "name",
        "column",
        "columns",
        "above",
        "least",
        "kind",
        "unit",
        "standardise",
        "labels",
        "mean",
        "sd",
        "flip",
    )
    for key in table:
        if key not in known:
            raise ValueError(f"[task] has no option {key!r}. Known: {', '.join(known)}.{hint(key, known)}")
    if not table:
        return UNLABELLED
    task, flip = task_of(store, table), table.get("flip", 0.0)
    if not (fits(flip, float) and 0 <= flip < 0.5):
        raise ValueError(f"[task] flip is a share from 0 to below 0.5, got {flip!r}.")
    if flip and task.kind == "regression":
        raise ValueError(f"[task] flip makes labels wrong; {task.name!r} is a regression and has none.")
    return replace(task, flip=float(flip))


def task_of(store: Store, table: dict[str, Any]) -> Task:
    """Find out whether a task is one of the store's, or made of columns."""
    columns = [table["column"]] if "column" in table else list(table.get("columns", []))
    lists = [column for column in columns if column in store.tasks]
    if lists and len(columns) > 1:
        raise ValueError(f"[task] columns: {lists[0]!r} is a task by itself; say name = {lists[0]!r}.")
    if columns and not lists:
        return of_columns(store, columns, table)
    if said := [key for key in ("above", "least", "unit", "standardise") if key in table]:
        raise ValueError(f"[task] {said[0]} goes with a column of numbers, not with statements.")
    if not columns and "name" not in table:
        raise ValueError(f"[task] needs a name or a column. Tasks of {store.path}: {listed(store.tasks)}.")
    name = columns[0] if columns else own_name(table["name"], store)
    if name not in store.tasks:
        columns = [column for column in map(str, store.records) if column not in store.tasks]
        raise ValueError(
            f"No task {table['name']!r} in {store.path}. Tasks: {listed(store.tasks)}; "
            f"columns (column = ...): {listed(columns)}.{hint(name, [*store.tasks, *columns])}"
        )
    return Task(name, (name,), "labels", tuple(store.tasks[name]))


def own_name(said: str, store: Store) -> str:
    """Leave out the source before a task or a column, unless the store has a column of that very name.

    In a joined store it is the source of a part, whose records have a value there: what another part says
    under the bare name is something else.
    """
    source, _, bare = said.partition("/")
    if said in store.records or source == store.source:
        return said if said in store.records else bare
    if bare not in store.records:
        return said
    theirs = store.records.loc[store.records["source"] == source, bare]
    return bare if theirs.dropna().map(np.size).any() else said


def listed(names: Any) -> str:
    """List names in a sentence."""
    return ", ".join(names) or "none"


def of_columns(store: Store, columns: Sequence[str], table: dict[str, Any]) -> Task:
    """Make a task of one column, or of several of 0 and 1."""
    for column in columns:
        if column not in store.records:
            known = [str(name) for name in store.records.columns]
            raise ValueError(
                f"No column {column!r} in {store.path}. Known: {', '.join(known)}.{hint(column, known)}"
            )
    if "above" in table or "least" in table:
        return binary(columns, table)
    name = table.get("name", ", ".join(columns))
    values = store.records[columns[0]]
    classes = sorted({s for s in map(spell, values) if s is not None})
    if len(columns) > 1 and table.get("kind", "labels") != "labels":
        raise ValueError(f"[task] several columns are labels of 0 and 1; for {table['kind']} say one column.")
    kind: Kind = "labels" if len(columns) > 1 else table.get("kind") or guess(columns[0], values, classes)
    if kind not in ("labels", "multiclass", "regression"):
        raise ValueError(f"[task] kind is 'labels', 'multiclass' or 'regression', got {kind!r}.")
    for column in columns:
        refuse_unfit(f"Column {column!r} of {store.path}", kind, store.records[column])
    labels = tuple(classes) if kind == "multiclass" else tuple(columns)
    how = {key: table[key] for key in ("unit", "standardise") if key in table}
    return Task(name, tuple(columns), kind, labels, **how)


def binary(columns: Sequence[str], table: dict[str, Any]) -> Task:
    """Make labels of numbers: those above a number, or of at least that number."""
    said = [key for key in ("above", "least") if key in table]
    key, number = said[0], table[said[0]]
    if len(said) > 1 or not fits(number, float) or not math.isfinite(number):
        raise ValueError(
            f"[task] takes one number: above (>) or least (>=), got {listed(said)} = {number!r}."
        )
    told = spell(float(number))
    if table.get("kind", "labels") != "labels":
        raise ValueError(f"[task] {key} = {told} makes a binary task; leave out {key}, or kind.")
    if odd := [name for name in ("unit", "standardise", "mean", "sd") if name in table]:
        raise ValueError(f"[task] {key} = {told} makes a binary task; leave out {odd[0]}, which has no say.")
    labels = tuple(f"{column} {'>' if key == 'above' else '>='} {told}" for column in columns)
    if list(table.get("labels", labels)) != list(labels):
        raise ValueError(f"[task] {key} names its labels itself ({listed(labels)}); leave out labels.")
    name = table.get("name", ", ".join(labels))
    return Task(name, tuple(columns), "labels", labels, **{key: number})


def refuse_unfit(column: str, kind: Kind, values: pd.Series) -> None:
    """Refuse a kind of task that a column's values cannot serve."""
    classes = sorted({s for s in map(spell, values) if s is not None})
    if kind == "regression" and np.isnan(numbers(values)).all():
        raise ValueError(f"{column} holds no numbers; it cannot be regressed.")
    if kind == "labels" and not set(classes) <= set(BINARY):
        raise ValueError(f"{column} holds more than 0 and 1; say above = ..., or another kind.")
    if kind == "multiclass" and len(classes) < 2:
        raise ValueError(f"{column} has one class only: {listed(classes)} (an empty cell is unknown, no 0).")


def guess(column: str, values: pd.Series, classes: Sequence[str]) -> Kind:
    """Guess the kind of task where there is no doubt; otherwise ask."""
    if set(classes) <= set(BINARY):
        return "labels"
    if np.isnan(numbers(values)).all():
        return "multiclass"
    raise ValueError(
        f"Column {column!r} holds numbers; say above = ... (binary), or kind = 'regression' or 'multiclass'."
    )
