"""Larger and smaller hearts: scale the voltage."""

from dataclasses import replace

from einthoven.layers.chance import chosen, uniform
from einthoven.types import Augment, Batch

__all__ = ["Amplitude"]


class Amplitude(Augment):
    """Multiply all leads of a record by one factor between 1 - `change` and 1 + `change`."""

    def __init__(self, *, change: float = 0.2, probability: float = 0.5):
        super().__init__()
        self.change, self.probability = change, probability

    def forward(self, batch: Batch) -> Batch:
        """Scale."""
        factor = uniform(batch, -self.change, self.change) * chosen(batch, self.probability)
        return replace(batch, ecg=batch.ecg * (1 + factor))
