"""What a network draws: a few validation ECGs beside what a method that learned to draw makes of them."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from einthoven.assemble import Job
from einthoven.loop import seed_of
from einthoven.plan import Plan


class Shown(NamedTuple):
    """A few ECGs in mV, what was drawn of them, and what results.json tells of each."""

    ecg: Float[np.ndarray, "example lead time"]  # NaN: a lead that was not recorded
    drawn: Float[np.ndarray, "example lead time"]  # NaN: not drawn
    told: list[dict[str, Any]]


def draw_examples(job: Job) -> Shown | None:
    """Let a method draw the middle windows of a few validation ECGs, the same each time; None: it cannot."""
    planned = job.plan
    rows = choose_rows(planned)
    if not len(rows):
        return None
    reader, window = planned.windows().reader, planned.wants.samples
    first, end = reader.spans(rows)
    starts = first + (end - first - window) // 2
    batch = reader.batch(rows, starts, window)
    job.method.eval()
    torch.manual_seed(seed_of(planned.seed, 0))  # what is hidden is drawn by lot
    with torch.no_grad():
        made = job.method.drawn(batch.to(job.device))
    if made is None:
        return None
    ecg, drawn = batch.ecg.float().numpy(), made.float().cpu().numpy()
    if batch.leads is not None:
        ecg[batch.leads.numpy() < 0] = np.nan
    patch = getattr(job.method.backbone, "patch", (1, window))[1]
    told = []
    for number, row in enumerate(rows):
        start = {"start": float(starts[number] - first[number]) / planned.wants.hertz}
        told.append(told_record(planned, int(row)) | start | missed(ecg[number], drawn[number], patch))
    return Shown(ecg, drawn, told)


def choose_rows(planned: Plan) -> Int[np.ndarray, " row"]:
    """Choose the first record of each of some validation patients, evenly spaced in order of their names."""
    rows = np.sort(planned.split.validation)
    names = planned.store.records["patient_id"].iloc[rows].to_numpy(dtype=object).astype(str)
    _, firsts = np.unique(names, return_index=True)
    spaced = np.linspace(0, len(firsts) - 1, min(len(firsts), planned.judging.examples))
    chosen: Int[np.ndarray, " row"] = rows[firsts[spaced.astype(int)]]
    return chosen


def told_record(planned: Plan, row: int) -> dict[str, Any]:
    """Say whose ECG it is, and how to read it."""
    line = planned.store.records.iloc[row]
    return {
        "record_id": str(line["record_id"]),
        "patient_id": str(line["patient_id"]),
        "age": None if pd.isna(line["age"]) else float(line["age"]),
        "sex": None if pd.isna(line["sex"]) else str(line["sex"]),
        "hertz": planned.wants.hertz,
        "leads": list(planned.wants.leads),
    }


def missed(
    ecg: Float[np.ndarray, "lead time"], drawn: Float[np.ndarray, "lead time"], patch: int
) -> dict[str, float | None]:
    """Return the root mean squared error over what is drawn, in mV, and that of who draws a level line.

    The level line stands at the true mean of each patch: it knows where a piece lies, not its shape.
    """
    where = np.isfinite(drawn) & np.isfinite(ecg)
    if not where.any():
        return {"rmse": None, "level": None}
    pieces = np.split(ecg, range(patch, ecg.shape[1], patch), axis=1)
    level = [np.broadcast_to(piece.mean(1, keepdims=True), piece.shape) for piece in pieces]

    def error(guess: Float[np.ndarray, "lead time"]) -> float:
        return float(np.sqrt(np.square((guess - ecg)[where], dtype=np.float64).mean()))

    return {"rmse": error(drawn), "level": error(np.concatenate(level, axis=1))}
