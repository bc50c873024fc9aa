"""Small stores and single ECGs for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.ecg import LEADS
from einthoven.python import Arrays


def pairs(count: int) -> list[dict[str, Any]]:
    """Make cells of records, two of each patient; who is big is older."""
    chance = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        big = int(chance.random() < 0.4)
        rows.append({"big": big, "age": float(50 + 10 * big + chance.normal(0, 5)), "patient": i // 2})
    return rows


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


def heartbeat(rng: np.random.Generator, hertz: float = 100.0, seconds: float = 10.0) -> np.ndarray:
    """A made-up ECG (12, time) in mV that obeys Einthoven and Goldberger."""
    phase = (np.arange(round(hertz * seconds)) / hertz + rng.uniform(0, 0.8)) % rng.uniform(0.7, 1.0)
    waves = [
        (0.18, 0.02, 0.12),
        (0.27, 0.008, -0.1),
        (0.3, 0.011, 1.1),
        (0.33, 0.01, -0.25),
        (0.55, 0.045, 0.28),
    ]
    beat = np.stack([height * np.exp(-((phase - at) ** 2) / (2 * width**2)) for at, width, height in waves])
    one, two = rng.uniform(0.5, 1.1, (2, 5)) @ beat
    r, s, t = (0.2, 0.4, 0.8, 1.3, 1.3, 1.0), (3.5, 5, 3.5, 2, 1, 0.5), (0.3, 1.2, 1.2, 1, 0.9, 0.7)
    chest = [np.array([1, 1, *shape]) @ beat for shape in zip(r, s, t, strict=True)]
    leads = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest]
    return (np.stack(leads) + rng.normal(0, 0.012, (12, beat.shape[1]))).astype(np.float32)
