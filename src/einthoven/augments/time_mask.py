"""Hide a stretch of time, so that no single beat decides."""

from dataclasses import replace

import torch

from einthoven.layers.chance import chosen, uniform
from einthoven.types import Augment, Batch

__all__ = ["TimeMask"]


class TimeMask(Augment):
    """Set up to `share` of the samples, in one stretch of all leads, to zero."""

    def __init__(self, *, share: float = 0.2, probability: float = 0.5):
        super().__init__()
        self.share, self.probability = share, probability

    def forward(self, batch: Batch) -> Batch:
        """Hide."""
        samples = batch.ecg.shape[2]
        long = uniform(batch, 0.0, self.share) * samples
        start = uniform(batch, 0.0, 1.0) * (samples - long)
        place = torch.arange(samples, device=batch.ecg.device)
        inside = (place >= start) & (place < start + long)
        return replace(batch, ecg=batch.ecg.masked_fill(inside & chosen(batch, self.probability), 0.0))
