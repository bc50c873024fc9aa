"""Who belongs together in a batch: views of a record, ECGs of a patient, ECGs of one class.

And where a number says how far apart ECGs belong: by how much it differs.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from einthoven.types import Batch

Same = Literal["record", "patient", "target"]
ROUNDING = 1e-6  # of the numbers that are compared: a scaled target is not exact, 61 - 60 is not 60 - 59


def together(batch: Batch, same: Same) -> Bool[Tensor, "batch batch"]:
    """Say which rows belong together; a row of the batch never belongs with itself.

    `target`: both have the same labels, all of them known (the same class, or the same value).
    """
    who = identity(batch, same)
    alike = (who[:, None] == who[None]).all(2)  # NaN equals nothing, so who is unknown is alone
    return alike & ~itself(alike)


def known(batch: Batch, same: Same) -> Bool[Tensor, " batch"]:
    """Say of which rows it is known where they belong: all, unless it takes a label that is missing."""
    return ~identity(batch, same).isnan().any(1)


def identity(batch: Batch, same: Same) -> Shaped[Tensor, "batch number"]:
    """Return what those who belong together have in common."""
    if same != "target":
        return (batch.row if same == "record" else batch.patient)[:, None]
    if batch.target is None or not batch.target.shape[1]:
        raise ValueError("This loss compares labels, and the recipe has no [task].")
    return batch.target


def number(batch: Batch, column: str, reader: str) -> Float[Tensor, " batch"]:
    """Return each row's value in a column of the store, or without one the (first) target; NaN: unknown."""
    if column and column not in batch.columns:
        raise ValueError(f"{reader} reads column {column!r}, which this batch lacks.")
    if column:
        return batch.columns[column].float()
    if batch.target is None or not batch.target.shape[1]:
        raise ValueError(f"{reader} needs a column of the store: the recipe has no [task].")
    return batch.target[:, 0].float()


def gaps(
    value: Float[Tensor, " record"],
) -> tuple[Float[Tensor, "record record"], Float[Tensor, "record record"]]:
    """Return by how much the values of all pairs differ, and how far off rounding may have left that.

    Two gaps are equal that differ by no more than both may be off. Each pair has its own bound, by its own
    values and those of an average record: one that is far out makes no others equal.
    """
    size = value.abs()
    usual = size.nanmedian() if len(size) else size.sum()
    return (value[:, None] - value).abs(), ROUNDING * torch.maximum(size[:, None], size).clamp(min=usual)


def itself(square: Shaped[Tensor, "row row"]) -> Bool[Tensor, "row row"]:
    """Mark the diagonal."""
    return torch.eye(len(square), dtype=torch.bool, device=square.device)
