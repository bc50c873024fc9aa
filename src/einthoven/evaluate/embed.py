"""What a method says of the records of a store: answers, and features. The one file here with torch."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from einthoven.data.loader import Windows
from einthoven.data.task import Task
from einthoven.loop import autocast
from einthoven.types import Batch, Method, Outputs

Pool = Literal["max", "mean"]
POOLS: dict[str, np.ufunc] = {"max": np.maximum, "mean": np.add}


def evaluating(method: Method, precision: str) -> Callable[[Batch], Outputs]:
    """Make a function that answers a batch in eval mode and leaves the mode as it was."""
    device = next(method.parameters()).device

    def answer(batch: Batch) -> Outputs:
        was = method.training
        method.eval()
        with torch.no_grad(), autocast(device.type, precision):
            outputs = method.outputs(batch.to(device))
        method.train(was)
        return outputs

    return answer


def pooled(
    windows: Iterable[tuple[Int[np.ndarray, " window"], Float[np.ndarray, "window value"]]],
    records: int,
    pool: Pool,
) -> Float[np.ndarray, "record value"]:
    """Pool the windows of each record by their largest value or their mean, as they come."""
    count, out = np.zeros((records, 1)), np.zeros((records, 0))
    for place, values in windows:
        if not out.size:
            out = np.full((records, values.shape[1]), -np.inf if pool == "max" else 0.0)
        POOLS[pool].at(out, place, values)
        count += np.bincount(place, minlength=records)[:, None]
    return out if pool == "max" else out / count


def answers(
    method: Method,
    windows: Windows,
    rows: Int[np.ndarray, " record"],
    task: Task,
    *,
    pool: Pool,
    which: str = "logits",
    precision: str = "fp32",
) -> Float[np.ndarray, "record label"]:
    """Return probabilities (or values in the column's unit): pooled after the link, never before."""
    answer = evaluating(method, precision)
    said = ((place, task.answer(numbers(answer(batch)[which]))) for place, batch in windows.batches(rows))
    return pooled(said, len(rows), pool)


def features(
    method: Method,
    windows: Windows,
    rows: Int[np.ndarray, " record"],
    *,
    which: str = "features",
    precision: str = "fp32",
) -> Float[np.ndarray, "record dim"]:
    """Return one vector per record: the mean over windows of a named output."""
    answer = evaluating(method, precision)
    said = ((place, numbers(answer(batch)[which])) for place, batch in windows.batches(rows))
    return pooled(said, len(rows), "mean").astype(np.float32)


def numbers(output: Tensor) -> Float[np.ndarray, "window value"]:
    """Bring an output to numpy, one line per window."""
    return np.asarray(output.float().flatten(1).cpu(), dtype=np.float64)
