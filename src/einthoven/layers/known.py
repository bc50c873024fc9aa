"""Targets that are partly unknown: NaN takes no part."""

from jaxtyping import Bool, Float
from torch import Tensor

from einthoven.types import Batch


def known(batch: Batch) -> tuple[Float[Tensor, "batch label"], Bool[Tensor, "batch label"]]:
    """Return the target with zeros for unknown values, and where it is known."""
    if batch.target is None:
        raise ValueError("This loss compares with a target, and the recipe has no [task].")
    return batch.target.nan_to_num(), ~batch.target.isnan()


def average(each: Float[Tensor, "batch label"], where: Bool[Tensor, "batch label"]) -> Float[Tensor, ""]:
    """Average where known: zero, with a gradient, when nothing is."""
    return (each * where).sum() / where.sum().clamp(min=1)
