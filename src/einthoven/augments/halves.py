"""Two views of each record that follow each other in time.

Contrastive multi-segment coding: Kiyasseh et al. 2021, arXiv:2005.13249 (CLOCS).
"""

from dataclasses import replace
from typing import ClassVar

import torch

from einthoven.types import Augment, Batch, Signal

__all__ = ["Halves"]


class Halves(Augment):
    """Cut each ECG in the middle of time: all first halves, then all second ones.

    A half is what the backbone reads, so [crop] seconds must be twice [signal] seconds.
    """

    views: ClassVar[bool] = True

    def __init__(self, wants: Signal):
        super().__init__()
        self.wants = wants

    def forward(self, batch: Batch) -> Batch:
        """Cut."""
        whole, half = batch.ecg.shape[2], self.wants.samples
        if whole != 2 * half:
            seconds = 2 * half / self.wants.hertz
            raise ValueError(
                f"Augment 'halves' cuts {whole} samples in two, but the backbone reads {half}: "
                f"set [crop] seconds = {seconds:g}, twice [signal] seconds."
            )
        twice = batch.take(torch.arange(len(batch.row), device=batch.row.device).repeat(2))
        return replace(twice, ecg=torch.cat([batch.ecg[..., :half], batch.ecg[..., half:]]))
