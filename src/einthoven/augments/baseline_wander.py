"""A slow drift of the baseline, as breathing and loose electrodes make it."""

import math
from dataclasses import replace

import torch

from einthoven.layers.chance import chosen, uniform
from einthoven.types import Augment, Batch, Signal

__all__ = ["BaselineWander"]


class BaselineWander(Augment):
    """Add a sine below `hertz` of up to `millivolt`, of another size and sign in every lead."""

    def __init__(
        self, wants: Signal, *, millivolt: float = 0.1, hertz: float = 0.5, probability: float = 0.5
    ):
        super().__init__()
        self.rate, self.millivolt, self.hertz, self.probability = wants.hertz, millivolt, hertz, probability

    def forward(self, batch: Batch) -> Batch:
        """Add."""
        ecg = batch.ecg
        time = torch.arange(ecg.shape[2], device=ecg.device, dtype=ecg.dtype) / self.rate
        turn = uniform(batch, 0.05, self.hertz) * time + uniform(batch, 0.0, 1.0)
        size = self.millivolt * (2 * torch.rand(ecg.shape[:2], device=ecg.device)[..., None] - 1)
        drift = size * torch.sin(2 * math.pi * turn)
        return replace(batch, ecg=ecg + drift * chosen(batch, self.probability))
