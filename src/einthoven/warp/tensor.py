"""Dynamic time warping in torch, for GPUs: many pairs at once, one anti-diagonal after the other.

All cells of an anti-diagonal are independent, and only the last two are kept: the memory grows with the
length of the ECGs, not with its square.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

MEMORY = 2**30  # bytes that a chunk of pairs may take, about


def pairwise(
    ecg: Float[Tensor, "record lead time"], *, band: int | None = None, memory: int = MEMORY
) -> Float[Tensor, "record record"]:
    """Return the distance of every ECG to every other, on the device where they are; as `kernel.pairwise`."""
    count = len(ecg)
    first, second = torch.triu_indices(count, count, 1, device=ecg.device)
    out = torch.zeros(count, count, device=ecg.device)
    out[first, second] = pairs(ecg, first, second, band=band, memory=memory)
    return out + out.T


@torch.no_grad()
def pairs(
    ecg: Float[Tensor, "record lead time"],
    first: Int[Tensor, " pair"],
    second: Int[Tensor, " pair"],
    *,
    band: int | None = None,
    memory: int = MEMORY,
) -> Float[Tensor, " pair"]:
    """Return the distances of some pairs, in chunks that fit into `memory` bytes."""
    _, leads, time = ecg.shape
    reach = time if band is None else min(band, time)
    ecg = ecg.float()
    # Two ECGs, two differences along a diagonal and four lines of sums, in float32.
    size = 4 * (2 * leads * time + 2 * leads * min(reach + 1, time) + 4 * time)
    chunks = [torch.arange(0)] if not len(first) else torch.arange(len(first)).split(max(1, memory // size))
    answers = [warp(ecg[first[part]], ecg[second[part]], reach) for part in chunks]
    return torch.cat(answers)


def warp(
    one: Float[Tensor, "pair lead time"], two: Float[Tensor, "pair lead time"], band: int
) -> Float[Tensor, " pair"]:
    """Compare the ECGs of each pair.

    Place i + 1 of a line holds the least sum of a path to sample i of the one and sample d - i of the
    other, for diagonal d; infinity stands where no path may go.
    """
    count, _, time = one.shape
    back = two.flip(2)  # so that a diagonal is a stretch of both
    lines = one.new_full((3, count, time + 1), torch.inf)
    lines[1, :, 0] = 0  # on the diagonal two before the first: where all paths start
    for d in range(2 * time - 1):
        now, last, before = (lines[(d - ago) % 3] for ago in range(3))
        low, high = max(0, d - time + 1, (d - band + 1) // 2), min(d, time - 1, (d + band) // 2) + 1
        now[:, max(0, low - 2) : low + 1] = torch.inf  # what the diagonal three before has left there
        if low < high:
            gap = one[:, :, low:high] - back[:, :, time - 1 - d + low : time - 1 - d + high]
            near = torch.minimum(last[:, low + 1 : high + 1], last[:, low:high])
            now[:, low + 1 : high + 1] = gap.square_().sum(1) + torch.minimum(near, before[:, low:high])
    return lines[(2 * time - 2) % 3, :, -1].sqrt()
