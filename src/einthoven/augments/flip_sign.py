"""Upside down: the sign of the voltage means nothing to what is learned."""

from dataclasses import replace

from einthoven.layers.chance import chosen
from einthoven.types import Augment, Batch

__all__ = ["FlipSign"]


class FlipSign(Augment):
    """Turn all leads of a record upside down, as published for contrastive baselines; no heart does so."""

    def __init__(self, *, probability: float = 0.5):
        super().__init__()
        self.probability = probability

    def forward(self, batch: Batch) -> Batch:
        """Flip."""
        return replace(batch, ecg=batch.ecg.where(~chosen(batch, self.probability), -batch.ecg))
