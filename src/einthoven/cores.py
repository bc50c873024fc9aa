"""Work shared among the cores of this process."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np


def cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared(work: Callable[[slice], None], length: int, *, steps: int) -> None:
    """Do `work` on slices of `length`, one per core where `steps` of inner loop make a thread worth while.

    Threads, not numba's own parallel loops: those cannot be entered from two threads, nor after a fork.
    """
    parts = max(1, min(cores(), length, steps // 50_000))
    edges = np.linspace(0, length, parts + 1).astype(int)
    slices = [slice(first, stop) for first, stop in pairwise(edges)]
    if parts == 1:
        work(slices[0])
        return
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(work, slices))
