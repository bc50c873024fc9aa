"""The space of embeddings: distances and likeness, in float32 also where the network runs in bf16."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from einthoven.types import Outputs


def embedded(outputs: Outputs) -> Float[Tensor, "batch dim"]:
    """Return the embedding in float32 or finer: half precision cannot tell near neighbours apart."""
    embedding = outputs["embedding"]
    return embedding.to(torch.promote_types(embedding.dtype, torch.float32))


def products(x: Float[Tensor, "row dim"], y: Float[Tensor, "other dim"]) -> Float[Tensor, "row other"]:
    """Multiply all pairs; autocast would round what goes into a matrix product."""
    with torch.autocast(x.device.type, enabled=False):
        return x @ y.T


def cosines(embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """Return the cosines of all pairs."""
    unit = F.normalize(embedding, dim=1)
    return products(unit, unit)


def squares(
    embedding: Float[Tensor, "batch dim"], one: Int[Tensor, " pair"], other: Int[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """Return the squared Euclidean distances of some pairs."""
    return (embedding[one] - embedding[other]).square().sum(1)


def root(square: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    """Take the square root; its slope at zero, which is infinite, counts as zero."""
    some = square > 0
    return torch.where(some, torch.where(some, square, 1).sqrt(), 0)


def log_sum(each: Float[Tensor, "row other"], where: Bool[Tensor, "row other"]) -> Float[Tensor, "row 1"]:
    """Return log(sum(exp(each))) over some of a row: hugely negative, without a gradient, over none."""
    # Not -inf: its slope is NaN where nothing is left.
    return each.masked_fill(~where, torch.finfo(each.dtype).min).logsumexp(1, keepdim=True)


def mean(each: Float[Tensor, " some"]) -> Float[Tensor, ""]:
    """Average: zero, with a gradient, over none."""
    return each.sum() / max(len(each), 1)
