"""Distances between records of a store in a folder: computed once, mapped into memory by every training.

matrix.npy (record, record) float32, and distance.json, which says of which store, rows and distance; it is
written last.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.format import open_memmap

from einthoven.ecg import Signals
from einthoven.parts import signature
from einthoven.types import Distance

FORMAT = 1
BLOCK = 1024  # rows that are compared at once


class Matrix(NamedTuple):
    """Distances as they lie on disk."""

    table: Float[np.ndarray, "record record"]  # memory-mapped
    place: Int[np.ndarray, " row"]  # of each row of the store in the table, -1: not there
    facts: dict[str, Any]


def write_matrix(
    folder: Path,
    distance: Distance,
    rows: Int[np.ndarray, " record"],
    signals: Signals,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute the distances between some rows of a store and keep them for the distance `precomputed`.

    `progress` hears of pairs done and in all.
    """
    rows = np.unique(rows)
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "distance.json"
    whole.unlink(missing_ok=True)  # until it stands there again, what lies in the folder is not whole
    unfinished = folder / ".matrix.npy.partial"
    table = open_memmap(unfinished, mode="w+", dtype=np.float32, shape=(len(rows), len(rows)))
    fill(table, distance, rows, progress)
    table.flush()
    os.replace(unfinished, folder / "matrix.npy")
    facts = {
        "format": FORMAT,
        "store": signals.fingerprint,
        "records": len(signals.records),
        "distance": described(distance),
        "rows": rows.tolist(),
    }
    unfinished = folder / ".distance.json.partial"
    unfinished.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    os.replace(unfinished, whole)


def fill(
    table: Float[np.ndarray, "record record"],
    distance: Distance,
    rows: Int[np.ndarray, " record"],
    progress: Callable[[int, int], None],
) -> None:
    """Compare blocks of rows with blocks of rows."""
    blocks = [slice(first, first + BLOCK) for first in range(0, len(rows), BLOCK)]
    done, total = 0, len(rows) * (len(rows) - 1) // 2
    for place, one in enumerate(blocks):
        for other in blocks[: place + 1]:
            size = len(rows[one])
            if one == other:
                table[one, one] = distance.among(rows[one])
                done += size * (size - 1) // 2
            else:
                apart = distance.among(np.concatenate([rows[one], rows[other]]))[:size, size:]
                table[one, other], table[other, one] = apart, apart.T
                done += apart.size
            progress(done, total)


def described(distance: Distance) -> dict[str, Any]:
    """Return the table of a recipe that makes this distance."""
    part = type(distance)
    name = part.__module__.rsplit(".", 1)[-1]
    options = {key: getattr(distance, key, None) for key in signature(part)[1]}
    return {"name": name} | options


def read_matrix(folder: Path, signals: Signals) -> Matrix:
    """Open the distances in a folder; those of another store are refused."""
    try:
        facts = json.loads((folder / "distance.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no finished distances (distance.json): einthoven distances STORE --out {folder}"
        ) from None
    if facts.get("format") != FORMAT:
        raise ValueError(
            f"{folder} has format {facts.get('format')}, this version reads {FORMAT}: make it anew."
        )
    if facts["store"] != signals.fingerprint:
        raise ValueError(
            f"{folder} holds distances of store {facts['store']}, this is store {signals.fingerprint}: "
            "make them anew with `einthoven distances`, or set `path` to those of this store."
        )
    try:
        table = np.load(folder / "matrix.npy", mmap_mode="r")
    except (OSError, ValueError) as damage:
        raise ValueError(f"{folder / 'matrix.npy'} cannot be read: make the distances anew.") from damage
    place = np.full(facts["records"], -1)
    place[facts["rows"]] = np.arange(len(facts["rows"]))
    return Matrix(table, place, facts)
