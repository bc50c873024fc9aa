"""White noise at a stated signal-to-noise ratio."""

from dataclasses import replace

import torch

from einthoven.layers.chance import chosen, uniform
from einthoven.types import Augment, Batch

__all__ = ["Noise"]


class Noise(Augment):
    """Add noise whose power is `decibel` (drawn from a range) below that of each record's own leads."""

    def __init__(self, *, decibel: tuple[float, float] = (10.0, 30.0), probability: float = 0.5):
        super().__init__()
        self.decibel, self.probability = decibel, probability

    def forward(self, batch: Batch) -> Batch:
        """Add; a flat lead stays flat."""
        power = batch.ecg.var(2, keepdim=True, unbiased=False)
        ratio = 10 ** (-uniform(batch, *self.decibel) / 10)
        noise = torch.randn_like(batch.ecg) * (power * ratio).sqrt()
        return replace(batch, ecg=batch.ecg + noise * chosen(batch, self.probability))
