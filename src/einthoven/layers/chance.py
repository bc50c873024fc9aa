"""Chance for augmentations: all of it from torch's global generator, which every step seeds."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from einthoven.types import Batch


def chosen(batch: Batch, probability: float) -> Bool[Tensor, "batch 1 1"]:
    """Choose each record of a batch with a probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"A probability lies between 0 and 1, got {probability}.")
    return uniform(batch, 0.0, 1.0) < probability


def uniform(batch: Batch, low: float, high: float) -> Float[Tensor, "batch 1 1"]:
    """Draw one number per record."""
    luck = torch.rand(len(batch.ecg), 1, 1, device=batch.ecg.device, dtype=batch.ecg.dtype)
    return low + (high - low) * luck
