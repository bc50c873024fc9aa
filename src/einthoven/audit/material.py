"""What is audited: the labelled records of a task, in three parts, and what a model would see of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.data.split import Rule, Split, divide
from einthoven.data.store import Store
from einthoven.data.task import Kind, Task, is_list
from einthoven.language.reading import LONGEST, Report, read_report
from einthoven.language.views import View, seen
from einthoven.parts import hint

Table = Float[np.ndarray, "record feature"]
FIT, CHOOSE, SCORE = range(3)  # one part fits, one chooses, one is scored
MOST = (20_000, 10_000, 10_000)  # records of each part; more, drawn by chance, say no more
ENOUGH = (100, 20, 50)  # texts of each part; with fewer, nothing is learned
# Share of ECGs with a text up to which few texts can hide little: if they told all and the others nothing,
# macro AUROC would be share + (1 - share²) / 2 = .639, and R² the share: not above the line of a verdict.
RARE: dict[Kind, float] = {"labels": 0.15, "multiclass": 0.15, "regression": 0.10}
SHOWN = ("masked", "full")  # the views that show something of a report
SPLITS = ("train split", "validation split", "test split")


@dataclass(frozen=True)
class Material:
    """Labelled records (all columns of the store) in three parts, and the text of each, "" for none.

    `truth` is of the whole task: 0, 1 or NaN per label, or numbers. `names` are those of the parts.
    """

    records: pd.DataFrame
    texts: tuple[str, ...]
    part: Int[np.ndarray, " record"]
    truth: Float[np.ndarray, "record label"]
    kind: Kind
    labels: tuple[str, ...]
    view: View = "full"
    seed: int = 0
    names: tuple[str, ...] = SPLITS

    @property
    def patient(self) -> Shaped[np.ndarray, " record"]:
        """Whose record each is."""
        return self.records["patient_id"].to_numpy(dtype=object).astype(str)

    @property
    def worded(self) -> Bool[np.ndarray, " record"]:
        """Which records have a text."""
        return np.array([bool(text) for text in self.texts], bool)

    @cached_property
    def reports(self) -> tuple[Report, ...]:
        """The reports, taken apart; equal ones once."""
        once = cache(read_report)
        return tuple(once(raw) for raw in self.records["report"])

    def take(self, rows: Bool[np.ndarray, " all"]) -> "Material":
        """Keep some records."""
        texts = tuple(text for text, kept in zip(self.texts, rows, strict=True) if kept)
        kept = {"part": self.part[rows], "truth": self.truth[rows], "texts": texts}
        return replace(self, records=self.records.loc[rows].reset_index(drop=True), **kept)

    def drawn(self) -> "Material":
        """Keep at most MOST records of each part, drawn by the seed."""
        chance, kept = np.random.default_rng((self.seed, 0xA0D1)), np.zeros(len(self.part), bool)
        for number, most in enumerate(MOST):
            rows = np.flatnonzero(self.part == number)
            kept[rows if len(rows) <= most else chance.choice(rows, most, replace=False)] = True
        return self.take(kept)

    def reworded(self, change: Callable[[str], str]) -> "Material":
        """Change every text, equal ones once."""
        once = cache(change)
        return replace(self, texts=tuple(map(once, self.texts)))

    def lacking(self) -> str:
        """Say which part has too few texts to learn from, to choose on or to score; "" if none.

        Where masking leaves a text to few, it is enough to have ECGs: see RARE.
        """
        texts, ecgs = (np.bincount(self.part[some], minlength=3) for some in (self.worded, slice(None)))
        rare = self.view == "masked" and bool((texts <= RARE[self.kind] * ecgs).all())
        what, counts = ("ECGs", ecgs) if rare else ("ECGs with a text", texts)
        for name, count, least in zip(self.names, counts, ENOUGH, strict=True):
            if count < least:
                return f"the {name} has {count} {what}, fewer than {least}"
        return ""


def reports_of(store: Store, column: str, view: View = "none") -> pd.DataFrame:
    """Return the records of a store with this column as their report, "" where there is none.

    Without such a column nobody has a report, which only a view that shows reports refuses.
    """
    if column in store.records:
        if view in SHOWN and is_list(store.records[column]):
            raise ValueError(
                f"Column {column!r} of {store.path} holds lists: a cell of it has a ';', so it was read as "
                "statements. Call it 'report' in the table of labels, which is never split, and import again."
            )
        return store.records.assign(report=store.records[column].fillna("").astype(str))
    if view in SHOWN:
        known = [str(name) for name in store.records.columns]
        raise ValueError(f"{store.path} has no column {column!r} to read.{hint(column, known)}")
    return store.records.assign(report="")


def gather(store: Store, task: Task, *, view: View, column: str, seed: int) -> Material:
    """Take all labelled records of a store, divided as a training without a [split] would divide them."""
    if task.kind == "unlabelled" or not task.labels:
        raise ValueError(
            f"An audit needs a task with labels: say --task. Tasks of {store.path}: {', '.join(store.tasks)}."
        )
    if view == "none":
        raise ValueError("View 'none' shows no text: there is nothing to audit.")
    records = reports_of(store, column, view)
    truth = task.truth(records)
    rows = np.flatnonzero(~np.isnan(truth).all(1))
    if not len(rows):
        raise ValueError(f"Task {task.name!r}: no record of {store.path} has a label.")
    if view in SHOWN and not any(raw.strip() for raw in records["report"].iloc[rows]):
        raise ValueError(
            f"No labelled record of {store.path} has a report (column {column!r} is empty in all "
            f"{len(rows):,}): nothing to audit."
        )
    split = divide(records, rows, truth[rows], Rule(seed=seed))
    parts = list(split.named().values())
    made = of_split(records, truth, parts, None, kind=task.kind, labels=task.labels, view=view, seed=seed)
    # Only now, for a text of view "context" may tell the very column that is asked for.
    asked = [name for name in task.columns if name not in ("report", "patient_id")]
    return replace(made, records=made.records.drop(columns=asked))


def of_split(
    records: pd.DataFrame,
    truth: Float[np.ndarray, "all label"],
    parts: Sequence[Int[np.ndarray, " _"]],
    texts: Sequence[str] | None,
    *,
    kind: Kind,
    labels: tuple[str, ...],
    view: View,
    seed: int,
) -> Material:
    """Put three lists of rows together; `texts` are of all records, or None."""
    rows = np.concatenate(parts)
    some = records.iloc[rows].reset_index(drop=True)
    said = seen(some, view, labels) if texts is None else tuple(texts[row] for row in rows)
    return Material(
        some,
        tuple(text[:LONGEST] for text in said),
        np.repeat(np.arange(3), [len(part) for part in parts]),
        truth[rows].astype(np.float64),
        kind,
        labels,
        view,
        seed,
    )


def inner(split: Split, patient: Shaped[np.ndarray, " record"], seed: int) -> list[Int[np.ndarray, " row"]]:
    """Divide by patient, 4 to 1, all who could be trained on; what is scored is validation.

    Whoever `keep` left out, too: a text does not tell less of an ECG because few labels are kept.
    """
    train = split.candidates
    names, owner = np.unique(patient[train], return_inverse=True)
    chooses = (np.random.default_rng((seed, 0xC405)).permutation(len(names)) % 5 == 0)[owner]
    return [train[~chooses], train[chooses], split.validation]
