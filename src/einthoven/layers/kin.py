"""Who belongs together in a batch: views of a record, ECGs of a patient, ECGs of one class."""

from typing import Literal

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from einthoven.types import Batch

Same = Literal["record", "patient", "target"]


def together(batch: Batch, same: Same) -> Bool[Tensor, "batch batch"]:
    """Say which rows belong together; a row of the batch never belongs with itself.

    `target`: both have the same labels, all of them known (the same class, or the same value).
    """
    who = name(batch, same)
    alike = (who[:, None] == who[None]).all(2)  # NaN equals nothing, so who is unknown is alone
    return alike & ~itself(alike)


def known(batch: Batch, same: Same) -> Bool[Tensor, " batch"]:
    """Say of which rows it is known where they belong: all, unless it takes a label that is missing."""
    return ~name(batch, same).isnan().any(1)


def name(batch: Batch, same: Same) -> Shaped[Tensor, "batch number"]:
    """Return what those who belong together have in common."""
    if same != "target":
        return (batch.row if same == "record" else batch.patient)[:, None]
    if batch.target is None or not batch.target.shape[1]:
        raise ValueError("This loss compares labels, and the recipe has no [task].")
    return batch.target


def itself(square: Shaped[Tensor, "row row"]) -> Bool[Tensor, "row row"]:
    """Mark the diagonal."""
    return torch.eye(len(square), dtype=torch.bool, device=square.device)
