"""Whom a run has learned from: a run that starts from it may not be tested on these patients."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from einthoven.data.files import new_file, read_json
from einthoven.data.joining import bare, prefixed
from einthoven.data.split import NAMES, Held, Split
from einthoven.data.store import Store

FILE = "patients.parquet"


def write_patients(run: Path, store: Store, split: Split, held: Held) -> None:
    """Note on which side of the split every patient stands, those of earlier runs among them."""
    person, sides = people(store.records), dict(held)
    for name, rows in (("train", split.candidates), ("validation", split.validation), ("test", split.test)):
        sides |= dict.fromkeys(person[rows], NAMES.index(name))
    source = [who.partition(":")[0] for who in sides]
    frame = pd.DataFrame(
        {
            "source": source,
            "patient_id": list(map(bare, sides, source)),
            "split": [NAMES[side] for side in sides.values()],
        }
    )
    with new_file(run / FILE) as file:
        written = BytesIO()
        frame.to_parquet(written, index=False)
        file.write(written.getvalue())


def people(records: pd.DataFrame) -> Shaped[np.ndarray, " record"]:
    """Name the patient of each record as in no other source: "ludb:17", in a joined store as in its own."""
    ids, sources = (records[name].astype(str) for name in ("patient_id", "source"))
    return np.array(list(map(prefixed, ids, sources)), dtype=object)


def starts(table: Any) -> Iterator[Path]:
    """Yield the runs that parts of a recipe start from, however deep they stand."""
    if isinstance(table, list | tuple):
        for one in table:
            yield from starts(one)
    elif isinstance(table, Mapping):
        for key, value in table.items():
            if key == "start" and isinstance(value, str):
                yield run_of(Path(value))
            else:
                yield from starts(value)


def run_of(path: Path) -> Path:
    """Return the run folder that a path names, or that a file of weights stands in, however deep."""
    if not path.exists():
        raise ValueError(f"{path} is not there: name the folder of a finished run to start from.")
    for folder in (path, *path.resolve().parents) if path.suffix == ".safetensors" else (path,):
        if (folder / "recipe.toml").is_file():
            return folder
    raise ValueError(
        f"{path} is no folder of a run, nor a file in one, so whom it has learned from is unknown: "
        "name the folder of a run (published weights: einthoven convert)."
    )


def read(file: Path) -> pd.DataFrame:
    """Read where patients stood, or say that the file is damaged."""
    from pyarrow import ArrowInvalid

    try:
        return pd.read_parquet(file)
    except ArrowInvalid as damage:
        raise ValueError(f"{file} cannot be read: restore it, or train that run again.") from damage


def held_by(runs: Sequence[Path] | Iterator[Path], store: Store) -> Held:
    """Return on which side people ("ludb:17") stood in earlier runs; learned from counts most.

    Runs on any store count: a joined store and those that it was made of hold the same people, and who was
    learned from once is remembered through runs on other stores. Equal ids of different sources are
    different people.
    """
    held: dict[str, int] = {}
    ours = set(store.records["source"])
    for run in runs:
        about = read_json(run / "environment.json", "store")
        if not (run / FILE).is_file():
            if not ours & set(about["source"].split("+")):
                continue  # of weights from elsewhere, or of a store with nobody of this one
            raise ValueError(
                f"{run} has no {FILE}, so whom it learned from is unknown, and this run could be tested on "
                "them: train it again with this version."
            )
        told = read(run / FILE)
        told = told if "source" in told else told.assign(source=about["source"])  # before there were joins
        for who, split in zip(people(told), told["split"], strict=True):
            held[who] = min(NAMES.index(split), held.get(who, len(NAMES)))
    return held


def here(held: Held, store: Store) -> Held:
    """Return the same by the patient ids of one store, for its patients only."""
    persons = zip(store.records["patient_id"].astype(str), people(store.records), strict=True)
    return {patient: held[person] for patient, person in persons if person in held}
