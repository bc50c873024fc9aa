"""Small stores for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.ecg import LEADS
from einthoven.python import Arrays


def store_of(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    seconds: float = 1.0,
    hertz: float = 100.0,
    signal: bool = False,
) -> Store:
    """Import records with the given cells; `patient` among them, or each its own.

    With `signal`, the first lead is three times as large where a record's first cell is 1.
    """
    ecg = np.random.default_rng(0).normal(0, 0.2, (len(rows), 12, round(seconds * 100))).astype(np.float32)
    if signal:
        ecg[[i for i, row in enumerate(rows) if next(iter(row.values())) == 1], 0] *= 3
    patients = [row.get("patient", i) for i, row in enumerate(rows)]
    cells = [{k: v for k, v in row.items() if k != "patient"} for row in rows]
    source = Arrays(ecg, cells, hertz=100.0, leads=LEADS, patients=patients)
    return import_(source, path, seconds=seconds)
