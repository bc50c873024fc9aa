"""Whom a run has learned from: a run that starts from it may not be tested on these patients."""

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from einthoven.data.files import new_file
from einthoven.data.split import NAMES, Held, Split
from einthoven.data.store import Store

FILE = "patients.parquet"


def write_patients(run: Path, store: Store, split: Split, held: Held) -> None:
    """Note on which side of the split every patient stands, those of earlier runs among them."""
    patient = store.records["patient_id"].to_numpy(dtype=object).astype(str)
    sides = dict(held)
    for name, rows in (("train", split.candidates), ("validation", split.validation), ("test", split.test)):
        sides |= dict.fromkeys(patient[rows], NAMES.index(name))
    frame = pd.DataFrame({"patient_id": list(sides), "split": [NAMES[side] for side in sides.values()]})
    with new_file(run / FILE) as file:
        written = BytesIO()
        frame.to_parquet(written, index=False)
        file.write(written.getvalue())


def starts(table: Any) -> Iterator[Path]:
    """Yield the runs that parts of a recipe start from, however deep they stand."""
    if isinstance(table, list | tuple):
        for one in table:
            yield from starts(one)
    elif isinstance(table, Mapping):
        for key, value in table.items():
            if key == "start" and isinstance(value, str):
                begun = Path(value)
                yield begun.parent if begun.suffix == ".safetensors" else begun
            else:
                yield from starts(value)


def read(file: Path) -> pd.DataFrame:
    """Read where patients stood, or say that the file is damaged."""
    from pyarrow import ArrowInvalid

    try:
        return pd.read_parquet(file)
    except ArrowInvalid as damage:
        raise ValueError(f"{file} cannot be read: restore it, or train that run again.") from damage


def held_by(runs: Sequence[Path] | Iterator[Path], store: Store) -> Held:
    """Return on which side the patients of this store stood in earlier runs; learned from counts most.

    Runs on another kind of store tell nothing of this one's patients: equal ids are other people there.
    """
    held: dict[str, int] = {}
    for run in runs:
        if not (run / "recipe.toml").is_file():
            continue  # weights from elsewhere
        about = json.loads((run / "environment.json").read_text(encoding="utf-8"))["store"]
        if about["source"] != store.source:
            continue
        if not (run / FILE).is_file():
            raise ValueError(
                f"{run} has no {FILE}, so whom it learned from is unknown, and this run could be tested on "
                "them: train it again with this version."
            )
        told = read(run / FILE)
        sides = told["split"].map(NAMES.index).to_numpy(dtype=np.int64)
        for who, side in zip(told["patient_id"], sides.tolist(), strict=True):
            held[who] = min(side, held.get(who, side))
    return held
