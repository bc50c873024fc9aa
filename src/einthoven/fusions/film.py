"""Feature-wise linear modulation: the report scales and shifts the channels of the ECG.

Perez et al. 2018, arXiv:1709.07871.
"""

from einthoven.layers.beside import Words, every, parted
from einthoven.types import Fusion, Tokens

__all__ = ["FiLM"]


class FiLM(Fusion):
    """Multiply each channel of every token with 1 + scale and add shift, both linear in the mean word."""

    def __init__(self, dim: int, text_dim: int):
        super().__init__()
        self.words = Words(text_dim, 2 * dim)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        scale, shift = self.words.mean(text).chunk(2, 2)
        return parted(every(ecg).values * (1 + scale) + shift, ecg)
