"""Dynamic time warping of all pairs beside dtaidistance and tslearn, on threads, and nearest neighbours.

OPENBLAS_NUM_THREADS=1 python benchmarks/bench_dtw.py [STORE]     (for the neighbours; none: made-up ECGs)
needs: pip install dtaidistance tslearn
bars: CPU seconds of one thread at most 0.20x dtaidistance and 0.12x tslearn for 64 x 12 x 250, band 25;
two threads 1.7x one by the clock; neighbours 1.5x comparing all pairs, and the same.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.store import open_store
from einthoven.data.whole import Whole
from einthoven.distances.dtw import neighbours, pairwise

SIZES = [  # records, samples, band, rounds
    (64, 250, 25, 5),
    (64, 250, None, 3),
    (32, 1000, 100, 2),
    (32, 1000, None, 1),
    (32, 2500, 250, 1),
]


def noise(records: int, samples: int) -> np.ndarray:
    """Cost does not depend on what is compared, but for the neighbours."""
    return np.random.default_rng(0).normal(size=(records, 12, samples)).astype(np.float32)


def seconds(work: Callable[[], Any], rounds: int, clock: Callable[[], float]) -> tuple[float, Any]:
    """Return the least time of some rounds, and the result."""
    times, result = [], None
    for _ in range(rounds):
        start = clock()
        result = work()
        times.append(clock() - start)
    return min(times), result


def theirs() -> dict[str, Callable[[np.ndarray, int | None], np.ndarray]]:
    """The libraries that are installed, as (ECGs, band) -> distances above the diagonal."""
    found: dict[str, Callable[[np.ndarray, int | None], np.ndarray]] = {}
    try:
        from dtaidistance import dtw_ndim
    except ImportError:
        print("dtaidistance is not installed: pip install dtaidistance")
    else:

        def dtaidistance(ecg: np.ndarray, band: int | None) -> np.ndarray:
            series = np.ascontiguousarray(ecg.transpose(0, 2, 1), dtype=np.float64)
            window = None if band is None else band + 1
            return np.triu(dtw_ndim.distance_matrix_fast(series, window=window, parallel=False), 1)

        found["dtaidistance"] = dtaidistance
    try:
        from tslearn.metrics import cdist_dtw
    except ImportError:
        print("tslearn is not installed: pip install tslearn")
    else:

        def tslearn(ecg: np.ndarray, band: int | None) -> np.ndarray:
            series = np.ascontiguousarray(ecg.transpose(0, 2, 1), dtype=np.float64)
            options = {} if band is None else {"global_constraint": "sakoe_chiba", "sakoe_chiba_radius": band}
            return np.triu(cdist_dtw(series, **options), 1)

        found["tslearn"] = tslearn
    return found


def all_pairs() -> None:
    """CPU seconds of one thread, interleaved with those of others."""
    others = theirs()
    print(
        "\nAll pairs, CPU seconds of one thread (in brackets: einthoven's share of it, largest difference)\n"
    )
    print("| ECGs x leads x samples | band | einthoven | " + " | ".join(others) + " |")
    print("|---" * (3 + len(others)) + "|")
    for records, samples, band, rounds in SIZES:
        ecg = noise(records, samples)
        pairwise(ecg[:2], band=band, threads=1)
        mine = partial(pairwise, ecg, band=band, threads=1)
        ours, told = seconds(mine, rounds, time.process_time)
        cells = []
        for compare in others.values():
            compare(ecg[:3, :, :40], None if band is None else 5)
            their, truth = seconds(partial(compare, ecg, band), max(1, rounds // 2), time.process_time)
            ours = min(ours, seconds(mine, rounds, time.process_time)[0])
            worst = np.abs(np.triu(told, 1) - truth).max() / truth.max()
            cells.append(f"{their:.3f} ({ours / their:.2f}x, {worst:.0e})")
        print(f"| {records} x 12 x {samples} | {band or 'none'} | {ours:.3f} | " + " | ".join(cells) + " |")


def threads() -> None:
    """Wall seconds of one and two threads; means something only where nothing else runs."""
    print(
        "\nThreads, wall seconds\n\n| ECGs x leads x samples | band | one | two | gain |\n|---"
        + "|---" * 4
        + "|"
    )
    ecg = noise(256, 250)
    for band in (25, None):
        one, two = (
            seconds(partial(pairwise, ecg, band=band, threads=count), 3, time.perf_counter)[0]
            for count in (1, 2)
        )
        print(f"| 256 x 12 x 250 | {band or 'none'} | {one:.2f} | {two:.2f} | {one / two:.2f}x |")


def nearest(path: Path | None) -> None:
    """CPU seconds of one thread for the nearest of each ECG, against comparing all pairs."""
    if path:
        store = open_store(path)
        ecg = Whole(store).read(np.arange(len(store)), 25.0)
        what = store.title
    else:
        shapes, rng = noise(40, 250).cumsum(2) / 10, np.random.default_rng(1)
        ecg = shapes[rng.integers(0, 40, 2000)] * rng.uniform(0.5, 2, (2000, 1, 1)).astype(np.float32)
        ecg += noise(2000, 250) / 10
        what = "made-up walks, which tell little: name a store"
    ecg = ecg[np.random.default_rng(0).permutation(len(ecg))]
    print(f"\nNearest neighbours, CPU seconds of one thread; {what}\n")
    print(
        "| ECGs x leads x samples | band | all pairs | neighbours | gain | the same |\n|---"
        + "|---" * 5
        + "|"
    )
    for count, band in ((512, 6), (512, 25), (len(ecg), 25)):
        part = ecg[:count]
        neighbours(ecg[:500], band=25, threads=1)
        neighbours(part[:20], band=band, threads=1)
        brute, apart = seconds(partial(pairwise, part, band=band, threads=1), 1, time.process_time)
        np.fill_diagonal(apart, np.inf)
        search = partial(neighbours, part, band=band, threads=1)
        fast, (index, far) = seconds(search, 1, time.process_time)
        same = np.array_equal(index[:, 0], apart.argmin(1)) and np.array_equal(far[:, 0], apart.min(1))
        size = f"{count:,} x 12 x {part.shape[2]}"
        gain = f"{brute / fast:.2f}x | {'yes' if same else 'NO'}"
        print(f"| {size} | {band} | {brute:.2f} | {fast:.2f} | {gain} |")


if __name__ == "__main__":
    all_pairs()
    threads()
    nearest(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
