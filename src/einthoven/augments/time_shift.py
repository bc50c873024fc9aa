"""Shift in time, so that where a beat stands means nothing."""

from dataclasses import replace

import torch

from einthoven.layers.chance import chosen, uniform
from einthoven.types import Augment, Batch, Signal

__all__ = ["TimeShift"]


class TimeShift(Augment):
    """Shift a record by up to `seconds` to either side; its first or last sample fills the gap."""

    def __init__(self, wants: Signal, *, seconds: float = 0.5, probability: float = 0.5):
        super().__init__()
        self.most, self.probability = seconds * wants.hertz, probability

    def forward(self, batch: Batch) -> Batch:
        """Shift."""
        samples = batch.ecg.shape[2]
        by = (uniform(batch, -self.most, self.most) * chosen(batch, self.probability)).round().long()
        place = (torch.arange(samples, device=batch.ecg.device) - by).clamp(0, samples - 1)
        return replace(batch, ecg=batch.ecg.gather(2, place.expand_as(batch.ecg)))
