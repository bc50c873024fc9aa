"""What a method says of the records of a store: answers, and features. The one file here with torch."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int

from einthoven.data.loader import Windows
from einthoven.data.task import Task
from einthoven.loop import autocast
from einthoven.types import Batch, Method, Outputs

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
    values: Float[np.ndarray, "window value"], place: Int[np.ndarray, " window"], records: int, pool: str
) -> Float[np.ndarray, "record value"]:
    """Pool the windows of each record by their largest value or their mean."""
    out = np.full((records, values.shape[1]), -np.inf if pool == "max" else 0.0)
    POOLS[pool].at(out, place, values)
    if pool == "mean":
        out /= np.bincount(place, minlength=records)[:, None]
    return out


def answers(
    method: Method,
    windows: Windows,
    rows: Int[np.ndarray, " record"],
    task: Task,
    *,
    pool: str,
    precision: str = "fp32",
) -> Float[np.ndarray, "record label"]:
    """Return probabilities (or values in the column's unit): pooled after the link, never before."""
    answer = evaluating(method, precision)
    places, scores = [], []
    for place, batch in windows.batches(rows):
        places.append(place)
        scores.append(task.answer(answer(batch)["logits"].float().cpu().numpy()))
    return pooled(np.concatenate(scores), np.concatenate(places), len(rows), pool)


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
    places, values = [], []
    for place, batch in windows.batches(rows):
        places.append(place)
        values.append(answer(batch)[which].float().flatten(1).cpu().numpy())
    together = pooled(np.concatenate(values), np.concatenate(places), len(rows), "mean")
    return together.astype(np.float32)
