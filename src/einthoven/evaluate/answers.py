"""What is judged: the truth about some records, with or without a model's answer, and whose they are."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

Texts = Shaped[np.ndarray, " record"]


@dataclass(frozen=True)
class Cohort:
    """Records of one fold: truth is 0, 1 or NaN (unknown) per label, or a number per column.

    `age` (years, NaN unknown) and `sex` ("female", "male", anything else unknown) may be left out.
    """

    truth: Shaped[np.ndarray, "record label"]
    patient: Texts
    age: Float[np.ndarray, " record"] | None = None
    sex: Texts | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """A cohort with a score per label: a probability, or a number in the unit of the column."""

    truth: Shaped[np.ndarray, "record label"]
    score: Float[np.ndarray, "record label"]
    patient: Texts
    age: Float[np.ndarray, " record"] | None = None
    sex: Texts | None = None
    labels: tuple[str, ...] = ()
    record: Texts | None = None  # ids

    @property
    def cohort(self) -> Cohort:
        """The same records without the answers."""
        return Cohort(self.truth, self.patient, self.age, self.sex, self.labels)


def unlabelled(run: Path) -> bool:
    """Say whether a finished run answers nothing: it learned without labels, or their distances alone."""
    file = run / "results.json"
    kind = json.loads(file.read_text(encoding="utf-8"))["task"]["kind"] if file.is_file() else ""
    return bool(kind == "unlabelled")


def read_answers(run: Path, split: str = "test") -> Answers:
    """Read one split of a run folder's predictions.parquet."""
    from pyarrow import ArrowInvalid, parquet

    path = run / "predictions.parquet"
    if not path.is_file() and unlabelled(run):
        raise ValueError(f"{run} has no answers to read: it learned features alone.")
    if not path.is_file():
        raise ValueError(f"{path} is missing: is {run} the folder of a finished run?")
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as damage:
        raise ValueError(
            f"{path} cannot be read ({str(damage).splitlines()[0]}): train the run again."
        ) from damage
    labels = tuple(name.removeprefix("truth/") for name in table.column_names if name.startswith("truth/"))
    wanted = ["record_id", "patient_id", "split", "age", "sex", *(f"score/{label}" for label in labels)]
    if lacking := [name for name in wanted if name not in table.column_names]:
        raise ValueError(f"{path} lacks the column {lacking[0]!r}: train the run again.")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    here = columns["split"] == split
    if not here.any():
        raise ValueError(f"{path} has no records of the split {split!r}.")

    def numbers(kind: str) -> Float[np.ndarray, "record label"]:
        if not labels:
            raise ValueError(f"{path} has no column that starts with 'truth/': train the run again.")
        return np.stack([columns[f"{kind}/{label}"][here].astype(float) for label in labels], axis=1)

    return Answers(
        truth=numbers("truth"),
        score=numbers("score"),
        patient=columns["patient_id"][here],
        age=columns["age"][here].astype(float),
        sex=columns["sex"][here],
        labels=labels,
        record=columns["record_id"][here],
    )
