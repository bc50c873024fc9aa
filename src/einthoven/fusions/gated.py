"""The report's words added to the ECG through a gate that both decide on.

After Arevalo et al. 2017, arXiv:1702.01992.
"""

from torch import nn

from einthoven.layers.beside import Words, every, parted
from einthoven.layers.pool import mean
from einthoven.types import Fusion, Tokens

__all__ = ["Gated"]


class Gated(Fusion):
    """One gate from 0 to 1 per record and channel, by the mean token of the ECG and the mean word."""

    def __init__(self, dim: int, text_dim: int):
        super().__init__()
        self.words = Words(text_dim, dim)
        self.by_ecg, self.by_words = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        words = self.words.mean(text)
        gate = (self.by_ecg(mean(ecg)[:, None]) + self.by_words(words)).sigmoid()
        return parted(every(ecg).values + gate * words, ecg)
