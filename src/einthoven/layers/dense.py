"""Small dense layers behind a pool, as in the head of the PTB-XL benchmark."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn


def dense(width: int, hidden: Sequence[int], labels: int, dropout: float) -> nn.Sequential:
    """Batch norm, dropout and a linear layer per stage, ReLU between.

    `dropout` is that of the last stage; the earlier ones drop half as much.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise([width, *hidden, labels])):
        last = i == len(hidden)
        layers += [nn.BatchNorm1d(before), nn.Dropout(dropout if last else dropout / 2)]
        layers += [nn.Linear(before, after)] if last else [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def keep(x: Shaped[Tensor, "*shape"], dropout: float) -> Float[Tensor, "*shape"]:
    """Draw a mask for dropout: 0, or what makes up for it.

    On the CPU one random byte decides on an element, so `dropout` counts in steps of 1/256: an eighth of
    the time of a Bernoulli draw for each.
    """
    if x.device.type != "cpu":
        return F.dropout(torch.ones_like(x), dropout)
    drops = round(256 * dropout)
    bits = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    mask = bits.view(torch.uint8)[: x.numel()].view(x.shape) >= drops
    return mask.to(x.dtype).mul_(256 / (256 - drops))
