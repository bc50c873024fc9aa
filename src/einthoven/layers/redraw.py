"""Patches put back in their places: what a method draws, in millivolts."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from einthoven.layers.mask import grid
from einthoven.layers.masked import level_and_height
from einthoven.types import Batch, PatchBackbone, Patches


@torch.no_grad()
def redraw(
    values: Float[Tensor, "batch patch samples"], patches: Patches, backbone: PatchBackbone, batch: Batch
) -> Float[Tensor, "batch wanted time"]:
    """Make ECGs in mV of `values`, drawn in place of a batch's patches, all of them; NaN where nothing is.

    A record is scaled by one factor and one shift, so its largest and its smallest sample tell them.
    """
    plain, _ = backbone.ordered(batch.ecg, batch.leads)
    absent = ~plain.ne(0).any(2, keepdim=True)  # as `patchify` sees it
    scaled, drawn = (uncut(x.float(), patches, backbone) for x in (patches.values, values))
    plain = plain[..., : scaled.shape[2]]
    (low_mv, high_mv), (low, high) = extremes(plain, absent), extremes(scaled, absent)
    factor = (high_mv - low_mv) / (high - low).clamp(min=1e-6)
    drawn = ((drawn - low) * factor + low_mv).masked_fill(absent, torch.nan)
    rest = drawn.new_full((*drawn.shape[:2], batch.ecg.shape[2] - drawn.shape[2]), torch.nan)
    return torch.cat([drawn, rest], 2)


def hidden_redrawn(
    guess: Float[Tensor, "batch hidden samples"], where: Int[Tensor, "batch hidden"], patches: Patches
) -> Float[Tensor, "batch patch samples"]:
    """Put guesses of normalised patches in their places, NaN elsewhere: `values` of `redraw`.

    Each gets the mean and the deviation of the true patch, which those who aim at normalised ones never say.
    """
    level, height = level_and_height(patches.take(where).values)
    blank = torch.full_like(patches.values, torch.nan, dtype=torch.float32)
    return blank.scatter(1, where[..., None].expand_as(guess), guess.float() * height + level)


def uncut(
    values: Float[Tensor, "batch patch samples"], patches: Patches, backbone: PatchBackbone
) -> Float[Tensor, "batch wanted time"]:
    """Put pieces of ECGs back where `patchify` cut them."""
    if backbone.patch[0] > 1:
        by_time: Tensor = values.unflatten(2, (backbone.patch[0], -1))
        return by_time.transpose(1, 2).flatten(2)
    by_lead: Tensor = values.unflatten(1, (grid(patches)[1], -1))
    return by_lead.flatten(2)


def extremes(
    ecg: Float[Tensor, "batch lead time"], absent: Bool[Tensor, "batch lead 1"]
) -> tuple[Float[Tensor, "batch 1 1"], Float[Tensor, "batch 1 1"]]:
    """Return the smallest and the largest sample of each record's leads; 0 where all are absent."""
    low = ecg.masked_fill(absent, torch.inf).amin((1, 2), keepdim=True)
    high = ecg.masked_fill(absent, -torch.inf).amax((1, 2), keepdim=True)
    return low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0)
