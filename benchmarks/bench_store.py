"""Records per second that random batches of 128 whole records reach, in one process.

python benchmarks/bench_store.py DATA     (a folder in PTB-XL's layout; a store also)
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from einthoven import parts
from einthoven.data.importing import import_
from einthoven.data.store import Store, open_store

BATCH, ROUNDS, SECONDS, BAR = 128, 5, 1.0, 50_000


def rate(store: Store, read: str) -> tuple[float, float]:
    """Return records/s over about a second, by the clock and by CPU time; the page cache is warm."""
    rng = np.random.default_rng(0)
    half, done = store.samples // 4, 0
    began, spent = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < SECONDS:
        rows = rng.integers(0, len(store), BATCH)
        if read == "whole":
            store.read(rows)
        else:
            store.crop(rows, rng.integers(0, store.samples - half, BATCH), half)
        done += BATCH
    return done / passed, done / (time.process_time() - spent)


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if (path / "store.json").exists():
            store = open_store(path)
        else:
            store = import_(parts.find("sources", "ptbxl")(path), Path(folder) / "store", workers=2)
        store.read(np.arange(len(store)))  # compile, and bring the shards into memory
        for read in ("whole", "quarter"):
            clock, cpu = zip(*(rate(store, read) for _ in range(ROUNDS)), strict=True)
            bar = f" (bar {BAR:,})" if read == "whole" else ""
            print(
                f"store, batches of {BATCH} {read} records, best of {ROUNDS}: "
                f"{max(clock):,.0f} records/s{bar}, {max(cpu):,.0f} per CPU second"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
