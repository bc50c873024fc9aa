"""Which patches to read and which to hide: two index tensors, for `Patches.take`."""

from math import floor

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from einthoven.types import PatchBackbone, Patches

ROUNDING = 1e-9  # 10 x (1 - 0.8) is 1.9999999999999996
Split = tuple[Int[Tensor, "batch kept"], Int[Tensor, "batch hidden"]]


def refuse_share(name: str, *shares: float) -> None:
    """Refuse to hide nothing, or everything."""
    if not all(0 < share < 1 for share in shares) or list(shares) != sorted(shares):
        told = ", ".join(f"{share:g}" for share in shares)
        raise ValueError(
            f"Method {name!r} hides a share above 0 and below 1 of the patches; got hide = {told}."
        )


def kept_of(count: int, share: float) -> int:
    """Return how many of `count` patches stay when a share is hidden: rounded down, never none, never all."""
    if count < 2:
        raise ValueError("A window of one patch has nothing to hide: say a shorter [backbone] patch.")
    return min(max(floor(count * (1 - share) + ROUNDING), 1), count - 1)


def anywhere(patches: Patches, share: float) -> Split:
    """Hide a share of the patches of each record, wherever they are (MAE)."""
    batch, count = patches.lead.shape
    order = torch.rand(batch, count, device=patches.lead.device).argsort(1)
    keep = kept_of(count, share)
    return order[:, :keep], order[:, keep:]


def per_lead(patches: Patches, share: float) -> Split:
    """Hide a share of every lead of each record, each lead by itself (ST-MEM)."""
    batch, rows, steps = grid(patches)
    order = torch.rand(batch, rows, steps, device=patches.lead.device).argsort(2)
    order = order + steps * torch.arange(rows, device=order.device)[:, None]
    keep = kept_of(steps, share)
    return order[..., :keep].flatten(1), order[..., keep:].flatten(1)


def random_times(steps: int, low: float, high: float) -> Bool[Tensor, " step"]:
    """Hide a share of the times, drawn from [low, high) for the batch and rounded down (ECG-JEPA, random)."""
    kept_of(steps, high)
    count = int(steps * (low + (high - low) * float(torch.rand(()))))
    count = min(max(count, 1), steps - 1)
    hidden = torch.zeros(steps, dtype=torch.bool)
    hidden[torch.randperm(steps)[:count]] = True
    return hidden


def block_times(steps: int, low: float, high: float, blocks: int = 4) -> Bool[Tensor, " step"]:
    """Hide blocks of times, each a share from [low, high) long and starting anywhere (ECG-JEPA, multi-block).

    A block that passes the end goes on at the beginning, so every time is as likely to be hidden:
    1 - (1 - E[length] / steps) ** blocks. (The published sampler never hides the last patch, and the first
    seven times less often than those in the middle.)
    """
    refuse_blocks(steps, high, blocks)
    lengths = (steps * (low + (high - low) * torch.rand(blocks))).long().clamp(min=1)
    starts = torch.randint(steps, (blocks,))
    along = (torch.arange(steps) - starts[:, None]) % steps
    return (along < lengths[:, None]).any(0)


def refuse_blocks(steps: int, high: float, blocks: int = 4) -> None:
    """Refuse blocks that may hide every time."""
    if max(int(steps * high), 1) * blocks >= steps:
        raise ValueError(
            f"{blocks} blocks of up to {high:g} of {steps} patches may hide all: say a shorter patch, "
            "a longer window, or a smaller hide."
        )


def at_times(patches: Patches, hidden: Bool[Tensor, " step"]) -> Split:
    """Hide the same times in every lead and record."""
    batch, rows, steps = grid(patches)
    row = steps * torch.arange(rows)[:, None]
    keep, hide = (
        (row + where.nonzero().T).flatten().to(patches.lead.device).expand(batch, -1)
        for where in (~hidden, hidden)
    )
    return keep, hide


def grid(patches: Patches) -> tuple[int, int, int]:
    """Return batch, rows, steps."""
    if patches.rows is None:
        raise ValueError("These patches form no rows of leads.")
    batch, count = patches.lead.shape
    return batch, patches.rows, count // patches.rows


def times_of(backbone: PatchBackbone) -> int:
    """Count the times into which a backbone cuts its window."""
    return backbone.wants.samples // backbone.patch[1]


def places_of(backbone: PatchBackbone) -> int:
    """Count the patches of a window of all leads."""
    return times_of(backbone) * (1 if backbone.patch[0] > 1 else len(backbone.wants.leads))
