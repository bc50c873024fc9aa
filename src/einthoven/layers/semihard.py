"""Semi-hard negatives for every pair of every label, by sorting: compiled for the CPU, in torch elsewhere.

For a pair (i, j) of one value of a label, among the records n of the other value: the nearest to i that
is farther than j, or the farthest if none is (Schroff et al. 2015, arXiv:1503.03832).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Values(NamedTuple):
    """Where a label is present, where it is absent (neither: unknown), and which records are anchors."""

    present: Bool[Tensor, "label row"]
    absent: Bool[Tensor, "label row"]
    anchor: Bool[Tensor, "label row"]

    def pairs(self) -> Int[Tensor, " label"]:
        """Count the ordered pairs of one value that begin with an anchor."""
        here, gone = self.present.sum(1), self.absent.sum(1)
        return (self.present & self.anchor).sum(1) * (here - 1) + (self.absent & self.anchor).sum(1) * (
            gone - 1
        )

    def both(self) -> Bool[Tensor, " label"]:
        """Say which labels hold both values."""
        return self.present.any(1) & self.absent.any(1)

    def same(self) -> Bool[Tensor, "label row row"]:
        """Say which pairs are counted above."""
        here, gone = self.present, self.absent
        same = (here[:, :, None] & here[:, None]) | (gone[:, :, None] & gone[:, None])
        itself = torch.eye(here.shape[1], dtype=torch.bool, device=here.device)
        return same & self.anchor[:, :, None] & ~itself


Slopes = tuple[Float[Tensor, "label row row"], Float[Tensor, " label"]]


def slopes(distance: Float[Tensor, "label row row"], values: Values, margin: float) -> Slopes:
    """Return W and s: the mean of relu(margin + d(i, j) - d(i, n)) over pairs is (W * d).sum() + margin * s.

    So W is its gradient too, and s the share of pairs that count, for each label. A label without a pair,
    or without a record of the other value, gets zeros. Distances are float32 from zero up.
    """
    if distance.device.type != "cpu":
        return slopes_in_torch(distance, values, margin)
    slope = np.zeros(distance.shape, np.float32)
    share = np.zeros(len(distance), np.float32)
    unit = (values.both() / values.pairs().clamp(min=1)).float().numpy()
    held = [each.contiguous().numpy() for each in (distance.detach(), *values)]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(first, None, threads) for first in range(threads)]
        lines = ([table[part] for table in (*held, unit, slope, share)] for part in parts)
        list(pool.map(lambda tables: walk(np.float32(margin), *tables), lines))
    return torch.from_numpy(slope), torch.from_numpy(share)


@numba.njit(nogil=True, cache=True)
def walk(margin, distance, present, absent, anchor, unit, slope, share):  # type: ignore[no-untyped-def]
    """Fill slope and share; an anchor's negatives are sorted once, each positive finds its own by halving."""
    for k in np.flatnonzero(unit):
        for i in np.flatnonzero(anchor[k] & (present[k] != absent[k])):
            same, other = (present[k], absent[k]) if present[k, i] else (absent[k], present[k])
            # The order of floats from zero up is that of their bits; a key also holds the place.
            keys = distance[k, i].view(np.int32).astype(np.int64) << 32
            negatives = np.sort(keys[other] | np.flatnonzero(other))
            counted = 0
            for j in np.flatnonzero(same):
                n = negatives[farther(negatives, keys[j] + (1 << 32))] & 0xFFFFFFFF
                if j != i and margin + distance[k, i, j] > distance[k, i, n]:
                    slope[k, i, j] += unit[k]
                    slope[k, i, n] -= unit[k]
                    counted += 1
            share[k] += unit[k] * counted


@numba.njit(nogil=True, cache=True)
def farther(negatives, bound):  # type: ignore[no-untyped-def]
    """Return the place of the first key from `bound` up, or the last."""
    low, high = 0, len(negatives) - 1
    while low < high:
        middle = (low + high) >> 1
        if negatives[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


def slopes_in_torch(distance: Float[Tensor, "label row row"], values: Values, margin: float) -> Slopes:
    """Do the same in a few large steps, for a GPU."""
    here, gone = values.present, values.absent
    other = (here[:, :, None] & gone[:, None]) | (gone[:, :, None] & here[:, None])
    held = distance.detach().contiguous()
    far, order = held.masked_fill(~other, torch.inf).sort(2)
    place = torch.searchsorted(far, held, right=True)
    place = torch.minimum(place, other.sum(2, keepdim=True) - 1).clamp(min=0)
    counts = values.same() & values.both()[:, None, None] & (margin + held > far.gather(2, place))
    unit = counts / values.pairs().clamp(min=1)[:, None, None]
    return unit.scatter_add(2, order.gather(2, place), -unit), unit.sum((1, 2))
