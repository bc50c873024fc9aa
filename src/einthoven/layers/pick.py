"""What miners share: tables of who may meet whom, and choices from them, for all anchors at once."""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from einthoven.layers.kin import itself, known, together
from einthoven.layers.space import embedded
from einthoven.types import Batch, Outputs, Triplets


def same_and_other_class(batch: Batch) -> tuple[Bool[Tensor, "batch batch"], Bool[Tensor, "batch batch"]]:
    """Say which places hold another record of the same class, and which hold one of another class.

    A class is a whole line of the target, so it serves binary tasks, classes and sets of labels. A record of
    which any label is unknown (NaN) is in neither table, nor are two views of one record.
    """
    same, sure = together(batch, "target"), known(batch, "target")
    other = sure[:, None] & sure & ~same & ~itself(same)
    return same & (batch.row[:, None] != batch.row), other


def plain_distances(outputs: Outputs) -> Float[Tensor, "batch batch"]:
    """Return the Euclidean distances of embeddings, not squared and without gradient."""
    held = embedded(outputs).detach()
    with torch.autocast(held.device.type, enabled=False):
        return torch.cdist(held, held, compute_mode="donot_use_mm_for_euclid_dist")


def one_of(allowed: Bool[Tensor, "row column"]) -> Int[Tensor, " row"]:
    """Choose one allowed column of each row, each with the same chance; every row must have one."""
    luck = torch.rand(allowed.shape, device=allowed.device)
    return luck.masked_fill(~allowed, -1.0).argmax(1)


def triplets(positive: Bool[Tensor, "anchor one"], negative: Bool[Tensor, "anchor another"]) -> Triplets:
    """Choose one positive and one negative for every anchor that has both."""
    anchor = (positive.any(1) & negative.any(1)).nonzero()[:, 0]
    return Triplets(anchor, one_of(positive[anchor]), one_of(negative[anchor]))


def prefer(first: Bool[Tensor, "row column"], rest: Bool[Tensor, "row column"]) -> Bool[Tensor, "row column"]:
    """Allow what comes first; in rows that have none of it, the rest."""
    return first | (rest & ~first.any(1, keepdim=True))


def farthest(
    distance: Float[Tensor, "row column"],
    allowed: Bool[Tensor, "row column"],
    count: int,
    tolerance: float | Float[Tensor, "row column"] = 0.0,
) -> Bool[Tensor, "row column"]:
    """Keep the `count` farthest of the allowed columns, and those as far as the last of them."""
    least = (distance - tolerance).masked_fill(~allowed, -torch.inf)
    last = least.topk(min(count, least.shape[1]), 1).values[:, -1:]
    return allowed & (distance + tolerance >= last)


def near_and_far(
    distance: Float[Tensor, "record record"],
    record: Int[Tensor, " batch"],
    *,
    count: int | None = 1,
    tolerance: float | Float[Tensor, "record record"] = 0.0,
) -> Triplets:
    """Choose the nearest record and one that is farther for each place of a batch, then a view of each.

    A negative is one of the `count` farthest records, or any (None), but farther than the positive. NaN: the
    two cannot be compared. Distances that differ by no more than the `tolerance` of both are equal, and
    chance decides.
    """
    apart = distance.clone().fill_diagonal_(torch.nan)  # no record meets itself
    least, most = apart - tolerance, apart + tolerance
    nearest = most.masked_fill(most.isnan(), torch.inf).amin(1, keepdim=True)
    positive, negative = least <= nearest, least > nearest
    if count is not None:
        negative = farthest(apart, negative, count, tolerance)
    anchor, one, another = triplets(positive[record], negative[record])
    return Triplets(anchor, one_of(one[:, None] == record), one_of(another[:, None] == record))


def by_record(
    row: Int[Tensor, " batch"], values: Shaped[Tensor, "batch *any"]
) -> tuple[Shaped[Tensor, "record *any"], Int[Tensor, " batch"]]:
    """Return the values of each different record, and which record each place of a batch shows."""
    different, record = row.unique(return_inverse=True)
    return values.new_empty(len(different), *values.shape[1:]).index_copy(0, record, values), record
