"""The cells of a bench on a Ray cluster: each is the same run as without, in a process of its own."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from einthoven.bench.asked import Cell
from einthoven.bench.cells import Outcome, Place, Told, reason_of, run_cell
from einthoven.cores import cores

PATIENCE = 10.0  # seconds that a cluster may take to answer


def on_cluster(workers: int) -> Callable[..., Iterator[Outcome]]:
    """Return what runs cells on so many workers: of the cluster at RAY_ADDRESS, or of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported: tells nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as missing:
        raise ValueError("--ray needs: pip install 'einthoven[ray]'") from missing

    def outcomes(place: Place, cells: Sequence[Cell], told: Told) -> Iterator[Outcome]:
        if not cells:
            return
        start(ray, workers)
        try:
            yield from in_turn(ray, place, cells, workers)
        finally:
            ray.shutdown()

    return outcomes


def start(ray: ModuleType, workers: int) -> None:
    """Join the cluster at RAY_ADDRESS, or start one that only this machine can reach."""
    if address := os.environ.get("RAY_ADDRESS"):
        refuse_unreachable(address)
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as refused:
            raise ValueError(
                f"Cannot join the Ray cluster at RAY_ADDRESS={address}: {reason_of(refused)}"
            ) from (refused)
        return
    ray.init(
        num_cpus=max(workers, cores()),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
    )


def refuse_unreachable(address: str) -> None:
    """Refuse an address where nobody listens: ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto" or "local"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as refused:
        raise ValueError(
            f"No Ray cluster answers at RAY_ADDRESS={address} ({refused}): start it, or unset RAY_ADDRESS to "
            "use this machine."
        ) from refused


def in_turn(ray: ModuleType, place: Place, cells: Sequence[Cell], workers: int) -> Iterator[Outcome]:
    """Keep as many cells running as there are workers, in their order; yield them as they end."""
    there = ray.cluster_resources()
    cpus = max(1, int(there.get("CPU", 1)) // workers)
    gpus = 0.0 if place.device == "cpu" else share(there.get("GPU", 0), workers)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(in_worker)
    place = replace(place, out=place.out.absolute(), data=place.data.absolute())
    waiting = list(cells)
    running: dict[Any, Cell] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            cell = waiting.pop(0)
            running[task.remote(place, cell, cpus)] = cell
        (ended,), _ = ray.wait(list(running))
        yield result(ray, ended, running.pop(ended))


def result(ray: ModuleType, ended: Any, cell: Cell) -> Outcome:
    """Return what became of a cell; a worker that was killed is its cell's failure, and nobody else's."""
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayTaskError as wrong:
        return Outcome(cell, reason_of(wrong.cause))
    except ray.exceptions.RayError as death:
        return Outcome(
            cell, f"its worker died ({type(death).__name__}); the same command goes on from there."
        )
    return outcome


def share(gpus: float, workers: int) -> float:
    """Divide GPUs among workers: one each, or an even part of one (Ray counts ten-thousandths).

    >>> share(0, 2), share(8, 2), share(2, 3), share(1, 3)
    (0.0, 1.0, 0.5, 0.3333)
    """
    if gpus < 1 or gpus >= workers:
        return 1.0 if gpus >= 1 else 0.0
    on_one = -(-workers // int(gpus))
    return int(10_000 / on_one) / 10_000


def in_worker(place: Place, cell: Cell, threads: int) -> Outcome:
    """Run a cell in a worker, with its part of the cores."""
    import torch

    torch.set_num_threads(threads)
    return run_cell(place, cell)
