"""Take leads away, so that a model learns to do with few."""

from dataclasses import replace

import torch

from einthoven.layers.chance import chosen
from einthoven.types import LEADS, Augment, Batch, Signal

__all__ = ["DropLeads"]


class DropLeads(Augment):
    """In the chosen records each lead is absent with probability `share`; at least one stays."""

    def __init__(self, wants: Signal, *, share: float = 0.25, probability: float = 0.5):
        super().__init__()
        self.wants, self.share, self.probability = wants, share, probability

    def forward(self, batch: Batch) -> Batch:
        """Mark as absent, and set to zero."""
        device = batch.ecg.device
        named = torch.tensor([LEADS.index(name) for name in self.wants.leads], device=device)
        leads = named.expand(len(batch.ecg), -1) if batch.leads is None else batch.leads
        luck = torch.rand(leads.shape, device=device) * (leads >= 0)
        keep = (luck > self.share) | (luck == luck.amax(1, keepdim=True))
        keep |= ~chosen(batch, self.probability)[..., 0]
        return replace(batch, leads=leads.where(keep, -1), ecg=batch.ecg * keep[..., None])
